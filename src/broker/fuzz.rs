//! Operations on a broker that bytes spell out, beside the naive one: the body of a property test and of the fuzz
//! target.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::oracle::{Item, NAMES, Oracle, Placing, RULED, Reader, matches};
use super::{
    Broker, Found, History, HistoryError, Message, PublishError, PublishOptions, Publisher, Received, Refused,
};
use super::{SubscribeError, Subscription, TopicFilter, TopicRule, TryPublishError};
use crate::protocol::{Data, Epoch, Position, Recovery, Since, TopicName};
use crate::ring::Entry;

const FILTERS: [&str; 5] = ["a", "b.x", "b.*", ">", "c"];
const SUBJECTS: [Option<&str>; 3] = [None, Some("ada"), Some("bob")];
const KEYS: [Option<&str>; 4] = [None, Some("x"), Some("y"), Some("z")];

/// So late that no message is as old as the clock.
const BEGIN_MS: u64 = 1_000_000;

/// Both brokers.
struct Pair {
    broker: Broker,
    oracle: Oracle,
    time: Arc<AtomicU64>,
    /// Handles that outlive their topics.
    publishers: BTreeMap<&'static str, Publisher>,
}

/// One operation: what is done, how, and with what.
#[derive(Clone, Copy)]
struct Op {
    kind: u8,
    how: usize,
    arg: usize,
}

/// Does what `data` spells out to a broker and to the oracle, and compares all that can be seen of them.
///
/// # Panics
///
/// When they differ.
pub fn fuzz_ops(data: &[u8]) {
    let Some((head, ops)) = data.split_first_chunk::<8>() else { return };
    let mut pair = Pair::new(*head);
    for (number, op) in ops.chunks_exact(2).enumerate() {
        pair.apply(number, Op { kind: op[0] % 16, how: usize::from(op[0] / 16), arg: usize::from(op[1]) });
        pair.oracle.check(&pair.broker);
    }
}

impl Pair {
    fn new(head: [u8; 8]) -> Self {
        let ms = |byte: u8| u64::from(byte) * 16;
        let [entries, bytes, age, keys, repeat, linger, room, shape] = head;
        let history = History { entries: usize::from(entries % 16), bytes: usize::from(bytes) * 32, age_ms: ms(age) };
        let filter = |text| TopicFilter::parse(text).expect("a filter");
        let rule = TopicRule {
            history: History { entries: usize::from(entries / 16), ..history },
            at: shape & 1 != 0,
            from: shape & 2 != 0,
            ..TopicRule::new(filter(RULED))
        };
        let oracle = Oracle {
            rule: rule.clone(),
            history,
            topics_max: usize::from(3 + shape / 4 % 4),
            retained_bytes_max: if shape & 0x80 == 0 { usize::MAX } else { usize::from(room) * 32 },
            linger_ms: ms(linger),
            keys_max: usize::from(keys % 6),
            idempotency_ms: ms(repeat),
            now_ms: BEGIN_MS,
            swept_ms: 0,
            topics: BTreeMap::new(),
            epochs: Vec::new(),
            repeats: Vec::new(),
            readers: Vec::new(),
        };
        let time = Arc::new(AtomicU64::new(BEGIN_MS));
        let broker = Broker::builder()
            .history(history)
            .topic_rule(rule)
            // The first that matches decides: this one never does.
            .topic_rule(TopicRule::new(filter("b.x")))
            .topics_max(oracle.topics_max)
            .retained_bytes_max(oracle.retained_bytes_max)
            .linger_ms(oracle.linger_ms)
            .idempotency(oracle.keys_max, oracle.idempotency_ms)
            .build_by(&time);
        Pair { broker, oracle, time, publishers: BTreeMap::new() }
    }

    fn apply(&mut self, number: usize, op: Op) {
        let Op { kind, how, arg } = op;
        let name = NAMES[arg % NAMES.len()];
        // Of two publishes with one key the second says something else.
        let text = format!("\"{number}{}\"", "x".repeat(8 * how));
        match kind {
            0..=3 => self.publish(op, name, &text),
            4 | 5 => self.publish_as(op, name, &text),
            6 => self.publish_again(name, &text),
            7 => {
                self.oracle.now_ms += (arg as u64) << (how % 8);
                self.time.store(self.oracle.now_ms, Ordering::Relaxed);
            }
            8 => {
                self.broker.registry().sweep(self.oracle.now_ms);
                self.oracle.sweep();
            }
            9 => self.history(name, None, op),
            10 | 11 => self.history(name, Some(self.position(name, op)), op),
            12 => self.subscribe(FILTERS[arg % FILTERS.len()]),
            13 => self.subscribe_from(name, self.position(name, op)),
            _ => self.read(op),
        }
    }

    /// In process, with all that can be said of a message.
    fn publish(&mut self, op: Op, name: &'static str, text: &str) {
        let idempotency_key = KEYS[op.arg / NAMES.len() % KEYS.len()];
        let options =
            PublishOptions { key: KEYS[op.how % KEYS.len()], idempotency_key, receivers: op.kind.is_multiple_of(2) };
        let placing = match self.oracle.bear(name) {
            true => self.oracle.publish(name, "", idempotency_key, self.item(name, text, options.key, None)),
            false => None,
        };
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        match now(self.broker.publish_with(name, &value, options)) {
            Ok(published) => {
                self.check_placing(placing, Some((published.epoch, published.offset)));
                let readers = self.oracle.readers.iter().filter(|reader| matches(reader.filter, name)).count();
                assert_eq!(published.receivers, options.receivers.then_some(readers as u64));
            }
            Err(PublishError::TooManyTopics) => self.check_placing(placing, None),
            Err(error) => panic!("{error}"),
        }
    }

    /// As a gate does for one of several subjects.
    fn publish_as(&mut self, op: Op, name: &'static str, text: &str) {
        let subject = SUBJECTS[op.how % SUBJECTS.len()];
        let scope = subject.unwrap_or_default();
        let mark = KEYS[op.arg / NAMES.len() % KEYS.len()];
        let placing = match self.oracle.bear(name) {
            true => self.oracle.publish(name, scope, mark, self.item(name, text, None, subject)),
            false => None,
        };
        let now_ms = self.oracle.now_ms;
        let Ok(topic) = self.broker.registry().topic(&topic_name(name), now_ms) else {
            return self.check_placing(placing, None);
        };
        let from = subject.filter(|_| topic.says_from()).map(Arc::from);
        let message = Message::new(name.len(), payload(text), None, now_ms).by(from.as_ref()).marked(scope, mark);
        match self.broker.registry().publish(topic, Arc::new(message), now_ms) {
            Ok(placed) => self.check_placing(placing, Some((placed.epoch, placed.seq.0))),
            Err(Refused::TooManyTopics) => self.check_placing(placing, None),
            Err(Refused::Full(..)) => panic!("nobody holds publishers back"),
        }
    }

    /// By a handle that is kept, whatever becomes of its topic.
    fn publish_again(&mut self, name: &'static str, text: &str) {
        let Some(publisher) = self.publishers.get(name) else {
            let publisher = self.broker.publisher(name);
            assert_eq!(publisher.is_ok(), self.oracle.bear(name));
            self.publishers.extend(publisher.ok().map(|publisher| (name, publisher)));
            return;
        };
        let published = match publisher.try_publish(payload(text)) {
            Ok(published) => Some((published.epoch, published.offset)),
            Err(TryPublishError::Refused(PublishError::TooManyTopics)) => None,
            Err(error) => panic!("{error}"),
        };
        let placing = self.oracle.publish(name, "", None, self.item(name, text, None, None));
        self.check_placing(placing, published);
    }

    /// What the naive broker keeps of a message. What it weighs is not for it to judge.
    fn item(&self, name: &str, text: &str, key: Option<&str>, subject: Option<&'static str>) -> Item {
        let from = subject.filter(|_| Oracle::has_rule(name) && self.oracle.rule.from);
        let message = Message::new(name.len(), payload(text), None, 0).about(key).by(from.map(Arc::from).as_ref());
        Item { offset: 0, data: text.to_owned(), at_ms: self.oracle.now_ms, from, weight: message.weight() }
    }

    fn check_placing(&mut self, expected: Placing, published: Option<(Epoch, u64)>) {
        assert_eq!(expected.map(|(_, offset)| offset), published.map(|(_, offset)| offset));
        if let (Some((id, _)), Some((epoch, _))) = (expected, published) {
            self.oracle.learn(id, epoch);
        }
    }

    /// A position in the numbering of the topic, mostly, somewhere around its newest message.
    fn position(&self, name: &str, op: Op) -> Since {
        let topic = self.oracle.topics.get(name);
        let epoch = match op.how {
            0 => None,
            1 => Some(Epoch(1)),
            2 => self.oracle.epochs.first().copied().flatten(),
            3 => self.oracle.epochs.iter().rev().find_map(|epoch| *epoch),
            _ => topic.and_then(|topic| self.oracle.epochs[topic.id]),
        };
        let newest = topic.map_or(0, |topic| topic.newest);
        let offset = match op.arg / NAMES.len() {
            42 => u64::MAX,
            back => (newest + 2).saturating_sub(back as u64),
        };
        Since { epoch, offset }
    }

    fn history(&mut self, name: &str, since: Option<Since>, op: Op) {
        let limit = if op.how < 8 { op.how } else { usize::MAX };
        let public = self.broker.history(name, limit).expect("a name");
        // Whoever looks from within the process is what time goes by, too.
        self.oracle.sweep_if_due();
        let bytes_max = if op.how.is_multiple_of(2) { usize::MAX } else { op.arg };
        match (self.broker.registry().get(name), self.oracle.topics.contains_key(name)) {
            (Some(topic), true) => {
                self.oracle.check_history(name, since, limit, bytes_max, &topic.history(since, limit, bytes_max));
                let found = topic.history(None, limit, usize::MAX);
                let offsets = public.iter().map(Received::offset);
                assert!(offsets.eq(found.messages.iter().map(|(seq, _)| seq.0)));
                if let Some(Since { epoch: Some(epoch), offset }) = since {
                    let found = topic.history(since, limit, usize::MAX);
                    match self.broker.history_after(name, Position { epoch, offset }, limit) {
                        Ok(after) => {
                            assert_eq!(found.recovery, Some(Recovery::Recovered));
                            let offsets = after.iter().map(Received::offset);
                            assert!(offsets.eq(found.messages.iter().map(|(seq, _)| seq.0)));
                        }
                        Err(HistoryError::Lost(why)) => assert_eq!(found.recovery, Some(Recovery::Failed(why))),
                        Err(HistoryError::Topic(error)) => panic!("{name}: {error}"),
                    }
                }
            }
            (None, false) => {
                assert!(public.is_empty(), "{name} is not there");
                let found = Found::nothing(since);
                let failed = since.map(|_| Recovery::Failed(crate::protocol::RecoveryFailure::Epoch));
                assert_eq!((found.messages.len(), found.head.offset, found.recovery), (0, 0, failed));
            }
            (topic, _) => panic!("{name} is there for one of both: {topic:?}"),
        }
    }

    /// Begins to follow, or ends it.
    fn subscribe(&mut self, filter: &'static str) {
        if self.drop_reader(filter) {
            return;
        }
        let is_name = NAMES.contains(&filter);
        let room = !is_name || self.bear_named(filter);
        match self.broker.subscribe(filter) {
            Ok(subscription) => {
                assert!(room);
                self.add_reader(filter, subscription);
            }
            Err(SubscribeError::TooManyTopics) => assert!(!room),
            Err(error) => panic!("{error}"),
        }
    }

    /// From a position on; whoever follows the name has to let go first.
    fn subscribe_from(&mut self, name: &'static str, since: Since) {
        self.drop_reader(name);
        let Some(epoch) = since.epoch else { return };
        let room = self.bear_named(name);
        match self.broker.subscribe_from(name, Position { epoch, offset: since.offset }) {
            Ok(subscription) => {
                assert!(room);
                let recovery = subscription.recovery().expect("a position was given");
                self.add_reader(name, subscription);
                self.oracle.check(&self.broker);
                let plain = &self.oracle.topics[name];
                let resumed = plain.resume(self.oracle.epochs[plain.id], since);
                assert_eq!(recovery, resumed.map_or_else(Recovery::Failed, |()| Recovery::Recovered));
                if resumed.is_ok() {
                    let reader = self.oracle.readers.last_mut().expect("it was added");
                    reader.next.insert(plain.id, since.offset + 1);
                }
            }
            Err(SubscribeError::TooManyTopics) => assert!(!room),
            Err(error) => panic!("{error}"),
        }
    }

    /// The topic that a subscription keeps, also where topics go at once.
    fn bear_named(&mut self, name: &str) -> bool {
        let name = NAMES.into_iter().find(|other| *other == name).expect("a name");
        self.oracle.bear(name) && self.oracle.bear(name)
    }

    fn add_reader(&mut self, filter: &'static str, subscription: Subscription) {
        let topics = self.oracle.topics.iter().filter(|(name, _)| matches(filter, name));
        let next = topics.map(|(_, topic)| (topic.id, topic.newest + 1)).collect();
        self.oracle.readers.push(Reader { filter, subscription, next, gone: BTreeMap::new() });
    }

    fn drop_reader(&mut self, filter: &str) -> bool {
        let Some(index) = self.oracle.readers.iter().position(|reader| reader.filter == filter) else { return false };
        self.oracle.readers.remove(index);
        let now_ms = self.oracle.now_ms;
        let topics = self.oracle.topics.iter_mut().filter(|(name, _)| matches(filter, name));
        topics.for_each(|(_, topic)| topic.touched_ms = now_ms);
        true
    }

    /// Some of what waits for one subscription.
    fn read(&mut self, op: Op) {
        if self.oracle.readers.is_empty() {
            return;
        }
        let reader = op.arg % self.oracle.readers.len();
        for _ in 0..=op.how * 2 {
            let delivery = self.oracle.readers[reader].subscription.try_next();
            self.oracle.check_delivery(reader, delivery.as_ref());
            if delivery.is_none() {
                break;
            }
        }
    }
}

fn payload(text: &str) -> Data {
    Data::try_from(text).expect("JSON")
}

fn topic_name(name: &str) -> TopicName {
    TopicName::parse(name).expect("a name")
}

/// The value of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_broker_does_what_the_naive_one_does(data in vec(any::<u8>(), 8..600)) {
            super::fuzz_ops(&data);
        }
    }
}
