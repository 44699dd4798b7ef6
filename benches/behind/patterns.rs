//! Subscribers of a pattern over many topics that have stopped reading: a place in each topic is what they cost.

use crate::Result;
use crate::stalled::{QUIET, UNREAD_BYTES, settled, whole};
use crate::support::load::Load;
use crate::support::proc::Cores;
use crate::support::server::{Server, fanfare};
use crate::support::traffic::Traffic;

pub(crate) struct Patterns {
    pub(crate) crowd: usize,
    pub(crate) topics: u64,
    pub(crate) few: u64,
    pub(crate) many: u64,
    pub(crate) rounds: Vec<Round>,
}

pub(crate) struct Round {
    /// Resident bytes of the server for each topic of each stalled subscriber, beyond what they were before they
    /// stalled, once `few` and once `many` messages have been published.
    pub(crate) after_few: f64,
    pub(crate) after_many: f64,
    /// Gaps that the stalled ones were told of, each.
    pub(crate) gaps: f64,
}

pub(crate) fn measure(quick: bool, rounds: usize, cores: Option<Cores>) -> Result<Patterns> {
    let (crowd_count, topics) = if quick { (20, 100) } else { (1_000, 1_000) };
    // More than a socket takes, so that each topic moves after it is full.
    let (few, many) = (30_000, 60_000);
    // What is kept is not what is measured, and to catch up is to read all of it.
    /// So many messages at a time reach a subscriber without its socket ever being full.
    const BURST: u64 = 16;
    const KEPT: u64 = 2;
    let kept = KEPT.to_string();
    let settings = [QUIET, ("FANFARE_HISTORY__ENTRIES", kept.as_str())];
    let traffic = Traffic { topics, data_bytes: 128, deflate: false, unread_bytes: Some(UNREAD_BYTES) };
    let mut record = Vec::new();
    for _ in 0..rounds {
        // A server of its own for each, see `stalled`.
        let server = Server::start(fanfare(), &settings, cores)?;
        let mut crowd = Load::new(server.address, traffic, cores.is_some())?;
        crowd.subscribe(crowd_count)?;
        let mut publisher = Load::new(server.address, traffic, cores.is_some())?;
        publisher.open_publisher()?;
        // All topics exist and hold what they may before anybody stalls.
        for _ in 0..(KEPT * topics).div_ceil(BURST) {
            publisher.publish(BURST)?;
            crowd.read_up_to(&publisher.seen().head)?;
        }

        let level = settled(&server)?;
        publisher.publish(few)?;
        let after_few = settled(&server)?;
        publisher.publish(many - few)?;
        let after_many = settled(&server)?;
        crowd.read_up_to(&publisher.seen().head)?;
        whole([&publisher, &crowd])?;
        let places = crowd_count as f64 * topics as f64;
        record.push(Round {
            after_few: (after_few as f64 - level as f64) / places,
            after_many: (after_many as f64 - level as f64) / places,
            gaps: crowd.seen().gaps as f64 / crowd_count as f64,
        });
    }
    Ok(Patterns { crowd: crowd_count, topics, few, many, rounds: record })
}
