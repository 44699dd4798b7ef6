//! Subscribers of one topic that have stopped reading: what each costs in memory, and whether those who read
//! notice.

use std::thread;
use std::time::Duration;

use crate::Result;
use crate::support::load::Load;
use crate::support::measure::{self, Paced};
use crate::support::proc::{self, Cores};
use crate::support::server::{Server, fanfare};
use crate::support::traffic::Traffic;

/// Neither end sends a ping in the middle of a phase, and nobody is dropped for not answering one.
pub(crate) const QUIET: (&str, &str) = ("FANFARE_KEEP_ALIVE__HEARTBEAT_MS", "600000");

/// What a stalled socket holds on the subscriber's side. The kernel's memory is none of the server's, but the
/// machine has to have it.
pub(crate) const UNREAD_BYTES: usize = 32 * 1024;

const TRAFFIC: Traffic = Traffic { topics: 1, data_bytes: 1024, deflate: false, unread_bytes: None };

pub(crate) struct Sizes {
    /// Subscribers that stall.
    pub(crate) crowd: usize,
    /// Subscribers of the same topic that read.
    readers: usize,
    /// How much is published meanwhile, a little and, in all, a lot.
    few: u64,
    many: u64,
    per_second: u32,
    paced: Duration,
}

impl Sizes {
    pub(crate) const FULL: Sizes =
        Sizes { crowd: 1_000, readers: 100, few: 5_000, many: 20_000, per_second: 50, paced: Duration::from_secs(4) };

    pub(crate) const QUICK: Sizes =
        Sizes { crowd: 50, readers: 10, few: 5_000, many: 8_000, paced: Duration::from_millis(300), ..Sizes::FULL };
}

pub(crate) struct Stalled {
    pub(crate) crowd: usize,
    pub(crate) readers: usize,
    pub(crate) few: u64,
    pub(crate) many: u64,
    pub(crate) per_second: u32,
    pub(crate) rounds: Vec<Round>,
}

pub(crate) struct Round {
    /// Resident bytes of the server for each stalled subscriber, beyond what as many take that have nothing to
    /// read, once `few` and once `many` messages have been published.
    pub(crate) after_few: f64,
    pub(crate) after_many: f64,
    /// Of those who read: on a server where nobody stalls, and beside those who do.
    pub(crate) before: Paced,
    pub(crate) beside: Paced,
    /// Gaps that the stalled ones were told of, each.
    pub(crate) gaps: f64,
}

pub(crate) fn measure(sizes: &Sizes, rounds: usize, cores: Option<Cores>) -> Result<Stalled> {
    let restless = cores.is_some();
    let undisturbed = Server::start(fanfare(), &[QUIET], cores)?;
    let mut lone = Load::new(undisturbed.address, TRAFFIC, restless)?;
    lone.subscribe(sizes.readers)?;
    lone.open_publisher()?;

    lone.publish(sizes.many)?;

    let mut record = Vec::new();
    for round in 0..rounds {
        let idle = Beset::start(sizes, true, cores)?.grow(sizes)?;
        let mut beset = Beset::start(sizes, false, cores)?;
        let stalled = beset.grow(sizes)?;
        // Nobody always comes first.
        let mut paced = |beside: bool| {
            let (server, load) = if beside { (&beset.server, &mut beset.readers) } else { (&undisturbed, &mut lone) };
            measure::paced(server, load, sizes.per_second, sizes.paced)
        };
        let (before, beside) = if round % 2 == 0 {
            let before = paced(false)?;
            (before, paced(true)?)
        } else {
            let beside = paced(true)?;
            (paced(false)?, beside)
        };
        let Beset { crowd, readers, .. } = &mut beset;
        crowd.read_up_to(&readers.seen().head)?;
        whole([&lone, readers, crowd])?;
        let each = |stalled: u64, idle: u64| (stalled as f64 - idle as f64) / sizes.crowd as f64;
        record.push(Round {
            after_few: each(stalled[0], idle[0]),
            after_many: each(stalled[1], idle[1]),
            before,
            beside,
            gaps: crowd.seen().gaps as f64 / sizes.crowd as f64,
        });
    }
    Ok(Stalled {
        crowd: sizes.crowd,
        readers: sizes.readers,
        few: sizes.few,
        many: sizes.many,
        per_second: sizes.per_second,
        rounds: record,
    })
}

/// A server with a crowd that does not read.
struct Beset {
    server: Server,
    crowd: Load,
    readers: Load,
}

impl Beset {
    /// The idle crowd follows something that nothing is published to, so that it has nothing to read.
    ///
    /// A server of its own for each crowd and round: what it has allocated for those who stall it does not give back
    /// to the system when they have caught up, and nobody after them would seem to cost anything.
    fn start(sizes: &Sizes, idle: bool, cores: Option<Cores>) -> Result<Beset> {
        let server = Server::start(fanfare(), &[QUIET], cores)?;
        let topics = if idle { 2 } else { TRAFFIC.topics };
        let traffic = Traffic { topics, unread_bytes: Some(UNREAD_BYTES), ..TRAFFIC };
        let mut crowd = Load::new(server.address, traffic, cores.is_some())?;
        crowd.subscribe(sizes.crowd)?;
        let mut readers = Load::new(server.address, TRAFFIC, cores.is_some())?;
        readers.subscribe(sizes.readers)?;
        readers.open_publisher()?;
        Ok(Beset { server, crowd, readers })
    }

    /// Resident bytes of the server after `few` and after `many` messages.
    fn grow(&mut self, sizes: &Sizes) -> Result<[u64; 2]> {
        self.readers.publish(sizes.few)?;
        let after_few = settled(&self.server)?;
        self.readers.publish(sizes.many - sizes.few)?;
        Ok([after_few, settled(&self.server)?])
    }
}

/// Resident bytes of a server that has come to rest.
pub(crate) fn settled(server: &Server) -> Result<u64> {
    /// Its allocator gives back what is free in the meantime.
    const REST: Duration = Duration::from_millis(300);
    thread::sleep(REST);
    proc::resident(server.pid())
}

/// # Errors
///
/// When messages are missing that no gap announced.
pub(crate) fn whole<'a>(loads: impl IntoIterator<Item = &'a Load>) -> Result<()> {
    match loads.into_iter().map(|load| load.seen().lost).sum::<u64>() {
        0 => Ok(()),
        lost => Err(format!("{lost} messages went missing").into()),
    }
}
