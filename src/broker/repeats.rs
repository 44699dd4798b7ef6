//! Publishes that say which one they are, so that a repeated one is not delivered twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::protocol::Epoch;
use crate::ring::Seq;

/// The marked publishes of late, over all topics: so many, for so long.
#[derive(Debug)]
pub(super) struct Repeats {
    /// By topic, scope and key.
    placed: HashMap<Arc<str>, (Epoch, Seq), RandomState>,
    /// The same in the order of their times, which do not go back.
    order: VecDeque<(u64, Arc<str>)>,
    /// How many have been forgotten: the number of the first in `order`, if they are numbered as they come.
    forgotten: u64,
    keys_max: usize,
    age_ms_max: u64,
}

impl Repeats {
    pub(super) fn new(keys_max: usize, age_ms_max: u64) -> Self {
        Repeats { placed: HashMap::default(), order: VecDeque::new(), forgotten: 0, keys_max, age_ms_max }
    }

    /// What the publish of this name came to, if it was there before.
    pub(super) fn find(&mut self, name: &str, now_ms: u64) -> Option<(Epoch, Seq)> {
        while let Some((at_ms, _)) = self.order.front()
            && now_ms.saturating_sub(*at_ms) > self.age_ms_max
        {
            self.drop_oldest();
        }
        self.placed.get(name).copied()
    }

    /// Remembers a publish that [`find`](Self::find) did not know.
    pub(super) fn add(&mut self, name: &str, placed: (Epoch, Seq), now_ms: u64) {
        if self.keys_max == 0 {
            return;
        }
        if self.order.len() >= self.keys_max {
            self.drop_oldest();
        }
        let name = Arc::<str>::from(name);
        self.placed.insert(Arc::clone(&name), placed);
        let newest_ms = self.order.back().map_or(0, |(at_ms, _)| *at_ms);
        self.order.push_back((now_ms.max(newest_ms), name));
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.order.pop_front() {
            self.forgotten += 1;
            self.placed.remove(&name);
        }
        if self.order.is_empty() {
            // An idle server keeps nothing for what it once did.
            self.placed = HashMap::default();
            self.order = VecDeque::new();
        }
    }
}

/// One publish, as a store keeps it.
#[cfg(feature = "store")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Topic, scope and key.
    pub(crate) name: Arc<str>,
    pub(crate) at_ms: u64,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
}

/// Publishes are numbered from 0 on as they come.
#[cfg(feature = "store")]
impl Repeats {
    /// At most `limit` from that number on, or from the oldest that is still remembered; and the number of
    /// the first.
    pub(super) fn list(&self, from: u64, limit: usize) -> (u64, Vec<Mark>) {
        let first = from.max(self.forgotten);
        let skipped = usize::try_from(first - self.forgotten).unwrap_or(usize::MAX);
        let marks = self.order.range(skipped.min(self.order.len())..).take(limit).map(|(at_ms, name)| {
            let (epoch, seq) = self.placed[name];
            Mark { name: Arc::clone(name), at_ms: *at_ms, epoch, seq }
        });
        (first, marks.collect())
    }

    /// The number of the next.
    pub(super) fn end(&self) -> u64 {
        self.forgotten + self.order.len() as u64
    }

    /// Remembers one that was listed. They have to come in their order, and before any other.
    pub(super) fn restore(&mut self, number: u64, mark: &Mark) {
        if self.order.is_empty() {
            self.forgotten = number;
        }
        self.add(&mark.name, (mark.epoch, mark.seq), mark.at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn placed(seq: u64) -> (Epoch, Seq) {
        (Epoch(1), Seq(seq))
    }

    fn find(repeats: &mut Repeats, name: &str, now_ms: u64) -> Option<u64> {
        repeats.find(name, now_ms).map(|(_, seq)| seq.0)
    }

    #[test]
    fn what_was_there_before_is_known_for_a_while() {
        let mut repeats = Repeats::new(10, 100);
        assert_eq!(find(&mut repeats, "x", 0), None);
        repeats.add("x", placed(7), 0);
        assert_eq!(find(&mut repeats, "x", 100), Some(7));
        assert_eq!(find(&mut repeats, "y", 100), None);
        assert_eq!(find(&mut repeats, "x", 101), None);
        assert!(repeats.placed.is_empty() && repeats.order.is_empty());
    }

    #[test]
    fn no_more_are_known_than_may_be() {
        let mut repeats = Repeats::new(3, 100);
        for number in 0..10 {
            repeats.add(&number.to_string(), placed(number), number);
        }
        let known = (0..10).filter_map(|number| find(&mut repeats, &number.to_string(), 10));
        assert_eq!(known.collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((repeats.placed.len(), repeats.order.len()), (3, 3));
        let mut none = Repeats::new(0, 100);
        none.add("x", placed(1), 0);
        assert_eq!(find(&mut none, "x", 0), None);
    }
}
