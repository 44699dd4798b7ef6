//! Who is told who comes and goes.
//!
//! A topic's members change in versions, which mark the topic as a message does. Each shard tells its
//! own watchers every version once, behind what they have been sent of the topic before. A connection that
//! is behind is told when it has caught up.

use std::sync::Arc;

use super::conn::List;
use super::shard::Shard;
use crate::broker::{Introduction, TooManyMembers};
use crate::protocol::Event;
use crate::ws;

impl Shard {
    /// A connection becomes a member of a topic.
    pub(super) fn enter(&self, conn: u32, slot: u32, introduction: Introduction) -> Result<(), TooManyMembers> {
        let topic = &self.slots[slot].topic;
        let id = self.conns[conn as usize].link.id;
        let max = self.options.members_per_topic_max;
        if topic.presence().join(id, introduction, max, self.broker.now_ms())? {
            topic.announce();
        }
        Ok(())
    }

    /// Tells a connection who is there, and from then on who comes and goes.
    pub(super) fn watch(&mut self, conn: u32, slot: u32) {
        if let Some(sub) = self.conns[conn as usize].sub_to(List::Topic(slot)) {
            self.conns[conn as usize].subs[sub].watches = true;
        }
        self.watched.insert(slot);
        self.tell_all(conn, slot);
    }

    /// A connection is no member of a topic any more.
    pub(super) fn unwatch(&mut self, conn: u32, slot: u32) {
        let of = &mut self.slots[slot];
        of.watchers.remove(&conn);
        if of.watchers.is_empty() {
            self.watched.remove(&slot);
        }
        if of.topic.presence().leave(self.conns[conn as usize].link.id, self.broker.now_ms()) {
            of.topic.announce();
        }
    }

    /// Tells the watchers of a topic what they have not been told.
    pub(super) fn tell_presence(&mut self, slot: u32) {
        if self.slots[slot].watchers.is_empty() {
            return;
        }
        let watchers: Vec<u32> = self.slots[slot].watchers.keys().copied().collect();
        for conn in watchers {
            self.tell(conn, slot);
        }
    }

    /// Tells a connection that has caught up what it has not been told meanwhile.
    pub(super) fn tell_missed_presence(&mut self, conn: u32) {
        let subs = self.conns[conn as usize].subs.iter().filter(|sub| sub.watches);
        let slots: Vec<List> = subs.map(|sub| sub.to).collect();
        for list in slots {
            if let List::Topic(slot) = list {
                self.tell(conn, slot);
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

    fn tell(&mut self, conn: u32, slot: u32) {
        let Some(&known) = self.slots[slot].watchers.get(&conn) else { return };
        let topic = Arc::clone(&self.slots[slot].topic);
        let diffs = topic.presence().since(known);
        if diffs.as_ref().is_some_and(Vec::is_empty) {
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
        for diff in &diffs {
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
