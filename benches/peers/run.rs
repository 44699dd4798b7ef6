//! One server under one load, and what is read off `fanfare bench`.

use crate::Result;
use crate::peer::Peer;
use crate::scenario::{Pace, Scenario};
use crate::support::figures::plain;
use crate::support::proc::Cores;
use crate::tool::Report;

/// What one server did in one round. Times in seconds; `None` where there is nothing to say.
#[derive(Clone, Default)]
pub(crate) struct Sample {
    /// Processor time for a delivery, in microseconds: as many seconds for a million.
    pub(crate) cpu: Option<f64>,
    pub(crate) user: Option<f64>,
    pub(crate) delivered_per_second: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// Shares of the time that server and load were busy.
    pub(crate) busy: Option<f64>,
    pub(crate) load_busy: Option<f64>,
    /// Of idle connections.
    pub(crate) bytes: Option<f64>,
    pub(crate) join_cpu: Option<f64>,
    pub(crate) joined_per_second: Option<f64>,
    /// Messages that never came, came twice, came late, or were said to be left out.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
    /// Why it did not go through.
    pub(crate) failed: Option<String>,
}

pub(crate) fn run(peer: Peer, scenario: &Scenario, cores: Option<Cores>) -> Result<Sample> {
    let server = peer.start(scenario.deflate, cores)?;
    let words = [scenario.words(), vec!["--dialect".to_owned(), peer.dialect().to_owned()]].concat();
    Ok(sample(scenario, &Report::of(&server, &words, cores.is_some(), &[])?))
}

fn sample(scenario: &Scenario, report: &Report) -> Sample {
    let number = |path| report.number(path);
    let count = |path| report.count(path);
    let micros = |path| number(path).map(|seconds| seconds * 1e6);
    let millis = |path| number(path).map(|seconds| seconds * 1e3);
    // Numbers that do not follow each other are those of lost messages, which count as such.
    let wrong = count("checks.wrong_topic") + count("checks.wrong_bytes");
    let reached = count("latency.count");
    let failed = if let Some(reason) = report.failure() {
        Some(reason.to_owned())
    } else if wrong > 0 {
        Some("it sent what nobody published there".to_owned())
    } else if scenario.pace == Pace::Idle && reached != scenario.subscribers as u64 {
        // They are no idle subscribers unless a message still reaches each of them.
        Some(format!("a message reached {reached} of {} connections", scenario.subscribers))
    } else {
        None
    };
    let checks = Sample {
        lost: count("checks.lost"),
        duplicated: count("checks.duplicated"),
        reordered: count("checks.reordered"),
        gaps: count("checks.gaps"),
        failed,
        ..Sample::default()
    };
    if scenario.pace == Pace::Idle {
        return Sample {
            bytes: number("server.resident_per_connection"),
            join_cpu: micros("server.cpu_per_join"),
            joined_per_second: number("connections.joined_per_second"),
            ..checks
        };
    }
    Sample {
        cpu: micros("server.cpu_per_delivery"),
        user: micros("server.user_per_delivery"),
        delivered_per_second: number("delivered_per_second"),
        p50: millis("latency.p50"),
        p99: millis("latency.p99"),
        p999: millis("latency.p999"),
        busy: number("server.cpu"),
        load_busy: number("generator.busiest"),
        ..checks
    }
}

impl Sample {
    pub(crate) fn system(&self) -> Option<f64> {
        Some(self.cpu? - self.user?)
    }

    /// The gist, for who waits.
    pub(crate) fn line(&self, peer: Peer, scenario: &Scenario) -> String {
        let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), plain);
        let said = match (&self.failed, scenario.pace) {
            (Some(reason), _) => format!("FAILED: {reason}"),
            (None, Pace::Idle) => format!("{} bytes, {} µs a connection", show(self.bytes), show(self.join_cpu)),
            (None, _) => format!(
                "{} µs a delivery, {} a second, p99 {} ms, load busy {}",
                show(self.cpu),
                show(self.delivered_per_second),
                show(self.p99),
                show(self.load_busy)
            ),
        };
        let lost = if self.lost > 0 { format!(", {} lost", self.lost) } else { String::new() };
        format!("{}, {}: {said}{lost}", scenario.key, peer.name())
    }
}
