//! What is done to each server, and what is read off it.

use std::thread;
use std::time::Duration;

use crate::Result;
use crate::server::Kind;
use crate::support::load::Load;
use crate::support::measure::{self, FullSpeed, Paced};
use crate::support::proc::{self, Cores, Cpu};
use crate::support::server::Server;
use crate::support::traffic::Traffic;

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
        let server = Server::start(kind.command()?, &[], cores)?;
        let mut load = Load::new(server.address, kind.traffic(), cores.is_some())?;
        load.subscribe(self.subscribers)?;
        load.open_publisher()?;
        load.full_speed(self.warm_up)?;
        let full = measure::full_speed(&server, &mut load, self.full_speed)?;
        let paced = measure::paced(&server, &mut load, self.per_second, self.paced)?;
        let (lost, skipped) = (load.seen().lost, load.seen().skipped);
        drop(load);
        drop(server);
        // Of its own: what the others have left behind in a server's allocator would hide in the sum.
        let server = Server::start(kind.command()?, &[], cores)?;
        let idle = self.idle(&server, kind.traffic(), cores.is_some())?;
        Ok(Sample { full, paced, idle, lost, skipped })
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
        load.publish(1)?;
        if load.seen().messages != self.idle as u64 {
            let reached = load.seen().messages;
            return Err(format!("a message reached {reached} of {} connections", self.idle).into());
        }
        Ok(Idle { bytes: grown as f64 / self.idle as f64, connect: cpu.total().as_secs_f64() * 1e6 / self.idle as f64 })
    }
}
