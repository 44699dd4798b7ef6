//! Members whose connection was lost: they stay for a grace, in which they may come back unnoticed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::conn::Sub;
use super::mail::{HandOver, Inheritance};
use super::shard::Shard;
use crate::broker::ConnectionId;

/// Something of the session's that lasts as long as its connection may be taken over.
pub(crate) struct Keepsake(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn Send + Sync>);

/// The members that a shard's lost connections left behind, in the order of their times.
#[derive(Debug, Default)]
pub(super) struct Departures(VecDeque<Departure>);

#[derive(Debug)]
struct Departure {
    until_ms: u64,
    member: Inheritance,
    /// The connection's own name, which is not the member's if that was inherited.
    connection: ConnectionId,
    _kept: Keepsake,
}

impl Departures {
    /// When the first of them is to go.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.0.front().map(|departure| departure.until_ms)
    }
}

impl Shard {
    /// A connection that was lost leaves its members behind, if it has any and may come back.
    pub(super) fn depart(&mut self, conn: u32, kept: Keepsake) {
        let grace_ms = self.options.presence_grace_ms;
        let state = &self.conns[conn as usize];
        if grace_ms == 0 || state.left_for_good {
            return;
        }
        let connection = state.link.id;
        let member = self.bequeath(conn);
        if member.is_empty() {
            return;
        }
        member.depart();
        let until_ms = self.broker.now_ms() + grace_ms;
        self.departures.0.push_back(Departure { until_ms, member, connection, _kept: kept });
    }

    /// Somebody shows the secret of a connection that was lost.
    pub(super) fn reclaim(&mut self, connection: ConnectionId, hand_over: HandOver) {
        // Else its grace has just passed: the other one begins with nothing.
        if let Some(lost) = self.departures.0.iter().position(|departure| departure.connection == connection)
            && let Some(departure) = self.departures.0.remove(lost)
        {
            hand_over.give(departure.member);
        }
    }

    /// Members whose grace has passed leave.
    pub(super) fn end_departures(&mut self, now_ms: u64) {
        while self.departures.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.departures.0.pop_front();
        }
    }

    /// Takes a connection's places as a member from it.
    pub(super) fn bequeath(&mut self, conn: u32) -> Inheritance {
        let state = &mut self.conns[conn as usize];
        let member = state.member();
        let watched: Vec<u32> = state.subs.iter_mut().filter_map(Sub::take_watched).collect();
        let mut topics = state.heir.as_mut().map(|heir| std::mem::take(&mut heir.topics)).unwrap_or_default();
        for slot in watched {
            let of = &mut self.slots[slot];
            of.watchers.remove(&conn);
            if of.watchers.is_empty() {
                self.watched.remove(&slot);
            }
            topics.push(Arc::clone(&of.topic));
        }
        Inheritance { member, topics, broker: self.broker.clone() }
    }
}

impl Keepsake {
    pub(crate) fn new(kept: impl Send + Sync + 'static) -> Self {
        Keepsake(Box::new(kept))
    }
}

impl fmt::Debug for Keepsake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keepsake(_) = self;
        f.write_str("Keepsake(..)")
    }
}
