//! A shard: connections, the topics they follow, and the turns in which it serves them.
//!
//! Single-threaded and without I/O but for `try_write`. Whoever runs it calls [`Shard::turn`] whenever
//! the bell has rung or the last turn left work, and [`Shard::tick`] as time goes by.

use std::collections::{BTreeSet, VecDeque};
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::sync::Arc;

use slab::Slab;

use super::catch_up::{CatchUp, catch_up};
use super::conn::Conn;
use super::departures::{Departures, Keepsake};
use super::ends::finish;
use super::follow::{Patterns, Walk};
use super::keep_alive::Wheel;
use super::leases::Leases;
use super::link::Link;
use super::mail::{Goodbye, Mail, Mailbox, What};
use super::options::ShardOptions;
use super::pace::Queue;
use super::pass::{Joined, Pass};
use super::slots::TopicSlots;
use super::stalled::{Partial, Rest, Stalled};
use crate::broker::{Broker, ConnectionId, Follower};
use crate::protocol::{CloseCode, Event, GapReason};
use crate::ring::Seq;

/// How many sockets a turn writes to before it gives way to the connections' reads.
pub(super) const TURN_WRITES_MAX: usize = 256;

/// How many writes are prepared together.
const WARM_CONNECTIONS: usize = 16;

/// How much of one topic goes into one run.
const RUN_BYTES_MAX: usize = 256 * 1024;

/// How many topics, and joined bytes, go into one pass.
const PASS_TOPICS_MAX: usize = 1024;
const PASS_BYTES_MAX: usize = 1024 * 1024;

/// How many slices go into one vectored write.
const SLICES_MAX: usize = 64;

/// Whether a turn left work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Again,
    Sleep,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) broker: Broker,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) options: ShardOptions,
    pub(super) conns: Slab<Conn>,
    pub(super) slots: TopicSlots,
    pub(super) patterns: Patterns,
    pub(super) walks: VecDeque<Walk>,
    /// Topics whose members are told who comes and goes.
    pub(super) watched: BTreeSet<u32>,
    pub(super) wheel: Wheel,
    pub(super) leases: Leases,
    pub(super) departures: Departures,
    pub(super) paced: Queue,
    pub(super) pass: Pass,
    stamp: u64,
    /// Topics that had more than one run holds.
    pub(super) unfinished: VecDeque<u32>,
    /// Who is to be told who comes and goes: topics and connections.
    pub(super) to_tell: VecDeque<(u32, u32)>,
    /// Stalled connections whose sockets take writes and that had their share of the last turn.
    catching_up: VecDeque<u32>,
    /// Connections that fell behind in too many topics.
    pub(super) too_slow: Vec<(u32, ConnectionId)>,
    scratch: Vec<u8>,
    /// What goes to the connection that is being written to, empty otherwise.
    joined: Vec<Joined>,
    mail: Vec<Mail>,
    pub(super) tick: u32,
    /// Everybody has been sent away, to return within so many milliseconds.
    pub(super) draining: Option<u64>,
}

impl Shard {
    pub(super) fn new(broker: Broker, mailbox: Arc<Mailbox>, options: ShardOptions) -> Self {
        Shard {
            wheel: Wheel::new(options.heartbeat_ms, options.timeout_ms),
            leases: Leases::default(),
            broker,
            mailbox,
            options,
            conns: Slab::new(),
            slots: TopicSlots::default(),
            patterns: Patterns::default(),
            walks: VecDeque::new(),
            watched: BTreeSet::new(),
            departures: Departures::default(),
            paced: Queue::default(),
            pass: Pass::default(),
            stamp: 0,
            unfinished: VecDeque::new(),
            to_tell: VecDeque::new(),
            catching_up: VecDeque::new(),
            too_slow: Vec::new(),
            scratch: Vec::new(),
            joined: Vec::new(),
            mail: Vec::new(),
            tick: 0,
            draining: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// A bounded piece of work: all mail, a stretch of the walks, and so many writes.
    pub(super) fn turn(&mut self) -> Turn {
        // Before the mail, which touches connections: the bell may have rung for what is dirty, and
        // rings no more for it.
        let gathers = self.pass.is_written();
        if gathers {
            self.end_pass();
            self.gather();
        }
        self.read_mail();
        if let Some(spread_ms) = self.mailbox.take_drain() {
            self.drain(spread_ms);
        }
        self.answer_surveys();
        self.answer_publishers();
        let is_late = self.look_at_clock();
        self.walk();
        self.write();
        self.tell_some();
        self.catch_up();
        self.close_slow();
        for slot in self.slots.take_unpinned() {
            if self.slots.contains(slot) {
                self.release(slot);
            }
        }
        let more = !gathers
            || is_late
            || !self.pass.is_written()
            || !self.pass.runs.is_empty()
            || !self.unfinished.is_empty()
            || !self.to_tell.is_empty()
            || !self.catching_up.is_empty()
            || !self.walks.is_empty()
            || self.patterns.is_settling()
            || self.mailbox.inbox().len() > 0;
        if more { Turn::Again } else { Turn::Sleep }
    }

    /// When, by the broker's clock, something is to be done that nobody rings for.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.departures.due_ms().into_iter().chain(self.paced.due_ms()).min()
    }

    /// Does what is due. True if there is more of it than a turn does.
    fn look_at_clock(&mut self) -> bool {
        // The clock is asked only where something goes by it.
        if self.due_ms().is_none() {
            return false;
        }
        let now_ms = self.broker.now_ms();
        self.end_departures(now_ms);
        self.give_paced(now_ms)
    }

    // Mail.

    fn read_mail(&mut self) {
        let mut mail = self.mailbox.take(std::mem::take(&mut self.mail));
        for Mail { link, what } in mail.drain(..) {
            let what = match what {
                What::Open(head) => {
                    self.open(&link, head);
                    continue;
                }
                // It may be posted by a connection of another shard.
                What::Reclaim(connection, hand_over) => {
                    self.reclaim(connection, hand_over);
                    continue;
                }
                what => what,
            };
            let conn = link.slot();
            if conn == Link::NO_SLOT {
                if let What::HandOver(hand_over) = what {
                    // It was lost before this was read: what it left behind is here for a while.
                    self.reclaim(link.id, hand_over);
                }
                continue;
            }
            if self.conns[conn as usize].closing && !matches!(what, What::Writable | What::Gone(_)) {
                // RFC 6455, 5.5.1: nothing is sent after a close frame. Whoever waits need not.
                match what {
                    What::Lane(frames) => link.sub_lane(frames.len()),
                    What::Lease(_) => {}
                    What::HandOver(hand_over) if !self.conns[conn as usize].left_for_good => {
                        hand_over.give(self.bequeath(conn));
                    }
                    _ => link.set_done(),
                }
                continue;
            }
            match what {
                What::Open(_) | What::Reclaim(..) => {}
                What::Lane(frames) => {
                    let conn_state = &mut self.conns[conn as usize];
                    if conn_state.lane.is_empty() {
                        conn_state.lane = frames;
                    } else {
                        conn_state.lane.extend_from_slice(&frames);
                    }
                    self.touch(conn);
                    if let Some(spread_ms) = self.draining {
                        // It was on its way when the others were sent away, and has now been welcomed.
                        let goodbye = Goodbye { reconnect_ms: Some(spread_ms / 2) };
                        self.close(
                            conn,
                            CloseCode::SERVICE_RESTART,
                            CloseCode::SERVICE_RESTART.reason(),
                            Some(goodbye),
                        );
                    }
                }
                What::Join(target, terms, asker) => self.join(conn, target, terms, asker),
                What::Leave(target, asker) => self.leave(conn, &target, &asker),
                What::Lease(lease) => self.set_lease(conn, lease),
                What::Writable => self.resume(conn),
                What::Close { code, reason, goodbye } => self.close(conn, code, reason, goodbye),
                What::HandOver(hand_over) => self.hand_over(conn, hand_over),
                What::Inherit(inheritance) => self.inherit(conn, inheritance),
                What::Gone(kept) => self.remove(conn, kept),
            }
        }
        const MAIL_KEPT: usize = 1024;
        mail.shrink_to(MAIL_KEPT);
        self.mail = mail;
    }

    fn open(&mut self, link: &Arc<Link>, head: Vec<u8>) {
        link.hear(self.tick);
        let id = link.id;
        let conn = self.conns.insert(Conn::new(Arc::clone(link), head, self.tick)) as u32;
        link.set_slot(conn);
        self.wheel.add(conn, id, self.tick, self.wheel.heartbeat());
        self.mailbox.stats().connections.add(1);
    }

    fn remove(&mut self, conn: u32, kept: Keepsake) {
        // First what it is owed, so that its leaves need not look through it.
        if let Some(mut stalled) = self.conns[conn as usize].stalled.take() {
            stalled.forget_all(&mut self.slots);
            self.mailbox.stats().stalled.sub(1);
        }
        self.depart(conn, kept);
        self.leave_all(conn);
        self.leases.forget(conn);
        let gone = self.conns.remove(conn as usize);
        gone.link.set_slot(Link::NO_SLOT);
        self.mailbox.stats().connections.sub(1);
    }

    /// The connection is to be written to in this pass.
    pub(super) fn touch(&mut self, conn: u32) {
        let state = &mut self.conns[conn as usize];
        if state.stalled.is_some() {
            // What it has been given waits until its socket takes writes.
            return;
        }
        if !state.touched {
            state.touched = true;
            self.pass.touched.push(conn);
        }
    }

    // Passes.

    fn gather(&mut self) {
        let inbox = Arc::clone(self.mailbox.inbox());
        for _ in 0..self.unfinished.len() {
            if let Some(slot) = self.unfinished.pop_front()
                && self.slots.contains(slot)
            {
                self.stage(slot);
                self.tell_presence(slot);
            }
        }
        for _ in 0..PASS_TOPICS_MAX {
            if self.pass.bytes() >= PASS_BYTES_MAX {
                break;
            }
            let Some((topic, follower)) = inbox.next() else {
                self.patterns.settle(usize::MAX);
                break;
            };
            self.patterns.settle(1);
            if follower.slot() == Follower::GONE {
                continue;
            }
            let patterns = &self.patterns;
            let slot = self.slots.of(&topic, &follower, |name| patterns.matching(name));
            self.stage(slot);
            self.tell_presence(slot);
            self.release(slot);
        }
        self.complete_joins();
    }

    /// Puts what is new in a topic into the pass, and before the connections that follow it.
    pub(super) fn stage(&mut self, number: u32) {
        let slot = &mut self.slots[number];
        let from = slot.cursor;
        let begun = self.pass.begin();
        let mut bytes = 0;
        let pass = &mut self.pass;
        let read = slot.topic.ring().read(from, |_, message| {
            pass.add(message);
            bytes += message.data().bytes().len();
            if bytes < RUN_BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let next = match read {
            Ok(next) => next,
            // What a shard has not passed is not evicted. Should it ever be, its subscribers are told.
            Err(lagged) => {
                self.miss(number, from, lagged.resume);
                return;
            }
        };
        if self.pass.added(begun) == 0 {
            return;
        }
        let mut forms = slot.forms;
        let mut nobody = slot.members.is_empty();
        for &pattern in &slot.patterns {
            forms.add_all(&self.patterns[pattern].forms);
            nobody &= self.patterns[pattern].members.is_empty();
        }
        let made = self.make_frames(number, begun, forms, from);
        if made == 0 {
            // All of it is being compressed by another shard: the topic's turn comes again.
            self.pass.abandon(begun);
            self.unfinished.push_back(number);
            return;
        }
        let whole = self.pass.added(begun) == made;
        let next = if whole { next } else { Seq(from.0 + made as u64) };
        self.pass.keep(begun, made);
        self.pass.count(bytes);
        let slot = &mut self.slots[number];
        slot.cursor = next;
        self.next_stamp();
        if nobody {
            let slot = &self.slots[number];
            self.pass.abandon(begun);
            slot.topic.pass(&slot.follower, Seq(next.0 - 1));
        } else {
            let run = self.pass.finish(begun, number, Arc::clone(&self.slots[number].topic), from);
            for member in 0..self.slots[number].members.len() {
                self.stage_to(self.slots[number].members[member].conn, run, number, from);
            }
            for pattern in 0..self.slots[number].patterns.len() {
                let pattern = self.slots[number].patterns[pattern];
                for member in 0..self.patterns[pattern].members.len() {
                    self.stage_to(self.patterns[pattern].members[member].conn, run, number, from);
                }
            }
        }
        if !self.slots[number].paced.is_empty() {
            self.stage_paced(number, from, next);
        }
        if bytes >= RUN_BYTES_MAX || !whole {
            self.unfinished.push_back(number);
        }
    }

    /// Entries of a topic were gone before the shard came to them: everybody who follows it gets a gap.
    fn miss(&mut self, number: u32, from: Seq, resume: Seq) {
        tracing::error!(topic = %self.slots[number].topic.name(), from = from.0, to = resume.0 - 1, "a shard was overrun");
        let slot = &mut self.slots[number];
        slot.cursor = resume;
        let topic = Arc::clone(&slot.topic);
        self.next_stamp();
        let exact = self.slots[number].members.iter();
        let by_pattern = self.slots[number].patterns.iter().flat_map(|&pattern| &self.patterns[pattern].members);
        let conns: Vec<u32> = exact.chain(by_pattern).map(|member| member.conn).collect();
        for conn in conns {
            // What is staged of the topic comes before its gap.
            self.flush(conn);
            let state = &mut self.conns[conn as usize];
            if state.stamp == self.stamp || state.closing {
                continue;
            }
            state.stamp = self.stamp;
            if let Some(stalled) = &mut state.stalled {
                // Its place is announced as a gap when it catches up.
                stalled.fall_behind(&mut self.slots, number, from, usize::MAX);
                continue;
            }
            let (epoch, to) = (topic.epoch(), resume.0 - 1);
            state.say(&Event::Gap { topic: topic.name(), epoch, from: from.0, to, reason: GapReason::Slow });
            state.gaps = state.gaps.saturating_add(1);
            self.mailbox.stats().gaps.add(1);
            self.mailbox.stats().skipped.add(resume.0 - from.0);
            self.touch(conn);
        }
        self.unfinished.push_back(number);
    }

    fn stage_to(&mut self, number: u32, run: u32, slot: u32, from: Seq) {
        let conn = &mut self.conns[number as usize];
        if conn.stamp == self.stamp || conn.closing {
            return;
        }
        conn.stamp = self.stamp;
        if let Some(stalled) = &mut conn.stalled {
            if !stalled.fall_behind(&mut self.slots, slot, from, self.options.behind_topics_max) {
                self.too_slow.push((number, conn.link.id));
            }
            return;
        }
        conn.pieces.push(run);
        if !conn.touched {
            conn.touched = true;
            self.pass.touched.push(number);
        }
    }

    /// The stamp of whoever has been given the run that is being staged.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// A stamp that no connection has.
    pub(super) fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Brings a topic up to its newest entry, so that whoever joins now begins after it.
    pub(super) fn level(&mut self, slot: u32) {
        // Once is nearly always enough. Publishers that nobody holds back could go on for ever; then
        // the topic begins a little before its newest entry, which is no less true.
        const STAGES_MAX: usize = 16;
        for _ in 0..STAGES_MAX {
            let before = self.slots[slot].cursor;
            if self.slots[slot].topic.ring().newest() < before {
                return;
            }
            self.stage(slot);
            if self.slots[slot].cursor == before {
                // What is new is being compressed by another shard.
                return;
            }
        }
    }

    fn end_pass(&mut self) {
        for run in &self.pass.runs {
            if self.slots.contains(run.slot) && Arc::ptr_eq(&self.slots[run.slot].topic, &run.topic) {
                let slot = &self.slots[run.slot];
                slot.topic.pass(&slot.follower, Seq(slot.cursor.0 - 1));
            }
        }
        self.pass.clear();
    }

    // Writes.

    fn write(&mut self) {
        for at in 0..TURN_WRITES_MAX {
            if at % WARM_CONNECTIONS == 0 {
                self.warm();
            }
            let Some(&conn) = self.pass.touched.get(self.pass.written) else { break };
            self.pass.written += 1;
            self.flush(conn);
        }
    }

    /// Looks at what the next writes need. A write ends in the kernel, past which the processor does not look
    /// ahead: each would wait for memory anew, where these wait for all of theirs at once.
    fn warm(&self) {
        let next = self.pass.touched.iter().skip(self.pass.written).take(WARM_CONNECTIONS);
        for conn in next.filter_map(|&conn| self.conns.get(conn as usize)) {
            black_box(conn.pieces.first().copied());
            conn.link.warm();
        }
    }

    /// Writes the lane and the staged runs of one connection, if its socket takes writes.
    pub(super) fn flush(&mut self, number: u32) {
        let Some(conn) = self.conns.get_mut(number as usize) else { return };
        if !conn.touched {
            return;
        }
        conn.touched = false;
        if conn.stalled.is_some() {
            return;
        }
        let pieces = std::mem::take(&mut conn.pieces);
        let (form, id) = (conn.link.form, conn.link.id);
        let mut joined = std::mem::take(&mut self.joined);
        // What all share first: what is this one's own is given back when it has been written.
        for &run in &pieces {
            self.pass.share(run, form, id);
        }
        let shared = self.pass.mark();
        joined.extend(pieces.iter().map(|&run| self.pass.joined(run, form, id)));

        let lane_bytes = conn.lane.len();
        let total = lane_bytes + joined.iter().map(Joined::len).sum::<usize>();
        let written = if total == 0 {
            Ok(0)
        } else if let (0, [one]) = (lane_bytes, &joined[..]) {
            conn.link.transport().try_write(&[IoSlice::new(self.pass.slice(*one))])
        } else {
            let lane = std::iter::once(&conn.lane[..]);
            let slices =
                lane.chain(joined.iter().map(|&joined| self.pass.slice(joined))).filter(|slice| !slice.is_empty());
            write_all(&conn.link, slices)
        };
        let written = match written {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.pass.give_back(shared);
                joined.clear();
                self.joined = joined;
                self.fail(number);
                return;
            }
        };

        let stats = self.mailbox.stats();
        stats.writes.add(1);
        stats.delivered_bytes.add(written as u64);
        conn.sent = self.tick;
        if written == total {
            stats.delivered.add(pieces.iter().map(|&run| self.pass.len(run) as u64).sum());
            conn.lane_written(lane_bytes);
            // Kept for the next pass: the list is short and the allocation would come back.
            conn.pieces = pieces;
            conn.pieces.clear();
            if conn.closing {
                finish(conn);
            }
        } else {
            conn.lane_written(written.min(lane_bytes));
            self.stall(number, &pieces, &joined, written.saturating_sub(lane_bytes));
        }
        self.pass.give_back(shared);
        joined.clear();
        self.joined = joined;
    }

    /// The socket took `written` bytes of the staged runs and no more.
    fn stall(&mut self, number: u32, pieces: &[u32], joined: &[Joined], mut written: usize) {
        let conn = &mut self.conns[number as usize];
        let mut stalled = Box::<Stalled>::default();
        let mut partial = None;
        for (&run, &joined) in pieces.iter().zip(joined) {
            let part = written.min(joined.len());
            written -= part;
            let reached = self.pass.reached(run, joined, part);
            self.mailbox.stats().delivered.add(reached.whole as u64);
            let (slot, from, topic) = {
                let run = &self.pass.runs[run as usize];
                (run.slot, run.from, &run.topic)
            };
            let mut next = Seq(from.0 + reached.whole as u64);
            if reached.part > 0 {
                let message = Arc::clone(self.pass.message(run, reached.whole));
                // The same as when the run was joined: every frame was made before.
                let form = message.settled(conn.link.form);
                partial = Some(Partial { message, topic: Arc::clone(topic), seq: next, form, at: reached.part });
                next = Seq(next.0 + 1);
            }
            let end = Seq(from.0 + self.pass.len(run) as u64);
            let stands = self.slots.contains(slot) && Arc::ptr_eq(&self.slots[slot].topic, topic);
            if next < end && stands && !stalled.fall_behind(&mut self.slots, slot, next, self.options.behind_topics_max)
            {
                self.too_slow.push((number, conn.link.id));
                break;
            }
        }
        stalled.set_rest(partial.map(Rest::Frame));
        conn.stalled = Some(stalled);
        conn.link.set_blocked();
        self.mailbox.stats().stalled.add(1);
    }

    /// The socket takes writes again, or there is something to catch up with.
    pub(super) fn resume(&mut self, number: u32) {
        let Some(stalled) = &mut self.conns[number as usize].stalled else { return };
        if !stalled.queued {
            stalled.queued = true;
            self.catching_up.push_back(number);
        }
    }

    fn catch_up(&mut self) {
        const TURN_CATCH_UPS_MAX: usize = 32;
        for _ in 0..TURN_CATCH_UPS_MAX.min(self.catching_up.len()) {
            let Some(number) = self.catching_up.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(number as usize) else { continue };
            match &mut conn.stalled {
                Some(stalled) if stalled.queued => stalled.queued = false,
                _ => continue,
            }
            conn.sent = self.tick;
            let bytes_min = self.options.deflate_bytes_min;
            match catch_up(conn, &mut self.slots, self.mailbox.stats(), bytes_min, &mut self.scratch) {
                CatchUp::Level => {
                    conn.stalled = None;
                    self.mailbox.stats().stalled.sub(1);
                    if conn.closing {
                        finish(conn);
                    }
                    self.pace_on(number);
                    self.tell_missed_presence(number);
                }
                CatchUp::Blocked => conn.link.set_blocked(),
                CatchUp::Again => self.resume(number),
                CatchUp::TooSlow => {
                    self.close_too_slow(number);
                    self.resume(number);
                }
                CatchUp::Broken => self.fail(number),
            }
        }
        const SCRATCH_BYTES_KEPT: usize = 128 * 1024;
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
    }

    /// The socket failed: the session is told, and everything owed is forgotten.
    fn fail(&mut self, number: u32) {
        let conn = &mut self.conns[number as usize];
        conn.closing = true;
        conn.pieces.clear();
        let lane_bytes = conn.lane.len();
        conn.lane_written(lane_bytes);
        if let Some(mut stalled) = conn.stalled.take() {
            stalled.forget_all(&mut self.slots);
            self.mailbox.stats().stalled.sub(1);
        }
        conn.link.set_broken();
    }
}

/// Writes slices in groups, until one is not taken whole.
fn write_all<'a>(link: &Link, mut slices: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    let mut all = 0;
    loop {
        let mut group = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for (place, slice) in group.iter_mut().zip(&mut slices) {
            *place = IoSlice::new(slice);
            count += 1;
            bytes += slice.len();
        }
        if count == 0 {
            return Ok(all);
        }
        match link.transport().try_write(&group[..count]) {
            Ok(written) if written == bytes => all += written,
            Ok(written) => return Ok(all + written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
            Err(error) => return Err(error),
        }
    }
}
