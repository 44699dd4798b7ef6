//! What is done to each server, and what is read off it.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::load::Load;
use crate::proc::{self, Cores, Cpu};
use crate::server::{Kind, Server};
use crate::wire::Traffic;

/// The sizes of a run.
pub(crate) struct Scenario {
    pub(crate) subscribers: usize,
    pub(crate) idle: usize,
    pub(crate) per_second: u32,
    warm_up: Duration,
    full_speed: Duration,
    paced: Duration,
    settle: Duration,
}

/// What one server did in one round.
pub(crate) struct Sample {
    pub(crate) full: FullSpeed,
    pub(crate) paced: Paced,
    pub(crate) idle: Idle,
    /// Messages that arrived nowhere and that no gap accounted for.
    pub(crate) lost: u64,
    /// Messages that a gap accounted for.
    pub(crate) skipped: u64,
}

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

pub(crate) struct Idle {
    pub(crate) bytes: f64,
    /// Processor time a connection, upgrade and subscription, in microseconds.
    pub(crate) connect: f64,
}

impl Scenario {
    pub(crate) fn full() -> Scenario {
        /// For the listener, standard streams and whatever else a server holds.
        const OTHERS: usize = 500;
        Scenario {
            subscribers: 1_000,
            idle: 10_000.min(proc::descriptors().saturating_sub(OTHERS)),
            per_second: 50,
            warm_up: Duration::from_millis(500),
            full_speed: Duration::from_secs(3),
            paced: Duration::from_secs(8),
            settle: Duration::from_secs(1),
        }
    }

    pub(crate) fn quick() -> Scenario {
        Scenario {
            subscribers: 100,
            idle: 200,
            per_second: 50,
            warm_up: Duration::from_millis(100),
            full_speed: Duration::from_millis(300),
            paced: Duration::from_millis(500),
            settle: Duration::from_millis(100),
        }
    }

    pub(crate) fn run(&self, kind: Kind, cores: Option<Cores>) -> Result<Sample> {
        let server = Server::start(kind, cores)?;
        let mut load = Load::new(server.address, kind.traffic(), cores.is_some())?;
        load.subscribe(self.subscribers)?;
        load.open_publisher()?;
        load.full_speed(self.warm_up)?;
        let full = self.full_speed(&server, &mut load)?;
        let paced = self.paced(&server, &mut load)?;
        let (lost, skipped) = (load.seen().lost, load.seen().skipped);
        drop(load);
        drop(server);
        // Of its own: what the others have left behind in a server's allocator would hide in the sum.
        let server = Server::start(kind, cores)?;
        let idle = self.idle(&server, kind.traffic(), cores.is_some())?;
        Ok(Sample { full, paced, idle, lost, skipped })
    }

    fn full_speed(&self, server: &Server, load: &mut Load) -> Result<FullSpeed> {
        let before = Moment::now(server, load)?;
        load.full_speed(self.full_speed)?;
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

    fn paced(&self, server: &Server, load: &mut Load) -> Result<Paced> {
        let before = Moment::now(server, load)?;
        let mut latencies = load.paced(self.per_second, self.paced)?;
        let after = Moment::now(server, load)?;
        let deliveries = after.deliveries(&before)?;
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let at = latencies.len() * percent / 100;
            latencies.get(at).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Ok(Paced {
            cost: Cost::new(after.server - before.server, deliveries),
            p50: percentile(50),
            p99: percentile(99),
        })
    }

    fn idle(&self, server: &Server, traffic: Traffic, restless: bool) -> Result<Idle> {
        let mut load = Load::new(server.address, traffic, restless)?;
        thread::sleep(self.settle);
        let resident = proc::resident(server.pid())?;
        let before = Cpu::of(server.pid())?;
        load.subscribe(self.idle)?;
        let cpu = Cpu::of(server.pid())? - before;
        thread::sleep(self.settle);
        let grown = proc::resident(server.pid())?.saturating_sub(resident);
        // They are no idle subscribers unless a message still reaches each of them.
        load.open_publisher()?;
        load.one()?;
        if load.seen().messages != self.idle as u64 {
            let reached = load.seen().messages;
            return Err(format!("a message reached {reached} of {} connections", self.idle).into());
        }
        Ok(Idle { bytes: grown as f64 / self.idle as f64, connect: cpu.total().as_secs_f64() * 1e6 / self.idle as f64 })
    }
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
