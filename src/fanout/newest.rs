//! Which messages of a topic are the newest of their key: for whoever is to get only those.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldhash::fast::RandomState;

use crate::broker::{Message, Topic};
use crate::ring::Seq;

/// The newest message of each key, up to a place. Made when somebody asks, and brought up to date by what is new:
/// each message is looked at once, however many ask.
#[derive(Debug, Default)]
pub(super) struct Newest {
    by_key: HashMap<Box<str>, Seq, RandomState>,
    /// Everything before this has been looked at.
    next: Seq,
}

impl Newest {
    /// Takes in what the topic has up to `cursor`.
    pub(super) fn update(&mut self, topic: &Topic, cursor: Seq) {
        let ring = topic.ring();
        let from = self.next.max(ring.oldest());
        if from < cursor {
            // What leaves the ring meanwhile is looked at by nobody any more.
            let _ = ring.read(from, |seq, message| {
                if seq >= cursor {
                    return ControlFlow::Break(());
                }
                self.add(seq, message);
                ControlFlow::Continue(())
            });
            self.next = cursor;
        }
        // No more keys than messages are held, or twice as many for a while.
        if self.by_key.len() > 2 * ring.retained_entries() {
            let oldest = ring.oldest();
            self.by_key.retain(|_, seq| *seq >= oldest);
            self.by_key.shrink_to_fit();
        }
    }

    fn add(&mut self, seq: Seq, message: &Message) {
        let Some(key) = message.key() else { return };
        match self.by_key.get_mut(key) {
            Some(newest) => *newest = seq,
            None => {
                self.by_key.insert(key.into(), seq);
            }
        }
    }

    /// Whether there is no newer message of the same key. One without a key is a key of its own.
    pub(super) fn is_newest(&self, seq: Seq, message: &Message) -> bool {
        message.key().is_none_or(|key| self.by_key.get(key).is_none_or(|newest| *newest <= seq))
    }
}
