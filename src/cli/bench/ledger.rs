//! What one subscriber has received so far, and whether that is what was published.
//!
//! A stream is all that one publisher publishes to one topic; its messages are numbered. A number that skips
//! some leaves them missing until they come after all, which makes them late. What a server announces as left
//! out excuses missing messages of that topic.

use super::payload::Stamp;

/// Which streams there are, and who follows what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) topics: usize,
    pub(super) publishers: usize,
    /// Topics that each subscriber follows: the ones from `subscriber * follow` on, round and round.
    pub(super) follow: usize,
}

impl Layout {
    /// Each topic has a publisher and each publisher a topic, and no pair comes twice.
    pub(super) fn streams(self) -> usize {
        if self.publishers == 0 { 0 } else { self.topics.max(self.publishers) }
    }

    pub(super) fn topic_of(self, stream: usize) -> usize {
        if self.topics == 1 { 0 } else { stream % self.topics }
    }

    /// The streams of a publisher.
    pub(super) fn streams_of(self, publisher: usize) -> impl Iterator<Item = usize> {
        (publisher..self.streams()).step_by(self.publishers.max(1))
    }

    /// Streams that share a topic, at most.
    fn streams_per_topic(self) -> usize {
        self.streams().div_ceil(self.topics)
    }

    fn first_topic(self, subscriber: usize) -> usize {
        if self.topics == 1 {
            return 0;
        }
        // Neither factor is beyond 2^32.
        (subscriber * self.follow) % self.topics
    }

    /// The topics that a subscriber follows.
    pub(super) fn topics_of(self, subscriber: usize) -> impl Iterator<Item = usize> {
        let first = self.first_topic(subscriber);
        (0..self.follow).map(move |nth| (first + nth) % self.topics)
    }

    /// Which of the subscriber's topics this is, if it is one.
    pub(super) fn place(self, subscriber: usize, topic: usize) -> Option<usize> {
        if topic >= self.topics {
            return None;
        }
        // The usual case does without a division, of which there would be one a message.
        if self.follow == self.topics && self.first_topic(subscriber) == 0 {
            return Some(topic);
        }
        let place = (topic + self.topics - self.first_topic(subscriber)) % self.topics;
        (place < self.follow).then_some(place)
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next one, or one behind so many that are missing.
    Next { missing: u32 },
    /// One that was missing.
    Late,
    /// One that has been here before.
    Again,
    /// Of a topic that this subscriber does not follow, or of no stream at all.
    Foreign,
}

/// Missing numbers are remembered in this many runs; a late message of an older one counts as a duplicate.
const RUNS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Ledger {
    layout: Layout,
    subscriber: usize,
    /// By place of the topic and number of the stream in it.
    streams: Vec<Stream>,
    /// By place.
    topics: Vec<Topic>,
    /// Numbers that did not come: place in `streams`, from, to.
    missing: Vec<(u32, u32, u32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The last number; before the first message, the last one that was published when this began.
    last: u32,
    missing: u32,
    /// Whether the subscription stands, so that all behind `last` has to come.
    known: bool,
    /// Whether `last` has come, so that anything less is no news.
    heard: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Topic {
    /// The server's own number of the last message, where it has such.
    offset: Option<u64>,
    excused: u64,
}

impl Ledger {
    pub(super) fn new(layout: Layout, subscriber: usize) -> Ledger {
        let streams = layout.follow * layout.streams_per_topic();
        Ledger {
            layout,
            subscriber,
            streams: vec![Stream::default(); streams],
            topics: vec![Topic::default(); layout.follow],
            missing: Vec::new(),
        }
    }

    /// The subscription at `place` stands, at the server's `offset` if it has such. All that `issued` does
    /// not hold yet has to come. One that goes on where it was, `recovered`, changes nothing.
    pub(super) fn subscribed(
        &mut self,
        place: usize,
        offset: Option<u64>,
        recovered: bool,
        issued: &impl Fn(usize) -> u32,
    ) {
        if recovered {
            return;
        }
        let per_topic = self.layout.streams_per_topic();
        let topic = self.layout.topics_of(self.subscriber).nth(place).unwrap_or_default();
        self.topics[place].offset = offset;
        for nth in 0..per_topic {
            let stream = topic + nth * self.layout.topics;
            if stream < self.layout.streams() {
                let slot = &mut self.streams[place * per_topic + nth];
                *slot = Stream { last: issued(stream), known: true, heard: false, missing: slot.missing };
            }
        }
    }

    /// A message has come.
    pub(super) fn message(&mut self, stamp: Stamp) -> Verdict {
        let stream = stamp.stream as usize;
        if stream >= self.layout.streams() {
            return Verdict::Foreign;
        }
        let Some(place) = self.layout.place(self.subscriber, self.layout.topic_of(stream)) else {
            return Verdict::Foreign;
        };
        let at = place * self.layout.streams_per_topic() + stream / self.layout.topics;
        let slot = &mut self.streams[at];
        if stamp.number == slot.last.wrapping_add(1) {
            slot.last = stamp.number;
            slot.heard = true;
            return Verdict::Next { missing: 0 };
        }
        self.uncommon(at, place, stamp.number)
    }

    fn uncommon(&mut self, at: usize, place: usize, number: u32) -> Verdict {
        let slot = &mut self.streams[at];
        if number > slot.last {
            let before = std::mem::replace(&mut slot.last, number);
            slot.heard = true;
            if !slot.known {
                return Verdict::Next { missing: 0 };
            }
            let skipped = number - before - 1;
            let excused = u64::from(skipped).min(self.topics[place].excused) as u32;
            self.topics[place].excused -= u64::from(excused);
            let missing = skipped - excused;
            slot.missing += missing;
            if missing > 0 {
                if self.missing.len() == RUNS_MAX {
                    self.missing.remove(0);
                }
                self.missing.push((at as u32, before + 1, number - 1));
            }
            return Verdict::Next { missing };
        }
        // What was published before the subscription stood may still come, in its order.
        if !slot.heard {
            slot.last = number;
            slot.heard = true;
            return Verdict::Next { missing: 0 };
        }
        let run = self.missing.iter().position(|(of, from, to)| *of == at as u32 && (*from..=*to).contains(&number));
        let Some(run) = run else {
            return Verdict::Again;
        };
        let (of, from, to) = self.missing.swap_remove(run);
        // Empty halves hold nothing that could come.
        self.missing.extend([(of, from, number - 1), (of, number + 1, to)].iter().filter(|(_, from, to)| from <= to));
        slot.missing = slot.missing.saturating_sub(1);
        Verdict::Late
    }

    /// The server's number of a message at `place`: whether it follows the one before.
    pub(super) fn offset(&mut self, place: usize, offset: u64) -> bool {
        let before = self.topics[place].offset.replace(offset);
        before.is_none_or(|before| before.checked_add(1) == Some(offset))
    }

    /// The server's number of the last message at `place`.
    pub(super) fn position(&self, place: usize) -> Option<u64> {
        self.topics[place].offset
    }

    /// The server says that it left out `from..=to` at `place`. Returns how many that are.
    pub(super) fn gap(&mut self, place: usize, from: u64, to: u64) -> u64 {
        let topic = &mut self.topics[place];
        // A gap that does not begin where the last message ended leaves out more than it says.
        let begins = topic.offset.is_none_or(|before| before.checked_add(1) == Some(from));
        let count = to.saturating_sub(from).saturating_add(1);
        if begins {
            topic.excused = topic.excused.saturating_add(count);
        }
        topic.offset = Some(to);
        count
    }

    /// What never came, now that nothing will come any more. Per stream, `issued` is the number of the last
    /// message and `refused` how many of them the server did not take.
    pub(super) fn lost(&self, issued: &impl Fn(usize) -> u32, refused: &impl Fn(usize) -> u32) -> u64 {
        self.slots()
            .map(|(place, stream, slot)| {
                let tail = if slot.known { issued(stream).saturating_sub(slot.last) } else { 0 };
                let tail = u64::from(tail).saturating_sub(self.topics[place].excused);
                (u64::from(slot.missing) + tail).saturating_sub(u64::from(refused(stream)))
            })
            .sum()
    }

    /// Whether all has come that was published and not announced as left out.
    pub(super) fn is_complete(&self, issued: &impl Fn(usize) -> u32) -> bool {
        self.slots().all(|(place, stream, slot)| {
            !slot.known || u64::from(issued(stream).saturating_sub(slot.last)) <= self.topics[place].excused
        })
    }

    /// Each stream that is followed: the place of its topic, its number and what is known of it.
    fn slots(&self) -> impl Iterator<Item = (usize, usize, &Stream)> {
        let per_topic = self.layout.streams_per_topic();
        self.layout.topics_of(self.subscriber).enumerate().flat_map(move |(place, topic)| {
            (0..per_topic).filter_map(move |nth| {
                let stream = topic + nth * self.layout.topics;
                (stream < self.layout.streams()).then(|| (place, stream, &self.streams[place * per_topic + nth]))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, Ledger, Stamp, Verdict};

    const ONE: Layout = Layout { topics: 1, publishers: 1, follow: 1 };

    fn ledger(layout: Layout, subscriber: usize) -> Ledger {
        let mut ledger = Ledger::new(layout, subscriber);
        for place in 0..layout.follow {
            ledger.subscribed(place, Some(0), false, &|_| 0);
        }
        ledger
    }

    fn message(ledger: &mut Ledger, stream: u32, number: u32) -> Verdict {
        ledger.message(Stamp { at: 0, number, stream })
    }

    /// Hands over messages of the only stream; the verdicts, and what is lost if ten were published.
    fn check(numbers: &[u32], verdicts: &[Verdict], lost: u64) {
        let mut ledger = ledger(ONE, 0);
        let found: Vec<Verdict> = numbers.iter().map(|number| message(&mut ledger, 0, *number)).collect();
        assert_eq!(found, verdicts, "{numbers:?}");
        assert_eq!(ledger.lost(&|_| 10, &|_| 0), lost, "{numbers:?}");
        assert_eq!(ledger.is_complete(&|_| 10), numbers.contains(&10), "{numbers:?}");
    }

    const NEXT: Verdict = Verdict::Next { missing: 0 };

    #[test]
    fn what_is_missing_late_or_there_twice_is_told() {
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[NEXT; 10], 0);
        check(&[], &[], 10);
        check(&[1, 2], &[NEXT; 2], 8);
        check(&[3, 10], &[Verdict::Next { missing: 2 }, Verdict::Next { missing: 6 }], 8);
        check(&[1, 1, 2, 1], &[NEXT, Verdict::Again, NEXT, Verdict::Again], 8);
        let four = Verdict::Next { missing: 3 };
        check(&[1, 5, 3, 2, 4, 3], &[NEXT, four, Verdict::Late, Verdict::Late, Verdict::Late, Verdict::Again], 5);
    }

    #[test]
    fn what_the_server_says_it_left_out_is_not_lost() {
        let mut ledger = ledger(ONE, 0);
        assert_eq!(message(&mut ledger, 0, 1), NEXT);
        assert!(ledger.offset(0, 1));
        assert_eq!(ledger.gap(0, 2, 4), 3);
        assert_eq!(message(&mut ledger, 0, 5), NEXT);
        assert!(ledger.offset(0, 5));
        assert_eq!(message(&mut ledger, 0, 7), Verdict::Next { missing: 1 });
        assert!(!ledger.offset(0, 7));
        assert_eq!(ledger.gap(0, 8, 10), 3);
        assert!(ledger.is_complete(&|_| 10));
        assert_eq!(ledger.lost(&|_| 10, &|_| 0), 1);
        assert_eq!(ledger.lost(&|_| 12, &|_| 0), 3);
    }

    #[test]
    fn a_gap_in_the_wrong_place_excuses_nothing() {
        let mut ledger = ledger(ONE, 0);
        assert_eq!(ledger.gap(0, 2, 4), 3);
        assert_eq!(message(&mut ledger, 0, 5), Verdict::Next { missing: 4 });
    }

    #[test]
    fn what_was_refused_is_not_lost() {
        let mut ledger = ledger(ONE, 0);
        assert_eq!(message(&mut ledger, 0, 4), Verdict::Next { missing: 3 });
        assert_eq!(ledger.lost(&|_| 5, &|_| 3), 1);
    }

    #[test]
    fn whoever_joins_late_misses_only_what_came_after() {
        let mut ledger = Ledger::new(ONE, 0);
        ledger.subscribed(0, Some(40), false, &|_| 7);
        assert_eq!(message(&mut ledger, 0, 6), NEXT, "on its way when the subscription came");
        assert_eq!(message(&mut ledger, 0, 7), NEXT);
        assert_eq!(message(&mut ledger, 0, 9), Verdict::Next { missing: 1 });
        ledger.subscribed(0, Some(40), false, &|_| 20);
        assert_eq!(message(&mut ledger, 0, 22), Verdict::Next { missing: 1 });
        ledger.subscribed(0, Some(42), true, &|_| 30);
        assert_eq!(message(&mut ledger, 0, 25), Verdict::Next { missing: 2 }, "it said that nothing is missing");
        assert_eq!(ledger.lost(&|_| 25, &|_| 0), 4);
    }

    #[test]
    fn every_pair_of_publisher_and_topic_that_talks_is_a_stream() {
        for (topics, publishers) in [(1, 1), (1, 4), (6, 4), (4, 6), (3, 3)] {
            let layout = Layout { topics, publishers, follow: 1 };
            let mut all: Vec<usize> = (0..publishers).flat_map(|publisher| layout.streams_of(publisher)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..layout.streams()).collect::<Vec<_>>());
            assert!((0..topics).all(|topic| all.iter().any(|stream| layout.topic_of(*stream) == topic)));
        }
        assert_eq!(Layout { topics: 3, publishers: 0, follow: 1 }.streams(), 0);
    }

    #[test]
    fn subscribers_get_their_topics_and_no_others() {
        let layout = Layout { topics: 5, publishers: 7, follow: 2 };
        for subscriber in 0..5 {
            let topics: Vec<usize> = layout.topics_of(subscriber).collect();
            assert_eq!(topics, [(subscriber * 2) % 5, (subscriber * 2 + 1) % 5]);
            let mut ledger = ledger(layout, subscriber);
            for stream in 0..8 {
                let followed = stream < 7 && topics.contains(&(stream % 5));
                let verdict = message(&mut ledger, stream as u32, 1);
                assert_eq!(verdict, if followed { NEXT } else { Verdict::Foreign }, "{subscriber} {stream}");
            }
            assert_eq!(ledger.lost(&|_| 1, &|_| 0), 0);
        }
    }
}
