//! A connection whose socket does not take all there is: where it stands, and how it catches up.
//!
//! It costs a cursor per topic that moved meanwhile and its place in one partly written frame, never
//! a queue. It reads from the topics' rings, up to where the shard stands; what has left a ring by
//! then becomes a `gap`.

use std::collections::HashMap;
use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::conn::Conn;
use super::slots::TopicSlots;
use super::stats::Stats;
use crate::broker::{Form, Message, Topic};
use crate::protocol::{Event, GapReason};
use crate::ring::Seq;

/// How much is put together for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How much one connection may catch up before others have their turn.
const TURN_BYTES_MAX: usize = 256 * 1024;

/// Where a stalled connection stands.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    /// The frame that has been written in part. It comes before anything else.
    partial: Option<Partial>,
    /// The next entry of each topic that moved meanwhile, by the topic's number in the shard.
    places: HashMap<u32, Seq, RandomState>,
    /// In the shard's list of those that go on in the next turn.
    pub(super) queued: bool,
}

/// The rest of a frame: not its bytes, but where to find them.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) message: Arc<Message>,
    pub(super) topic: Arc<Topic>,
    pub(super) seq: Seq,
    /// The form it is being written in.
    pub(super) form: Form,
    /// Bytes of the frame that have been written.
    pub(super) at: usize,
}

/// How far catching up got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// All that the shard has passed has been written: it stands at the shard's cursors again.
    Level,
    /// The socket is full.
    Blocked,
    /// It has had its share of this turn.
    Again,
    /// The socket failed.
    Broken,
}

/// A stretch of the bytes put together for one write.
struct Mark {
    /// Where it ends.
    end: usize,
    slot: u32,
    seq: Seq,
    message: Arc<Message>,
    topic: Arc<Topic>,
    form: Form,
}

impl Stalled {
    pub(super) fn set_partial(&mut self, partial: Option<Partial>) {
        self.partial = partial;
    }

    /// Whether it has nothing in hand: neither half a frame nor a place to go on from.
    pub(super) fn is_even(&self) -> bool {
        self.partial.is_none() && self.places.is_empty()
    }

    pub(super) fn place(&self, slot: u32) -> Option<Seq> {
        self.places.get(&slot).copied()
    }

    /// Notes that a topic moved from `next` on. A place that is noted already stays.
    ///
    /// False when it is behind in `places_max` topics and this would be one more.
    pub(super) fn fall_behind(&mut self, slots: &mut TopicSlots, slot: u32, next: Seq, places_max: usize) -> bool {
        if self.places.contains_key(&slot) {
            return true;
        }
        if self.places.len() >= places_max {
            return false;
        }
        self.places.insert(slot, next);
        slots.pin(slot);
        true
    }

    /// Nothing of that topic is owed any more.
    pub(super) fn forget(&mut self, slots: &mut TopicSlots, slot: u32) {
        if self.places.remove(&slot).is_some() {
            slots.unpin(slot);
        }
    }

    /// Nothing of any topic is owed, but for the rest of a frame.
    pub(super) fn forget_all(&mut self, slots: &mut TopicSlots) {
        for (slot, _) in self.places.drain() {
            slots.unpin(slot);
        }
    }

    pub(super) fn behind(&self) -> impl Iterator<Item = u32> {
        self.places.keys().copied()
    }
}

/// Writes what a stalled connection is owed, until its socket is full or its share of the turn is used.
pub(super) fn catch_up(conn: &mut Conn, slots: &mut TopicSlots, stats: &Stats, scratch: &mut Vec<u8>) -> CatchUp {
    let mut turn_bytes = 0;
    loop {
        announce_gaps(conn, slots, stats);
        let Some(stalled) = &mut conn.stalled else { return CatchUp::Level };

        scratch.clear();
        if let Some(partial) = &stalled.partial {
            let frame = partial.message.frame(partial.form, &partial.topic, partial.seq);
            scratch.extend_from_slice(&frame[partial.at..]);
        }
        let partial_bytes = scratch.len();
        scratch.extend_from_slice(&conn.lane);
        let marks = gather(stalled, &conn.link, slots, scratch);

        if scratch.is_empty() {
            settle(stalled, slots, &marks, 0, 0);
            return if stalled.is_even() { CatchUp::Level } else { CatchUp::Again };
        }
        let written = match conn.link.transport().try_write(&[IoSlice::new(scratch)]) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => return CatchUp::Broken,
        };
        stats.delivered_bytes.add(written as u64);
        stats.writes.add(1);

        // First the rest of the frame, then the lane, then messages.
        let of_partial = written.min(partial_bytes);
        if let Some(partial) = &mut stalled.partial {
            partial.at += of_partial;
            if of_partial == partial_bytes {
                stalled.partial = None;
                stats.delivered.add(1);
            }
        }
        let lane_bytes = conn.lane.len();
        let of_lane = (written - of_partial).min(lane_bytes);
        if written >= partial_bytes + lane_bytes {
            let delivered = settle(stalled, slots, &marks, partial_bytes + lane_bytes, written);
            stats.delivered.add(delivered);
        }
        let is_even = stalled.is_even();
        conn.lane_written(of_lane);
        if written < scratch.len() {
            return CatchUp::Blocked;
        }
        if is_even && conn.lane.is_empty() {
            return CatchUp::Level;
        }
        turn_bytes += written;
        if turn_bytes >= TURN_BYTES_MAX {
            return CatchUp::Again;
        }
    }
}

/// Puts a `gap` into the lane for each topic whose ring no longer holds the connection's place.
///
/// The lane goes ahead of messages, and all earlier messages of the topic have been written, or are
/// the partial frame that goes ahead of the lane. So the gap keeps its place.
fn announce_gaps(conn: &mut Conn, slots: &TopicSlots, stats: &Stats) {
    let Some(stalled) = &mut conn.stalled else { return };
    let mut gaps = Vec::new();
    for (&slot, place) in &mut stalled.places {
        let slot = &slots[slot];
        // Up to the shard's cursor only: beyond it nothing has been owed yet.
        let oldest = slot.topic.ring().oldest().min(slot.cursor);
        if *place < oldest {
            gaps.push((Arc::clone(&slot.topic), *place, oldest));
            *place = oldest;
        }
    }
    for (topic, from, resume) in gaps {
        stats.gaps.add(1);
        stats.skipped.add(resume.0 - from.0);
        conn.say(&Event::Gap {
            topic: topic.name(),
            epoch: topic.epoch(),
            from: from.0,
            to: resume.0 - 1,
            reason: GapReason::Slow,
        });
    }
}

/// Puts frames behind what is in `scratch`, up to about `WRITE_BYTES_MAX`.
fn gather(stalled: &Stalled, link: &super::Link, slots: &TopicSlots, scratch: &mut Vec<u8>) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (&number, &place) in &stalled.places {
        let slot = &slots[number];
        if scratch.len() >= WRITE_BYTES_MAX {
            break;
        }
        // A place that has just been overtaken yields nothing; the next round announces the gap.
        let _ = slot.topic.ring().read(place, |seq, message| {
            if seq >= slot.cursor {
                return ControlFlow::Break(());
            }
            let form = message.settled(link.form);
            if message.skip() != Some(link.id) {
                scratch.extend_from_slice(message.frame(form, &slot.topic, seq));
            }
            let (message, topic) = (Arc::clone(message), Arc::clone(&slot.topic));
            marks.push(Mark { end: scratch.len(), slot: number, seq, message, topic, form });
            if scratch.len() < WRITE_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    marks
}

/// Moves the places past what has been written of `marks`, whose bytes begin at `start`. Gives the
/// number of messages that were written whole.
fn settle(stalled: &mut Stalled, slots: &mut TopicSlots, marks: &[Mark], start: usize, written: usize) -> u64 {
    let mut delivered = 0;
    let mut from = start;
    for mark in marks {
        if mark.end <= written {
            delivered += u64::from(mark.end > from);
            stalled.places.insert(mark.slot, Seq(mark.seq.0 + 1));
        } else {
            if written > from {
                let (message, topic) = (Arc::clone(&mark.message), Arc::clone(&mark.topic));
                stalled.partial = Some(Partial { message, topic, seq: mark.seq, form: mark.form, at: written - from });
                stalled.places.insert(mark.slot, Seq(mark.seq.0 + 1));
            }
            break;
        }
        from = mark.end;
    }
    let level: Vec<u32> =
        stalled.places.iter().filter(|&(&slot, &place)| place >= slots[slot].cursor).map(|(&slot, _)| slot).collect();
    for slot in level {
        stalled.forget(slots, slot);
    }
    delivered
}
