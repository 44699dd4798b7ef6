//! What deliveries cost and how long they take.

use std::time::{Duration, Instant};

use super::Result;
use super::load::Load;
use super::proc::{self, Cpu};
use super::server::Server;

/// Processor time of the server a delivery, in microseconds: as many seconds a million deliveries.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

pub(crate) struct FullSpeed {
    pub(crate) cost: Cost,
    pub(crate) per_second: f64,
    pub(crate) per_write: Option<f64>,
    /// Bytes of a message on the wire, frame included.
    pub(crate) wire_bytes: f64,
    /// Share of the time that the server was busy; below one, the load held it up.
    pub(crate) busy: f64,
}

pub(crate) struct Paced {
    pub(crate) cost: Cost,
    /// From the time a message was due, in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// How late messages were, in milliseconds.
pub(crate) struct Late {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Late {
    /// Of so many microseconds each.
    pub(crate) fn of(mut micros: Vec<u32>) -> Late {
        micros.sort_unstable();
        let percentile = |percent: usize| {
            let at = micros.len() * percent / 100;
            micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Late { p50: percentile(50), p99: percentile(99) }
    }
}

pub(crate) fn full_speed(server: &Server, load: &mut Load, lasting: Duration) -> Result<FullSpeed> {
    let before = Moment::now(server, load)?;
    load.full_speed(lasting)?;
    let after = Moment::now(server, load)?;
    let deliveries = after.deliveries(&before)?;
    let elapsed = (after.at - before.at).as_secs_f64();
    let server = after.server - before.server;
    let segments = after.segments.zip(before.segments);
    let writes = segments.and_then(|(after, before)| after.checked_sub(before));
    Ok(FullSpeed {
        cost: Cost::new(server, deliveries),
        per_second: deliveries / elapsed,
        wire_bytes: (after.bytes - before.bytes) as f64 / deliveries,
        per_write: writes.filter(|writes| *writes > 0).map(|writes| deliveries / writes as f64),
        busy: server.total().as_secs_f64() / elapsed,
    })
}

pub(crate) fn paced(server: &Server, load: &mut Load, per_second: u32, lasting: Duration) -> Result<Paced> {
    let before = Moment::now(server, load)?;
    let end = Instant::now() + lasting;
    let latencies = load.paced(per_second, || Instant::now() < end)?;
    let after = Moment::now(server, load)?;
    let deliveries = after.deliveries(&before)?;
    let late = Late::of(latencies);
    Ok(Paced { cost: Cost::new(after.server - before.server, deliveries), p50: late.p50, p99: late.p99 })
}

impl Cost {
    fn new(cpu: Cpu, deliveries: f64) -> Cost {
        Cost { user: cpu.user.as_secs_f64() * 1e6 / deliveries, system: cpu.system.as_secs_f64() * 1e6 / deliveries }
    }
}

/// All counters at one time. Taken only while nothing is on its way.
struct Moment {
    at: Instant,
    server: Cpu,
    messages: u64,
    /// Bytes of them.
    bytes: u64,
    /// Segments sent by anyone but the load.
    segments: Option<u64>,
}

impl Moment {
    fn now(server: &Server, load: &Load) -> Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            server: Cpu::of(server.pid())?,
            messages: load.seen().messages,
            bytes: load.seen().bytes,
            segments: proc::segments().and_then(|all| all.checked_sub(load.writes())),
        })
    }

    fn deliveries(&self, before: &Moment) -> Result<f64> {
        match self.messages - before.messages {
            0 => Err("nothing was delivered".into()),
            some => Ok(some as f64),
        }
    }
}
