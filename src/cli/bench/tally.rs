//! What a thread has counted so far, and what all of them count together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Histogram;

/// All counts of one thread since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Messages that subscribers received, but for those that read slowly.
    pub(super) delivered: u64,
    /// Bytes of all frames received.
    pub(super) bytes: u64,
    pub(super) published: u64,
    /// Publishes that the server said it took,
    pub(super) answered: u64,
    /// or did not.
    pub(super) refused_publishes: u64,
    /// Messages that are missing so far.
    pub(super) missing: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Messages that the server said it left out,
    pub(super) gaps: u64,
    /// and in how many places.
    pub(super) gap_events: u64,
    pub(super) wrong_topic: u64,
    pub(super) wrong_bytes: u64,
    /// Messages whose number by the server does not follow the one before.
    pub(super) misnumbered: u64,
    /// Messages that were published before their subscription stood.
    pub(super) replayed: u64,
    /// Subscriptions that got all they had missed,
    pub(super) recovered: u64,
    /// or did not.
    pub(super) unrecovered: u64,
    /// Connections that were opened and subscribed, again as well.
    pub(super) joined: u64,
    /// Those of them that the server agreed to compress for.
    pub(super) compressed: u64,
    /// Connections that could not be.
    pub(super) refused: u64,
    /// Connections that ended although nobody here wanted it.
    pub(super) closed: u64,
    /// The same three for subscribers that read slowly.
    pub(super) slow_delivered: u64,
    pub(super) slow_gaps: u64,
    pub(super) slow_closed: u64,
}

impl Counts {
    /// Those of another thread as well.
    pub(super) fn add(&mut self, other: &Counts) {
        self.each(other, |mine, theirs| *mine += theirs);
    }

    /// What came since `earlier`.
    pub(super) fn since(mut self, earlier: &Counts) -> Counts {
        self.each(earlier, |mine, theirs| *mine -= theirs);
        self
    }

    fn each(&mut self, other: &Counts, mut with: impl FnMut(&mut u64, u64)) {
        // Each field once, so that a new one cannot be forgotten.
        let Counts {
            delivered,
            bytes,
            published,
            answered,
            refused_publishes,
            missing,
            duplicated,
            reordered,
            gaps,
            gap_events,
            wrong_topic,
            wrong_bytes,
            misnumbered,
            replayed,
            recovered,
            unrecovered,
            joined,
            compressed,
            refused,
            closed,
            slow_delivered,
            slow_gaps,
            slow_closed,
        } = self;
        with(delivered, other.delivered);
        with(bytes, other.bytes);
        with(published, other.published);
        with(answered, other.answered);
        with(refused_publishes, other.refused_publishes);
        with(missing, other.missing);
        with(duplicated, other.duplicated);
        with(reordered, other.reordered);
        with(gaps, other.gaps);
        with(gap_events, other.gap_events);
        with(wrong_topic, other.wrong_topic);
        with(wrong_bytes, other.wrong_bytes);
        with(misnumbered, other.misnumbered);
        with(replayed, other.replayed);
        with(recovered, other.recovered);
        with(unrecovered, other.unrecovered);
        with(joined, other.joined);
        with(compressed, other.compressed);
        with(refused, other.refused);
        with(closed, other.closed);
        with(slow_delivered, other.slow_delivered);
        with(slow_gaps, other.slow_gaps);
        with(slow_closed, other.slow_closed);
    }
}

/// Times since somebody last took them.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// From when a message was due until a subscriber had it.
    pub(super) latency: Histogram,
    /// From when a message was due until the server said that it took it.
    pub(super) answer: Histogram,
    /// From when a message was due until it was handed to the system.
    pub(super) lateness: Histogram,
    /// From the first packet of a connection until it is ready and subscribed.
    pub(super) connect: Histogram,
}

impl Times {
    pub(super) fn add(&mut self, other: &Times) {
        self.latency.add(&other.latency);
        self.answer.add(&other.answer);
        self.lateness.add(&other.lateness);
        self.connect.add(&other.connect);
    }

    pub(super) fn clear(&mut self) {
        self.latency.clear();
        self.answer.clear();
        self.lateness.clear();
        self.connect.clear();
    }
}

/// Why connections failed or ended, and how many for each reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, u64>);

/// Different reasons that are kept apart; what is beyond is counted together.
const REASONS_MAX: usize = 16;

impl Reasons {
    pub(super) fn add(&mut self, reason: String, count: u64) {
        let known = self.0.contains_key(&reason) || self.0.len() < REASONS_MAX;
        let reason = if known { reason } else { "other reasons".to_owned() };
        *self.0.entry(reason).or_default() += count;
    }

    pub(super) fn add_all(&mut self, other: &Reasons) {
        for (reason, count) in &other.0 {
            self.add(reason.clone(), *count);
        }
    }

    /// The most frequent first.
    pub(super) fn sorted(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// What a thread shows to the others, several times a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) times: Times,
    pub(super) reasons: Reasons,
    /// Connections that are ready for use at the moment.
    pub(super) live: usize,
    /// Publishers among them.
    pub(super) publishers: usize,
    /// While all is drained, who has not received everything, or has publishes without an answer.
    pub(super) behind: Option<usize>,
    /// Messages that never came, once the thread has ended.
    pub(super) lost: u64,
    /// Processor time of the thread, in nanoseconds.
    pub(super) cpu: u64,
}

#[cfg(test)]
mod tests {
    use super::{Counts, Reasons};

    #[test]
    fn counts_add_up_and_differ() {
        let one = Counts { delivered: 5, gaps: 2, ..Counts::default() };
        let mut both = one;
        both.add(&Counts { delivered: 1, closed: 3, ..Counts::default() });
        assert_eq!(both, Counts { delivered: 6, gaps: 2, closed: 3, ..Counts::default() });
        assert_eq!(both.since(&one), Counts { delivered: 1, closed: 3, ..Counts::default() });
    }

    #[test]
    fn reasons_are_bounded_and_sorted() {
        let mut reasons = Reasons::default();
        for n in 0..100 {
            reasons.add(format!("reason {n}"), 1);
        }
        reasons.add("reason 3".to_owned(), 5);
        let sorted = reasons.sorted();
        assert_eq!(sorted.len(), 17);
        assert_eq!(sorted[0], ("other reasons", 84));
        assert_eq!(sorted[1], ("reason 3", 6));
    }
}
