//! How a connection catches up: from the topics' rings, up to where its shard stands, at the pace of its
//! socket.
//!
//! What has left a ring by then becomes a `gap`. In topics that keep the latest, of what was missed only
//! the newest message of each key is written, and gaps stand for the others.

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::conn::Conn;
use super::forms::DEFLATE_BYTES_MAX;
use super::link::Link;
use super::shard::Shard;
use super::slots::{TopicSlot, TopicSlots};
use super::stalled::{Partial, Place, Rest, Stalled};
use super::stats::Stats;
use crate::broker::{Form, Made, Message, Overflow, Topic};
use crate::protocol::{Event, GapReason};
use crate::ring::Seq;
use crate::ws;

/// How much is put together for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How much one connection may catch up before others have their turn.
const TURN_BYTES_MAX: usize = 256 * 1024;

/// How far catching up got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// All that the shard has passed has been written: it stands at the shard's cursors again.
    Level,
    /// The socket is full.
    Blocked,
    /// It has had its share of this turn.
    Again,
    /// It missed something of a topic that does not bear that.
    TooSlow,
    /// The socket failed.
    Broken,
}

/// Compresses what nobody has compressed before, within bounds: beyond them, and where another shard is at
/// it, messages go as they are.
pub(super) struct Compressor<'a> {
    bytes_min: usize,
    work: usize,
    stats: &'a Stats,
}

impl<'a> Compressor<'a> {
    pub(super) fn new(bytes_min: usize, stats: &'a Stats) -> Self {
        Compressor { bytes_min, work: 0, stats }
    }

    /// The form in which the message is to be written.
    pub(super) fn settle(&mut self, message: &Message, form: Form, topic: &Topic, seq: Seq) -> Form {
        if self.work < DEFLATE_BYTES_MAX
            && let Made::Now { from, to } = message.make(form, self.bytes_min, topic, seq)
        {
            self.work += from;
            self.stats.deflated(from, to);
        }
        message.settled(form)
    }
}

/// A stretch of the bytes put together for one write.
struct Mark {
    /// Where it ends.
    end: usize,
    slot: u32,
    /// The last entry that it stands for.
    seq: Seq,
    what: Marked,
}

enum Marked {
    /// A message's frame; without bytes if it is left out for this connection.
    Message { message: Arc<Message>, topic: Arc<Topic>, form: Form },
    /// A gap in place of so many entries.
    Gap(u64),
}

/// Writes what a connection is owed, until its socket is full or its share of the turn is used.
pub(super) fn catch_up(
    conn: &mut Conn,
    slots: &mut TopicSlots,
    stats: &Stats,
    deflate_bytes_min: usize,
    scratch: &mut Vec<u8>,
) -> CatchUp {
    let mut turn_bytes = 0;
    let mut compressor = Compressor::new(deflate_bytes_min, stats);
    loop {
        if announce_gaps(conn, slots, stats).is_break() {
            return CatchUp::TooSlow;
        }
        let Some(stalled) = &mut conn.stalled else { return CatchUp::Level };

        scratch.clear();
        if let Some(rest) = stalled.rest() {
            scratch.extend_from_slice(rest.bytes());
        }
        let rest_bytes = scratch.len();
        scratch.extend_from_slice(&conn.lane);
        let marks = gather(stalled, &conn.link, slots, &mut compressor, scratch);

        if scratch.is_empty() {
            conn.gaps = conn.gaps.saturating_add(settle(stalled, slots, stats, &marks, scratch, 0, 0));
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
        let of_rest = written.min(rest_bytes);
        wrote_rest(stalled, stats, of_rest, rest_bytes);
        let lane_bytes = conn.lane.len();
        let of_lane = (written - of_rest).min(lane_bytes);
        if written >= rest_bytes + lane_bytes {
            let gaps = settle(stalled, slots, stats, &marks, scratch, rest_bytes + lane_bytes, written);
            conn.gaps = conn.gaps.saturating_add(gaps);
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

/// `written` bytes of the rest of a frame, which has `all`, have been written.
fn wrote_rest(stalled: &mut Stalled, stats: &Stats, written: usize, all: usize) {
    let rest = match stalled.rest() {
        None => return,
        Some(Rest::Frame(partial)) if written == all => {
            debug_assert_eq!(partial.message.frame(partial.form, &partial.topic, partial.seq).len(), partial.at + all);
            stats.delivered.add(1);
            None
        }
        Some(Rest::Bytes(_)) if written == all => None,
        Some(Rest::Frame(Partial { message, topic, seq, form, at })) => {
            let (message, topic) = (Arc::clone(message), Arc::clone(topic));
            Some(Rest::Frame(Partial { message, topic, seq: *seq, form: *form, at: at + written }))
        }
        Some(Rest::Bytes(bytes)) => Some(Rest::Bytes(bytes[written..].to_vec())),
    };
    stalled.set_rest(rest);
}

/// Puts a `gap` into the lane for each topic whose ring no longer holds the connection's place. Breaks if
/// one of them does not bear gaps.
///
/// The lane goes ahead of messages, and all earlier messages of the topic have been written, or are
/// the half-written frame that goes ahead of the lane. So the gap keeps its place.
fn announce_gaps(conn: &mut Conn, slots: &TopicSlots, stats: &Stats) -> ControlFlow<()> {
    let Some(stalled) = &mut conn.stalled else { return ControlFlow::Continue(()) };
    let mut gaps = Vec::new();
    for (number, place) in stalled.places() {
        let slot = &slots[number];
        // Up to the shard's cursor only: beyond it nothing has been owed yet.
        let oldest = slot.topic.ring().oldest().min(slot.cursor);
        if place.next < oldest {
            if slot.topic.overflow() == Overflow::Disconnect {
                return ControlFlow::Break(());
            }
            gaps.push((number, Arc::clone(&slot.topic), place, oldest));
        }
    }
    // What is missing of a topic that was removed comes before what is missing of the one born after it.
    gaps.sort_unstable_by_key(|(.., place, _)| place.noted);
    for (number, topic, Place { next: from, .. }, resume) in gaps {
        if let Some(stalled) = &mut conn.stalled {
            stalled.move_on(number, resume);
        }
        conn.gaps = conn.gaps.saturating_add(1);
        stats.gaps.add(1);
        stats.skipped.add(resume.0 - from.0);
        conn.say(&gap(&topic, from, resume, GapReason::Slow));
    }
    ControlFlow::Continue(())
}

impl Shard {
    /// Whoever follows a topic by a pattern may be behind in one of the same name that has gone since, and begins to
    /// follow the new one by its name: the rest of the old one is announced as a gap before that. Breaks if the
    /// topic does not bear gaps.
    pub(super) fn settle_earlier(&mut self, conn: u32, slot: u32) -> ControlFlow<()> {
        let begun = Arc::clone(&self.slots[slot].topic);
        let conn = &mut self.conns[conn as usize];
        let Some(stalled) = &conn.stalled else { return ControlFlow::Continue(()) };
        let is_earlier = |number: u32| number != slot && self.slots[number].topic.name() == begun.name();
        let mut earlier: Vec<_> = stalled.places().filter(|(number, _)| is_earlier(*number)).collect();
        earlier.sort_unstable_by_key(|(_, place)| place.noted);
        let stats = self.mailbox.stats();
        for (number, Place { next: from, .. }) in earlier {
            let (topic, cursor) = (Arc::clone(&self.slots[number].topic), self.slots[number].cursor);
            if from < cursor {
                if topic.overflow() == Overflow::Disconnect {
                    return ControlFlow::Break(());
                }
                conn.gaps = conn.gaps.saturating_add(1);
                stats.gaps.add(1);
                stats.skipped.add(cursor.0 - from.0);
                conn.say(&gap(&topic, from, cursor, GapReason::Slow));
            }
            if let Some(stalled) = &mut conn.stalled {
                stalled.forget(&mut self.slots, number);
            }
        }
        ControlFlow::Continue(())
    }
}

fn gap(topic: &Topic, from: Seq, resume: Seq, reason: GapReason) -> Event<'_> {
    Event::Gap { topic: topic.name(), epoch: topic.epoch(), from: from.0, to: resume.0 - 1, reason }
}

/// Puts frames behind what is in `scratch`, up to about `WRITE_BYTES_MAX`.
fn gather(
    stalled: &mut Stalled,
    link: &Link,
    slots: &mut TopicSlots,
    compressor: &mut Compressor<'_>,
    scratch: &mut Vec<u8>,
) -> Vec<Mark> {
    let mut marks = Vec::new();
    // Each time another topic is first: a busy one must not keep the others waiting for ever.
    let places: Vec<_> = stalled.places().collect();
    let first = stalled.next_turn() % places.len().max(1);
    for &(number, place) in places[first..].iter().chain(&places[..first]) {
        if scratch.len() >= WRITE_BYTES_MAX {
            break;
        }
        let is_latest = slots[number].topic.overflow() == Overflow::Latest && place.asked_to < slots[number].cursor;
        if is_latest {
            slots[number].note_newest();
        }
        let slot = &slots[number];
        if is_latest {
            gather_latest(number, slot, place, link, compressor, scratch, &mut marks);
            continue;
        }
        // A place that has just been overtaken yields nothing; the next round announces the gap.
        let _ = slot.topic.ring().read(place.next, |seq, message| {
            if seq >= slot.cursor {
                return ControlFlow::Break(());
            }
            marks.push(put_message(number, slot, seq, message, link, compressor, scratch));
            if scratch.len() < WRITE_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    marks
}

/// As `gather` for one topic, but of what was missed only the newest message of each key.
fn gather_latest(
    number: u32,
    slot: &TopicSlot,
    place: Place,
    link: &Link,
    compressor: &mut Compressor<'_>,
    scratch: &mut Vec<u8>,
    marks: &mut Vec<Mark>,
) {
    let mut passed_over = place.next;
    let _ = slot.topic.ring().read(place.next, |seq, message| {
        if seq >= slot.cursor || scratch.len() >= WRITE_BYTES_MAX {
            return ControlFlow::Break(());
        }
        if seq < place.asked_to || slot.is_newest(seq, message) {
            if passed_over < seq {
                marks.push(put_gap(number, slot, passed_over, seq, link, scratch));
            }
            marks.push(put_message(number, slot, seq, message, link, compressor, scratch));
            passed_over = seq.next();
        }
        ControlFlow::Continue(())
    });
    // The newest message of all is the newest of its key: nothing is passed over behind it.
}

fn put_message(
    slot: u32,
    of: &TopicSlot,
    seq: Seq,
    message: &Arc<Message>,
    link: &Link,
    compressor: &mut Compressor<'_>,
    scratch: &mut Vec<u8>,
) -> Mark {
    let form = compressor.settle(message, link.form, &of.topic, seq);
    if message.skip() != Some(link.id) {
        scratch.extend_from_slice(message.frame(form, &of.topic, seq));
    }
    let what = Marked::Message { message: Arc::clone(message), topic: Arc::clone(&of.topic), form };
    Mark { end: scratch.len(), slot, seq, what }
}

fn put_gap(slot: u32, of: &TopicSlot, from: Seq, resume: Seq, link: &Link, scratch: &mut Vec<u8>) -> Mark {
    let mut payload = Vec::with_capacity(128);
    gap(&of.topic, from, resume, GapReason::Latest).encode(link.form.encoding(), &mut payload);
    ws::push(scratch, link.form.opcode(), &payload);
    Mark { end: scratch.len(), slot, seq: Seq(resume.0 - 1), what: Marked::Gap(resume.0 - from.0) }
}

/// Moves the places past what has been written of `marks`, whose bytes begin at `start` of `bytes`; gives
/// how many gaps were among it.
fn settle(
    stalled: &mut Stalled,
    slots: &mut TopicSlots,
    stats: &Stats,
    marks: &[Mark],
    bytes: &[u8],
    start: usize,
    written: usize,
) -> u32 {
    let mut gaps = 0;
    let mut from = start;
    for mark in marks {
        let is_whole = mark.end <= written;
        if !is_whole && written <= from {
            break;
        }
        stalled.move_on(mark.slot, mark.seq.next());
        if let Marked::Gap(count) = mark.what {
            gaps += 1;
            stats.gaps.add(1);
            stats.conflated.add(count);
        }
        if !is_whole {
            stalled.set_rest(Some(match &mark.what {
                Marked::Gap(_) => Rest::Bytes(bytes[written..mark.end].to_vec()),
                Marked::Message { message, topic, form } => {
                    let (message, topic) = (Arc::clone(message), Arc::clone(topic));
                    Rest::Frame(Partial { message, topic, seq: mark.seq, form: *form, at: written - from })
                }
            }));
            break;
        }
        if matches!(mark.what, Marked::Message { .. }) {
            stats.delivered.add(u64::from(mark.end > from));
        }
        from = mark.end;
    }
    let level: Vec<u32> =
        stalled.places().filter(|(slot, place)| place.next == slots[*slot].cursor).map(|(slot, _)| slot).collect();
    for slot in level {
        stalled.forget(slots, slot);
    }
    gaps
}
