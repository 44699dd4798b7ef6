//! What a run showed, as figures: the one source of the table, the JSON and the page.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::expect::{Counted, Expectation, Figure, seconds};
use super::histogram::Histogram;
use super::host;
use super::measure::{End, Measured, Sample, ServerUsage};
use super::plan::{Pace, Plan};

/// All times in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// When it ended, in UTC.
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) url: String,
    pub(super) dialect: &'static str,
    /// What was asked for, in words.
    pub(super) scenario: String,
    /// Whether the run went through; if not, `reason` says why.
    pub(super) complete: bool,
    pub(super) interrupted: bool,
    pub(super) reason: Option<String>,
    pub(super) connections: Connections,
    /// How long was measured.
    pub(super) seconds: f64,
    pub(super) published: u64,
    pub(super) published_per_second: f64,
    pub(super) delivered: u64,
    pub(super) delivered_per_second: f64,
    pub(super) bytes_per_second: f64,
    /// From when a message was due until a subscriber had it.
    pub(super) latency: Option<Times>,
    /// From when a message was due until the server said that it took it.
    pub(super) answer: Option<Times>,
    pub(super) checks: Checks,
    /// Subscribers that read slowly, if there were any.
    pub(super) slow: Option<Slow>,
    pub(super) server: Option<Server>,
    pub(super) generator: Generator,
    /// Why connections failed or ended, and publishes were refused.
    pub(super) reasons: Vec<Reason>,
    pub(super) expectations: Vec<Held>,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) asked: usize,
    pub(super) ready: usize,
    pub(super) live_at_end: usize,
    /// Seconds until all were ready, and how many a second that is.
    pub(super) join_seconds: f64,
    pub(super) joined_per_second: f64,
    /// Connections that joined in all, returns included.
    pub(super) joined: u64,
    /// Of those, the ones that the server agreed to compress for; absent if compression was not asked for.
    pub(super) compressed: Option<u64>,
    pub(super) refused: u64,
    pub(super) closed: u64,
    /// From the first packet to the last subscription.
    pub(super) time: Option<Times>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Of the whole run, from the first connection to the last message.
#[derive(Debug, Serialize)]
pub(super) struct Checks {
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Messages that the server said it left out, and in how many places.
    pub(super) gaps: u64,
    pub(super) gap_events: u64,
    pub(super) wrong_topic: u64,
    pub(super) wrong_bytes: u64,
    pub(super) misnumbered: u64,
    pub(super) refused_publishes: u64,
    pub(super) replayed: u64,
    pub(super) recovered: u64,
    pub(super) unrecovered: u64,
}

impl Checks {
    /// What no server may do, whatever the limits are.
    pub(super) fn wrong(&self) -> u64 {
        self.wrong_topic + self.wrong_bytes + self.misnumbered
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Slow {
    pub(super) subscribers: usize,
    pub(super) delivered: u64,
    pub(super) gaps: u64,
    pub(super) closed: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Server {
    #[serde(flatten)]
    pub(super) usage: ServerUsage,
    /// Processors in use, on average.
    pub(super) cpu: f64,
    /// Seconds of processor time for a delivery.
    pub(super) cpu_per_delivery: Option<f64>,
    pub(super) user_per_delivery: Option<f64>,
    /// What a connection took to join.
    pub(super) resident_per_connection: Option<f64>,
    pub(super) cpu_per_join: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Generator {
    pub(super) threads: usize,
    /// Processor time of its threads, without what they spent looking for events in vain.
    pub(super) cpu_seconds: f64,
    pub(super) cpu_per_delivery: Option<f64>,
    /// The share of that in user space: what is not the kernel's, by the kernel's estimate. Not known of threads
    /// that spin.
    pub(super) user_per_delivery: Option<f64>,
    /// How busy its busiest thread was, 0 to 1.
    pub(super) busiest: f64,
    /// How late messages left, by its own fault.
    pub(super) lateness: Option<Times>,
    /// Why the figures say more of the generator than of the server, if they do.
    pub(super) bottleneck: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Reason {
    pub(super) reason: String,
    pub(super) count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub(super) limit: String,
    pub(super) value: Option<f64>,
    pub(super) time: bool,
    pub(super) holds: bool,
}

/// A thread that is this busy has no time to spare.
const BUSY: f64 = 0.9;
/// Messages that leave this late, and by this share of their latency, say more of who sends them.
const LATE: Duration = Duration::from_millis(2);
const LATE_SHARE: f64 = 0.25;

impl Report {
    pub(super) fn new(plan: &Arc<Plan>, measured: Measured, limits: &[Expectation]) -> Report {
        let lasted = measured.lasted.as_secs_f64();
        let per_second = |count: u64| if lasted > 0.0 { count as f64 / lasted } else { 0.0 };
        let (counts, totals) = (&measured.counts, &measured.totals);
        let delivered = counts.delivered + counts.slow_delivered;
        let each = |seconds: f64| (delivered > 0).then(|| seconds / delivered as f64);
        let server = measured.server.map(|usage| {
            let joined = measured.joined as f64;
            let grown = usage.resident_joined.saturating_sub(usage.resident_before) as f64;
            Server {
                cpu: (usage.user + usage.system) / lasted.max(f64::MIN_POSITIVE),
                cpu_per_delivery: each(usage.user + usage.system),
                user_per_delivery: each(usage.user),
                resident_per_connection: (joined > 0.0).then(|| grown / joined),
                cpu_per_join: (joined > 0.0).then(|| usage.join_cpu / joined),
                usage,
            }
        });
        let latency = Times::of(&measured.times.latency);
        let lateness = Times::of(&measured.times.lateness);
        let generator = Generator {
            threads: plan.threads,
            cpu_seconds: measured.threads_cpu,
            cpu_per_delivery: each(measured.threads_cpu),
            user_per_delivery: measured.own.filter(|own| own.cpu() > 0.0 && !plan.spin).and_then(|own| {
                // How the process' time is split is known, and its threads are nearly all of it.
                each(measured.threads_cpu * own.user / own.cpu())
            }),
            busiest: measured.busiest,
            bottleneck: bottleneck(plan.pace, measured.busiest, latency.as_ref(), lateness.as_ref()),
            lateness,
        };
        let join = measured.join.as_secs_f64();
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            date: date(SystemTime::now()),
            machine: host::machine(),
            url: plan.url.clone(),
            dialect: plan.spoken.name(),
            scenario: plan.to_string(),
            complete: measured.end == End::Complete,
            interrupted: measured.end == End::Interrupted,
            reason: match measured.end {
                End::Complete => None,
                End::Interrupted => Some("interrupted".to_owned()),
                End::Failed(reason) => Some(reason),
            },
            connections: Connections {
                asked: plan.connections(),
                ready: measured.joined,
                live_at_end: measured.live,
                join_seconds: join,
                joined_per_second: if join > 0.0 { measured.joined as f64 / join } else { 0.0 },
                joined: totals.joined,
                compressed: plan.compression.then_some(totals.compressed),
                refused: totals.refused,
                closed: totals.closed,
                time: Times::of(&measured.times.connect),
            },
            seconds: lasted,
            published: counts.published,
            published_per_second: per_second(counts.published),
            delivered: counts.delivered,
            delivered_per_second: per_second(counts.delivered),
            bytes_per_second: per_second(counts.bytes),
            latency,
            answer: Times::of(&measured.times.answer),
            checks: Checks {
                lost: measured.lost,
                duplicated: totals.duplicated,
                reordered: totals.reordered,
                gaps: totals.gaps,
                gap_events: totals.gap_events,
                wrong_topic: totals.wrong_topic,
                wrong_bytes: totals.wrong_bytes,
                misnumbered: totals.misnumbered,
                refused_publishes: totals.refused_publishes,
                replayed: totals.replayed,
                recovered: totals.recovered,
                unrecovered: totals.unrecovered,
            },
            slow: (plan.slow > 0).then_some(Slow {
                subscribers: plan.slow,
                delivered: totals.slow_delivered,
                gaps: totals.slow_gaps,
                closed: totals.slow_closed,
            }),
            server,
            generator,
            reasons: (measured.reasons.sorted().into_iter())
                .map(|(reason, count)| Reason { reason: reason.to_owned(), count })
                .collect(),
            expectations: Vec::new(),
            samples: measured.samples,
        };
        report.expectations = (limits.iter())
            .map(|limit| {
                let value = report.figure(limit.figure, &measured.times);
                Held { limit: limit.to_string(), value, time: limit.figure.is_time(), holds: limit.holds(value) }
            })
            .collect();
        report
    }

    /// Whether it went through as it should.
    pub(super) fn is_good(&self) -> bool {
        self.complete && self.checks.wrong() == 0 && self.expectations.iter().all(|held| held.holds)
    }

    fn figure(&self, figure: Figure, times: &super::tally::Times) -> Option<f64> {
        match figure {
            Figure::Percentile(percent) => seconds(times.latency.percentile(percent)),
            Figure::Mean => seconds(times.latency.mean()),
            Figure::Max => seconds(times.latency.max()),
            Figure::Connect(percent) => seconds(times.connect.percentile(percent)),
            Figure::Rate => Some(self.delivered_per_second),
            Figure::PublishRate => Some(self.published_per_second),
            Figure::ServerCpu => self.server.as_ref().and_then(|server| server.cpu_per_delivery),
            Figure::Counted(counted) => Some(self.count(counted) as f64),
        }
    }

    fn count(&self, counted: Counted) -> u64 {
        match counted {
            Counted::Lost => self.checks.lost,
            Counted::Duplicated => self.checks.duplicated,
            Counted::Reordered => self.checks.reordered,
            Counted::Gaps => self.checks.gaps,
            Counted::Wrong => self.checks.wrong(),
            Counted::Refused => self.connections.refused + self.checks.refused_publishes,
            Counted::Closed => self.connections.closed,
            Counted::Unrecovered => self.checks.unrecovered,
        }
    }
}

impl Times {
    fn of(histogram: &Histogram) -> Option<Times> {
        let percentile = |percent| seconds(histogram.percentile(percent));
        Some(Times {
            count: histogram.count(),
            mean: seconds(histogram.mean())?,
            p50: percentile(50.0)?,
            p90: percentile(90.0)?,
            p99: percentile(99.0)?,
            p999: percentile(99.9)?,
            max: seconds(histogram.max())?,
        })
    }
}

/// Whether the generator itself was what held things up.
fn bottleneck(pace: Pace, busiest: f64, latency: Option<&Times>, lateness: Option<&Times>) -> Option<String> {
    if busiest > BUSY {
        return Some(format!(
            "its busiest thread was busy for {:.0} % of the time; use more --threads, or another machine",
            busiest * 100.0
        ));
    }
    let late = lateness.filter(|_| matches!(pace, Pace::Rate(_)))?.p99;
    let latency = latency?.p99;
    (late > LATE.as_secs_f64() && late > latency * LATE_SHARE)
        .then(|| format!("one in a hundred messages left {:.1} ms late or more, which is in the latencies", late * 1e3))
}

/// Days, hours, minutes and seconds in UTC, as RFC 3339 writes them.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: years begin in March, so that a leap day is the last one.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Pace, Times, bottleneck, date};

    /// Times of which one in a hundred is so many milliseconds.
    fn times(p99_ms: f64) -> Times {
        let p99 = p99_ms / 1e3;
        Times { count: 1000, mean: p99, p50: p99, p90: p99, p99, p999: p99, max: p99 }
    }

    #[test]
    fn a_generator_that_holds_things_up_says_so() {
        let said = |pace, busiest, latency: Option<f64>, lateness: Option<f64>| {
            let (latency, lateness) = (latency.map(times), lateness.map(times));
            bottleneck(pace, busiest, latency.as_ref(), lateness.as_ref()).unwrap_or_default()
        };
        let (rate, full) = (Pace::Rate(100.0), Pace::Full { window: 64 });
        assert_eq!(said(rate, 0.5, Some(10.0), Some(0.1)), "");
        assert!(said(full, 0.95, Some(10.0), Some(0.1)).contains("busy for 95 % of the time; use more --threads"));
        assert!(said(rate, 0.5, Some(10.0), Some(5.0)).contains("left 5.0 ms late or more"));
        assert_eq!(said(rate, 0.5, Some(100.0), Some(5.0)), "", "it hardly counts in so long a time");
        assert_eq!(said(rate, 0.5, Some(2.0), Some(1.5)), "", "nobody notices that");
        assert_eq!(said(full, 0.5, Some(10.0), Some(5.0)), "", "nothing is due at full speed");
        assert_eq!(said(rate, 0.5, None, Some(5.0)), "", "nothing came");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_257_000, "2026-11-21T10:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
