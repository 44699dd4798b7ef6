//! Who is told who comes and goes.
//!
//! A topic's members change in versions, which mark the topic as a message does. Each shard tells its
//! own watchers every version once, behind what they have been sent of the topic before. A connection that
//! is behind is told when it has caught up.

use std::sync::Arc;

use super::conn::List;
use super::mail::{Goodbye, HandOver, Inheritance};
use super::shard::{Shard, TURN_WRITES_MAX};
use crate::broker::{Diff, Introduction, TooManyMembers, Topic};
use crate::protocol::{CloseCode, Event};
use crate::ws;

/// The differences of a topic after one version, asked for once: most watchers know the same one.
#[derive(Default)]
struct Diffs {
    /// Of which topic, after which version.
    after: Option<(u32, u64)>,
    kept: Option<Vec<Arc<Diff>>>,
}

impl Diffs {
    fn since(&mut self, slot: u32, known: u64, topic: &Topic) -> Option<&[Arc<Diff>]> {
        if self.after != Some((slot, known)) {
            self.after = Some((slot, known));
            self.kept = topic.presence().since(known);
        }
        self.kept.as_deref()
    }
}

impl Shard {
    /// A connection becomes a member of a topic.
    pub(super) fn enter(&self, conn: u32, slot: u32, introduction: Introduction) -> Result<(), TooManyMembers> {
        let topic = &self.slots[slot].topic;
        let id = self.conns[conn as usize].member();
        let max = self.options.members_per_topic_max;
        let joined = topic.presence().join(id, introduction, max, self.broker.now_ms());
        if joined.inspect_err(|TooManyMembers| self.mailbox.stats().limited_members.add(1))? {
            topic.announce();
        }
        Ok(())
    }

    /// Tells a connection who is there, and from then on who comes and goes.
    pub(super) fn watch(&mut self, conn: u32, slot: u32) {
        if let Some(sub) = self.conns[conn as usize].sub_to_name(slot) {
            self.conns[conn as usize].subs[sub].watches = true;
        }
        if let Some(heir) = &mut self.conns[conn as usize].heir {
            let topic = &self.slots[slot].topic;
            heir.topics.retain(|other| !Arc::ptr_eq(other, topic));
        }
        self.watched.insert(slot);
        self.tell_all(conn, slot);
    }

    /// Another connection takes this one's place: it stays a member under the same name, so that nobody
    /// sees it leave and come back.
    pub(super) fn hand_over(&mut self, conn: u32, hand_over: HandOver) {
        hand_over.give(self.bequeath(conn));
        let goodbye = Goodbye { reconnect_ms: None };
        self.close(conn, CloseCode::RESUMED_ELSEWHERE, "another connection took its place", Some(goodbye));
    }

    pub(super) fn inherit(&mut self, conn: u32, inheritance: Option<Inheritance>) {
        let state = &mut self.conns[conn as usize];
        // Where it is a member itself it stays so under its own name, and the other one leaves.
        let is_member = state.heir.is_some() || state.subs.iter().any(|sub| sub.watches);
        if let Some(inheritance) = inheritance.filter(|inheritance| !is_member && !inheritance.topics.is_empty()) {
            state.heir = Some(Box::new(inheritance));
        }
        state.link.set_done();
    }

    /// A connection is no member of a topic any more.
    pub(super) fn unwatch(&mut self, conn: u32, slot: u32) {
        let of = &mut self.slots[slot];
        of.watchers.remove(&conn);
        if of.watchers.is_empty() {
            self.watched.remove(&slot);
        }
        if of.topic.presence().leave(self.conns[conn as usize].member(), self.broker.now_ms()) {
            of.topic.announce();
        }
    }

    /// Has the watchers of a topic told what they have not been told.
    pub(super) fn tell_presence(&mut self, slot: u32) {
        let of = &mut self.slots[slot];
        // What was put back comes first; then this is called again.
        if of.watchers.is_empty() || self.unfinished.contains(&slot) {
            return;
        }
        let version = of.topic.presence().version();
        if std::mem::replace(&mut of.told, version) == version {
            // It was a message that marked the topic.
            return;
        }
        self.to_tell.extend(of.watchers.keys().map(|&conn| (slot, conn)));
    }

    /// Tells some of those who are to be told, as many as a turn writes to.
    pub(super) fn tell_some(&mut self) {
        let mut diffs = Diffs::default();
        for _ in 0..TURN_WRITES_MAX.min(self.to_tell.len()) {
            if let Some((slot, conn)) = self.to_tell.pop_front()
                && self.slots.contains(slot)
            {
                self.tell(conn, slot, &mut diffs);
            }
        }
    }

    /// Tells a connection that has caught up what it has not been told meanwhile.
    pub(super) fn tell_missed_presence(&mut self, conn: u32) {
        let subs = self.conns[conn as usize].subs.iter().filter(|sub| sub.watches);
        let slots: Vec<List> = subs.map(|sub| sub.to).collect();
        for list in slots {
            if let List::Topic(slot) | List::Paced(slot) = list {
                self.tell(conn, slot, &mut Diffs::default());
            }
        }
    }

    /// As time goes by, what has gathered becomes a version.
    pub(super) fn gather_presence(&mut self) {
        let now_ms = self.broker.now_ms();
        for &slot in &self.watched {
            let topic = &self.slots[slot].topic;
            if topic.presence().gather(now_ms) {
                topic.announce();
            }
        }
    }

    fn tell(&mut self, conn: u32, slot: u32, diffs: &mut Diffs) {
        let Some(&known) = self.slots[slot].watchers.get(&conn) else { return };
        let topic = Arc::clone(&self.slots[slot].topic);
        let diffs = diffs.since(slot, known, &topic);
        if diffs.is_some_and(<[_]>::is_empty) {
            return;
        }
        // What is staged of the topic comes first.
        self.flush(conn);
        let state = &mut self.conns[conn as usize];
        if state.stalled.is_some() || state.closing {
            return;
        }
        let Some(diffs) = diffs else {
            self.tell_all(conn, slot);
            return;
        };
        let form = state.link.form;
        for diff in diffs {
            let payload = diff.payload(form.encoding(), topic.name());
            state.say_frames(|lane| ws::push(lane, form.opcode(), payload));
        }
        if let Some(last) = diffs.last() {
            self.slots[slot].watchers.insert(conn, last.version());
        }
        self.touch(conn);
    }

    fn tell_all(&mut self, conn: u32, slot: u32) {
        let of = &mut self.slots[slot];
        let snapshot = of.topic.presence().snapshot();
        of.watchers.insert(conn, snapshot.version);
        let (version, count) = (snapshot.version, snapshot.count);
        let members = snapshot.list();
        let event = Event::Presence { id: None, topic: of.topic.name(), version, count, members: &members };
        self.conns[conn as usize].say(&event);
        self.touch(conn);
    }
}
