//! Subscriptions that want no more than so many messages a second (`max_rate`).
//!
//! Such a connection is in a list of its own, which the fan-out only notes. It has a place in the topic's ring, as
//! a slow one has, and when its time comes it gets the next message from there that is the newest of its key; a
//! gap stands for those in between. So a crowd of them costs the others nothing, and each message is looked at
//! once for all of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::catch_up::Compressor;
use super::shard::Shard;
use super::slots::TopicSlot;
use crate::broker::Message;
use crate::protocol::{Event, GapReason};
use crate::ring::Seq;

/// How many messages a turn gives out this way.
const TURN_MESSAGES_MAX: usize = 256;

/// The paced subscriptions of a connection, by their topics' numbers in the shard.
pub(super) type Paces = HashMap<u32, Pace, RandomState>;

/// Whose time comes when: time, connection and topic.
#[derive(Debug, Default)]
pub(super) struct Queue(BTreeSet<(u64, u32, u32)>);

/// A subscription that gets a message every so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    every_ms: u64,
    /// The next entry that it has not been told of.
    next: Seq,
    /// When it may get another message; its place in the queue if it is there.
    due_ms: u64,
    is_queued: bool,
    /// It is catching up like a slow one, or blocked, and goes on from wherever that ends.
    catches_up: bool,
}

impl Pace {
    /// At most `rate` messages a second, from `next` on.
    pub(super) fn new(rate: u16, next: Seq) -> Self {
        let every_ms = 1_000_u64.div_ceil(u64::from(rate.max(1)));
        Pace { every_ms, next, due_ms: 0, is_queued: false, catches_up: false }
    }

    pub(super) fn next(&self) -> Seq {
        self.next
    }

    /// Whether it is of that rate.
    pub(super) fn has(&self, rate: u16) -> bool {
        self.every_ms == Pace::new(rate, self.next).every_ms
    }

    /// Goes on from there; what was to come before is not owed any more.
    pub(super) fn begin_at(&mut self, next: Seq) {
        *self = Pace { next, is_queued: false, catches_up: false, ..*self };
    }
}

impl Queue {
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.0.first().map(|(due_ms, ..)| *due_ms)
    }
}

/// What a subscription gets next.
enum Next {
    /// Nothing there is new.
    Nothing,
    /// Its place is not held any more; it goes on from here.
    Lost(Seq),
    /// A message of its own, which it does not get.
    Own(Seq),
    Message(Seq, Arc<Message>),
}

impl Shard {
    /// Something is new in a topic, from `from` up to `next`. The others have been given it, under the current
    /// stamp.
    pub(super) fn stage_paced(&mut self, number: u32, from: Seq, next: Seq) {
        let now_ms = self.broker.now_ms();
        for place in 0..self.slots[number].paced.len() {
            let conn = self.slots[number].paced[place].conn;
            let is_given = self.conns[conn as usize].stamp == self.stamp();
            let state = &mut self.conns[conn as usize];
            let catches_up = state.stalled.as_ref().is_some_and(|stalled| stalled.next(number).is_some());
            let Some(pace) = state.paces.as_mut().and_then(|paces| paces.get_mut(&number)) else { continue };
            if pace.catches_up && !catches_up {
                // It had caught up in this topic, and stood where the others did until now.
                pace.begin_at(from);
            }
            // Another subscription gives it all, now or as it catches up; or what it has asked for is still to come.
            if catches_up || is_given {
                debug_assert!(pace.catches_up || pace.next >= from, "held back: see `give_held`");
                pace.begin_at(next);
                pace.catches_up = catches_up;
            } else if !pace.is_queued && !state.closing {
                pace.is_queued = true;
                pace.due_ms = pace.due_ms.max(now_ms);
                self.paced.0.insert((pace.due_ms, conn, number));
            }
        }
    }

    /// Gives those whose time has come their next message. True if there are more.
    pub(super) fn give_paced(&mut self, now_ms: u64) -> bool {
        for _ in 0..TURN_MESSAGES_MAX {
            match self.paced.0.first().copied() {
                Some(first @ (due_ms, conn, slot)) if due_ms <= now_ms => {
                    self.paced.0.remove(&first);
                    self.give_next(conn, slot, due_ms, now_ms);
                }
                _ => return false,
            }
        }
        true
    }

    fn give_next(&mut self, conn: u32, slot: u32, due_ms: u64, now_ms: u64) {
        let Some(state) = self.conns.get_mut(conn as usize) else { return };
        let Some(pace) = state.paces.as_mut().and_then(|paces| paces.get_mut(&slot)) else { return };
        // It may have been another connection's, or of an earlier subscription.
        if !pace.is_queued || pace.due_ms != due_ms || state.closing {
            return;
        }
        pace.due_ms = now_ms + pace.every_ms;
        if state.stalled.is_some() {
            // Its socket is full: it is owed nothing that could not be passed over.
            self.paced.0.insert((pace.due_ms, conn, slot));
            return;
        }
        let mut at = pace.next;
        self.slots[slot].note_newest();
        let found = loop {
            let of = &self.slots[slot];
            match look(of, at, self.conns[conn as usize].link.id) {
                Next::Lost(resume) => {
                    self.pass_over(conn, slot, at, resume, GapReason::Slow);
                    at = resume;
                }
                Next::Own(seq) => {
                    self.pass_over(conn, slot, at, seq, GapReason::Latest);
                    at = seq.next();
                }
                Next::Message(seq, message) => {
                    self.pass_over(conn, slot, at, seq, GapReason::Latest);
                    at = seq.next();
                    break Some((seq, message));
                }
                Next::Nothing => break None,
            }
        };
        if let Some((seq, message)) = found {
            let of = &self.slots[slot];
            let state = &mut self.conns[conn as usize];
            let mut compressor = Compressor::new(self.options.deflate_bytes_min, self.mailbox.stats());
            let form = compressor.settle(&message, state.link.form, &of.topic, seq);
            state.say_frames(|lane| lane.extend_from_slice(message.frame(form, &of.topic, seq)));
            self.mailbox.stats().delivered.add(1);
            self.touch(conn);
        }
        let is_behind = at < self.slots[slot].cursor;
        let state = &mut self.conns[conn as usize];
        if let Some(pace) = state.paces.as_mut().and_then(|paces| paces.get_mut(&slot)) {
            pace.next = at;
            pace.is_queued = is_behind;
            if is_behind {
                self.paced.0.insert((pace.due_ms, conn, slot));
            }
        }
    }

    /// A pattern gives a connection all of the topics that it matches: what has been held back of those comes first.
    pub(super) fn give_held(&mut self, conn: u32, pattern: u32) {
        let Some(paces) = &self.conns[conn as usize].paces else { return };
        let is_held = |slot: &TopicSlot, pace: &Pace| pace.next < slot.cursor && slot.patterns.contains(&pattern);
        let paces = paces.iter().filter(|(slot, pace)| is_held(&self.slots[**slot], pace));
        let mut held: Vec<(u32, Seq)> = paces.map(|(slot, pace)| (*slot, pace.next)).collect();
        held.sort_unstable();
        for (slot, next) in held {
            // To have a rate is not to be slow: what the ring has let go of meanwhile is said, whatever the policy.
            let of = &self.slots[slot];
            let held = next.max(of.topic.ring().oldest().min(of.cursor));
            self.pass_over(conn, slot, next, held, GapReason::Slow);
            if !self.place(conn, slot, held) {
                // In too many topics already.
                self.pass_over(conn, slot, held, self.slots[slot].cursor, GapReason::Slow);
            }
        }
        self.resume(conn);
    }

    /// Tells a connection that it does not get the entries before `resume`, if there are any.
    fn pass_over(&mut self, conn: u32, slot: u32, from: Seq, resume: Seq, reason: GapReason) {
        if from >= resume {
            return;
        }
        let topic = Arc::clone(&self.slots[slot].topic);
        let state = &mut self.conns[conn as usize];
        let (epoch, to) = (topic.epoch(), resume.0 - 1);
        state.say(&Event::Gap { topic: topic.name(), epoch, from: from.0, to, reason });
        state.gaps = state.gaps.saturating_add(1);
        let stats = self.mailbox.stats();
        stats.gaps.add(1);
        let counted = if reason == GapReason::Latest { &stats.conflated } else { &stats.skipped };
        counted.add(resume.0 - from.0);
        self.touch(conn);
    }

    /// A connection is level with its shard again: its paced subscriptions go on from there.
    pub(super) fn pace_on(&mut self, conn: u32) {
        let Some(paces) = &mut self.conns[conn as usize].paces else { return };
        for (&slot, pace) in paces.iter_mut().filter(|(_, pace)| pace.catches_up) {
            pace.begin_at(self.slots[slot].cursor);
        }
    }
}

/// What somebody gets next who has been told of everything before `at`, and is `to`.
fn look(of: &TopicSlot, at: Seq, to: crate::broker::ConnectionId) -> Next {
    let mut next = Next::Nothing;
    let read = of.topic.ring().read(at, |seq, message| {
        if seq >= of.cursor {
            return ControlFlow::Break(());
        }
        if !of.is_newest(seq, message) {
            return ControlFlow::Continue(());
        }
        let is_own = message.skip() == Some(to);
        next = if is_own { Next::Own(seq) } else { Next::Message(seq, Arc::clone(message)) };
        ControlFlow::Break(())
    });
    match read {
        // Up to the shard's cursor only: beyond it nothing has been owed yet.
        Err(lagged) => Next::Lost(lagged.resume.min(of.cursor)),
        Ok(_) => next,
    }
}
