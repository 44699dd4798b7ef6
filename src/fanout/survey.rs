//! Who is slow: what a shard knows of its connections, for an operator who asks.

use tokio::sync::oneshot;

use super::mail::Mailbox;
use super::shard::Shard;
use super::stalled::Stalled;
use crate::broker::{ConnectionId, Follower, Question};

/// One connection, as its shard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surveyed {
    pub(crate) id: ConnectionId,
    pub(crate) subscriptions: u64,
    /// What it is owed and its socket has not taken: exactly for replies, by their mean size for messages.
    pub(crate) backlog_bytes: u64,
    /// How many gaps it has been told of.
    pub(crate) gaps: u64,
}

impl Mailbox {
    /// Asks the shard about all of its connections. An error means that it has none.
    pub(crate) fn survey(&self) -> oneshot::Receiver<Vec<Surveyed>> {
        let (answer, asked) = oneshot::channel();
        self.ask(answer);
        asked
    }
}

impl Shard {
    /// Answers whoever has asked about the connections: one look at them for all who did.
    pub(super) fn answer_surveys(&mut self) {
        let asked = self.mailbox.take_asked();
        if asked.is_empty() {
            return;
        }
        let found: Vec<Surveyed> = self
            .conns
            .iter()
            .map(|(_, conn)| Surveyed {
                id: conn.link.id,
                subscriptions: conn.subs.len() as u64,
                backlog_bytes: conn.lane.len() as u64 + conn.stalled.as_ref().map_or(0, |stalled| self.owed(stalled)),
                gaps: u64::from(conn.gaps),
            })
            .collect();
        for answer in asked {
            // Whoever does not wait any more needs none.
            let _ = answer.send(found.clone());
        }
    }

    /// Answers publishers who have asked how many get what they publish.
    pub(super) fn answer_publishers(&mut self) {
        for Question { topic, follower, skip, answer } in self.mailbox.inbox().take_questions() {
            if follower.slot() == Follower::GONE {
                continue;
            }
            let patterns = &self.patterns;
            let slot = self.slots.of(&topic, &follower, |name| patterns.matching(name));
            // Whoever does not wait any more needs no answer.
            let _ = answer.send(self.receivers(slot, skip));
        }
    }

    /// How many connections get what is published to a topic, however many of their subscriptions match.
    fn receivers(&mut self, slot: u32, skip: Option<ConnectionId>) -> u64 {
        let stamp = self.next_stamp();
        let mut count = 0;
        let of = &self.slots[slot];
        let by_pattern = of.patterns.iter().flat_map(|&pattern| &self.patterns[pattern].members);
        for member in of.members.iter().chain(&of.paced).chain(by_pattern) {
            let conn = &mut self.conns[member.conn as usize];
            if conn.stamp != stamp && !conn.closing && Some(conn.link.id) != skip {
                count += 1;
            }
            conn.stamp = stamp;
        }
        count
    }

    fn owed(&self, stalled: &Stalled) -> u64 {
        let rest = stalled.rest().map_or(0, |rest| rest.bytes().len() as u64);
        let places = stalled.places().map(|(slot, place)| {
            let slot = &self.slots[slot];
            // What has left the ring becomes a gap, which weighs next to nothing.
            let from = place.next.max(slot.topic.ring().oldest());
            slot.cursor.0.saturating_sub(from.0) * slot.topic.mean_frame_bytes()
        });
        rest + places.sum::<u64>()
    }
}
