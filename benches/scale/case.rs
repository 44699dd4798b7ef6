//! One server under one load, and what is read off `fanfare bench`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::json;

use crate::support::figures::plain;
use crate::support::proc::Cores;
use crate::support::server::{Server, fanfare};
use crate::support::{Result, proc::descriptors};
use crate::tool::Report;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Idle,
    /// The same, with limits that nobody reaches, and a token shown by each.
    Guarded,
    /// The same as the first, of more topics each.
    Following,
    OneCore,
    TwoCores,
}

pub(crate) struct Sizes {
    pub(crate) idle: usize,
    /// Topics that a connection follows which follows many.
    pub(crate) follow: usize,
    pub(crate) topics: usize,
    measured: Duration,
}

/// What one server did in one round; `None` where there is nothing to say.
#[derive(Default)]
pub(crate) struct Sample {
    pub(crate) bytes: Option<f64>,
    pub(crate) join_micros: Option<f64>,
    pub(crate) delivered: Option<f64>,
    /// Processors that the server has used, and the load.
    pub(crate) busy: Option<f64>,
    pub(crate) load_busy: Option<f64>,
    /// Processors that the server could have.
    processors: f64,
}

impl Sizes {
    pub(crate) fn full() -> Sizes {
        /// For the listener, standard streams and whatever else a process holds.
        const OTHERS: usize = 500;
        Sizes {
            idle: 19_500.min(descriptors().saturating_sub(OTHERS)),
            follow: 11,
            topics: 1_000,
            measured: Duration::from_secs(3),
        }
    }

    pub(crate) fn quick() -> Sizes {
        Sizes { idle: 200, follow: 11, topics: 40, measured: Duration::from_millis(300) }
    }
}

/// What the tokens of the run are signed with.
const SECRET: &str = "a secret of thirty-two bytes, ok";

/// Limits with all of their bookkeeping, and so high that one address may open all connections.
const GUARDED: [(&str, &str); 5] = [
    ("FANFARE_LIMITS__EXEMPT", ""),
    ("FANFARE_LIMITS__CONNECTIONS_PER_ADDRESS", "100000"),
    ("FANFARE_LIMITS__ATTEMPTS_PER_ADDRESS", "1000000/s"),
    ("FANFARE_LIMITS__COMMANDS_PER_ADDRESS", "1000000/s"),
    ("FANFARE_AUTH__SECRETS", r#"["a secret of thirty-two bytes, ok"]"#),
];

impl Case {
    pub(crate) const ALL: [Case; 5] = [Case::Idle, Case::Guarded, Case::Following, Case::OneCore, Case::TwoCores];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Idle => "one subscription, exempt from limits",
            Case::Guarded => "with all limits, keep-alive and a token",
            Case::Following => "eleven subscriptions, exempt from limits",
            Case::OneCore => "one, and one for the load",
            Case::TwoCores => "two, together with the load",
        }
    }

    pub(crate) fn is_idle(self) -> bool {
        !matches!(self, Case::OneCore | Case::TwoCores)
    }

    pub(crate) fn run(self, sizes: &Sizes, cores: Option<Cores>) -> Result<Sample> {
        let threads = if self == Case::TwoCores { "2" } else { "1" };
        let mut settings = vec![("FANFARE_SERVER__THREADS", threads)];
        if self == Case::Guarded {
            settings.extend(GUARDED);
        }
        let cores = cores.filter(|_| self != Case::TwoCores);
        if cores.is_none() {
            unpin()?;
        }
        let server = Server::start(fanfare(), &settings, cores)?;
        let token = if self == Case::Guarded { Some(token()?) } else { None };
        let shown: Vec<_> = token.iter().map(|token| ("FANFARE_TOKEN", token.as_str())).collect();
        let words: Vec<String> = self.words(sizes).split_ascii_whitespace().map(str::to_owned).collect();
        self.sample(sizes, &Report::of(&server, &words, cores.is_some(), &shown)?)
    }

    /// The load, as `fanfare bench` takes it.
    fn words(self, sizes: &Sizes) -> String {
        let follow = if self == Case::Following { sizes.follow } else { 1 };
        if self.is_idle() {
            return format!(
                "--connect-timeout 60s --subscribers {} --topics {follow} --follow {follow} \
                 --publishers 1 --warmup 0ms --duration 1s --rate 1 --messages 1 --settle 1s",
                sizes.idle
            );
        }
        format!(
            "--subscribers {} --topics {} --publishers 4 --full-speed --await-delivery --window 256 \
             --warmup 500ms --duration {}ms",
            5 * sizes.topics,
            sizes.topics,
            sizes.measured.as_millis()
        )
    }

    fn sample(self, sizes: &Sizes, report: &Report) -> Result<Sample> {
        let number = |path| report.number(path);
        let wrong = ["lost", "duplicated", "reordered", "gaps", "wrong_topic", "wrong_bytes"];
        if let Some(reason) = report.failure() {
            return Err(reason.into());
        }
        let count = |what: &str| report.count(&format!("checks.{what}"));
        if let Some(what) = wrong.into_iter().find(|what| count(what) != 0) {
            return Err(format!("{what}: {}", count(what)).into());
        }
        if self.is_idle() {
            // They are no idle subscribers unless a message still reaches each of them.
            let reached = report.count("latency.count");
            if reached != sizes.idle as u64 {
                return Err(format!("a message reached {reached} of {} connections", sizes.idle).into());
            }
            return Ok(Sample {
                bytes: number("server.resident_per_connection"),
                join_micros: number("server.cpu_per_join").map(|seconds| seconds * 1e6),
                ..Sample::default()
            });
        }
        let processors = if self == Case::TwoCores { 2.0 } else { 1.0 };
        Ok(Sample {
            delivered: number("delivered_per_second"),
            busy: number("server.cpu"),
            load_busy: number("generator.busiest"),
            processors,
            ..Sample::default()
        })
    }
}

impl Sample {
    /// Deliveries a second by each processor that the load has left to the server.
    pub(crate) fn delivered_by_processor(&self) -> Option<f64> {
        let load = if self.processors > 1.0 { self.load_busy? } else { 0.0 };
        Some(self.delivered? / (self.processors - load))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), plain);
        match self.delivered {
            None => write!(f, "{} bytes, {} µs a connection", show(self.bytes), show(self.join_micros)),
            delivered => write!(f, "{} deliveries a second, load {}", show(delivered), show(self.load_busy)),
        }
    }
}

/// Lets this thread, and what it starts from now on, run on every processor that there is.
fn unpin() -> Result<()> {
    const PROCESSORS_MAX: usize = 1024;
    let mut set = CpuSet::new();
    (0..PROCESSORS_MAX).for_each(|core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Somebody who may subscribe and publish everywhere, for an hour.
fn token() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({"sub": "load", "exp": now + 3_600, "fanfare": {"subscribe": [">"], "publish": [">"]}});
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))?)
}
