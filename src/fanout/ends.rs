//! How connections end: closed by the server, sent away in a drain, or with their shard.

use std::sync::atomic::{Ordering, fence};

use super::conn::Conn;
use super::link::Link;
use super::mail::Goodbye;
use super::shard::Shard;
use super::stalled::Stalled;
use crate::broker::Overflow;
use crate::protocol::{Advice, CloseCode, Event};
use crate::ws;

impl Shard {
    /// Sends what is left, then a goodbye if the server is the one who ends it, then the close frame.
    pub(super) fn close(&mut self, number: u32, code: CloseCode, reason: &str, goodbye: Option<Goodbye>) {
        self.flush(number);
        let conn = &mut self.conns[number as usize];
        if conn.closing {
            return;
        }
        conn.closing = true;
        conn.left_for_good = code.advice() == Advice::Stop;
        conn.link.set_closing();
        if let Some(stalled) = &mut conn.stalled {
            stalled.forget_all(&mut self.slots);
        }
        if let Some(Goodbye { reconnect_ms }) = goodbye {
            conn.say(&Event::Goodbye { code, reason, reconnect_ms });
        }
        conn.say_frames(|lane| ws::push_close(lane, ws::CloseCode(code.0), reason));
        self.touch(number);
    }

    pub(super) fn close_slow(&mut self) {
        for (number, id) in std::mem::take(&mut self.too_slow) {
            if self.conns.get(number as usize).is_some_and(|conn| conn.link.id == id && !conn.closing) {
                self.mailbox.stats().closed_slow.add(1);
                let goodbye = Goodbye { reconnect_ms: Some(0) };
                self.close(number, CloseCode::SLOW, "too far behind in too many topics", Some(goodbye));
            }
        }
    }

    /// Closes connections that missed something of a topic that does not bear it, and whose sockets may
    /// never take writes again.
    pub(super) fn close_overrun(&mut self) {
        if self.mailbox.stats().stalled.read() == 0 {
            return;
        }
        let is_overrun = |stalled: &Stalled| {
            stalled.places().any(|(slot, place)| {
                let topic = &self.slots[slot].topic;
                topic.overflow() == Overflow::Disconnect && place.next < topic.ring().oldest()
            })
        };
        let conns = self.conns.iter().filter(|(_, conn)| conn.stalled.as_deref().is_some_and(is_overrun));
        let overrun: Vec<u32> = conns.map(|(number, _)| number as u32).collect();
        for number in overrun {
            self.close_too_slow(number);
        }
    }

    pub(super) fn close_too_slow(&mut self, number: u32) {
        if !self.conns[number as usize].closing {
            self.mailbox.stats().closed_slow.add(1);
        }
        let goodbye = Goodbye { reconnect_ms: Some(0) };
        self.close(number, CloseCode::SLOW, "too slow for a topic", Some(goodbye));
    }

    /// Says goodbye to everybody, with times to return spread evenly over `spread_ms`.
    pub(super) fn drain(&mut self, spread_ms: u64) {
        self.draining = Some(spread_ms);
        let numbers: Vec<u32> = self.conns.iter().map(|(number, _)| number as u32).collect();
        let count = numbers.len() as u64;
        for (index, number) in (0..count).zip(numbers) {
            let goodbye = Goodbye { reconnect_ms: Some(spread_ms * index / count) };
            self.close(number, CloseCode::SERVICE_RESTART, CloseCode::SERVICE_RESTART.reason(), Some(goodbye));
        }
    }

    /// Lets go of a topic that nobody here follows any more, or that has been removed.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &self.slots[number];
        let closed = slot.topic.ring().is_closed();
        if slot.stalled == 0 && slot.is_unnamed() && (slot.patterns.is_empty() || closed) {
            let slot = self.slots.remove(number);
            slot.topic.unfollow(&slot.follower, self.broker.now_ms());
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // Publishers must not wait for a shard that is no more.
        let now_ms = self.broker.now_ms();
        self.mailbox.backlogs().forget();
        let inbox = self.mailbox.inbox();
        self.patterns.unfollow_all(&self.broker, inbox);
        while let Some((topic, follower)) = inbox.next() {
            topic.unfollow(&follower, now_ms);
        }
        for slot in self.slots.iter() {
            for conn in slot.watchers.keys() {
                if slot.topic.presence().leave(self.conns[*conn as usize].member(), now_ms) {
                    slot.topic.announce();
                }
            }
            for _ in slot.members.iter().chain(&slot.paced) {
                slot.topic.leave(now_ms);
            }
            slot.topic.unfollow(&slot.follower, now_ms);
        }
        // SeqCst fence: pairs with the one in `Topic::receivers`. Nobody waits for an answer any more.
        fence(Ordering::SeqCst);
        drop(inbox.take_questions());
        let stats = self.mailbox.stats();
        for (_, conn) in &self.conns {
            conn.link.set_slot(Link::NO_SLOT);
            conn.link.set_broken();
            stats.connections.sub(1);
            stats.subscriptions.sub(conn.subs.len() as u64);
            stats.stalled.sub(u64::from(conn.stalled.is_some()));
        }
    }
}

/// All that was to be sent has been sent.
pub(super) fn finish(conn: &Conn) {
    conn.link.transport().finish();
    conn.link.set_flushed();
}
