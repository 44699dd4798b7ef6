//! Who is slow: what a shard knows of its connections, for an operator who asks.

use tokio::sync::oneshot;

use super::mail::Mailbox;
use super::shard::Shard;
use super::stalled::Stalled;
use crate::broker::ConnectionId;

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
