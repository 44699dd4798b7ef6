//! The naive broker, a `BTreeMap` of `Vec`s, and what it knows of the real one that did the same.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Broker, Delivery, Found, History, Received, Subscription, TopicRule};
use crate::protocol::{Encoding, Epoch, Recovery, RecoveryFailure, Since};
use crate::ring::Seq;

/// The topics that there are.
pub(super) const NAMES: [&str; 6] = ["a", "b", "b.x", "b.y", "b.y.z", "c"];
/// Whose topics the rule is for.
pub(super) const RULED: &str = "b.*";

const SWEEP_EVERY_MS: u64 = 1_000;

/// What matches, for the filters above alone.
pub(super) fn matches(filter: &str, name: &str) -> bool {
    match filter {
        ">" => true,
        RULED => name.starts_with("b.") && name.matches('.').count() == 1,
        _ => filter == name,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) offset: u64,
    pub(super) data: String,
    pub(super) at_ms: u64,
    pub(super) from: Option<&'static str>,
    pub(super) weight: usize,
}

/// A naive topic.
pub(super) struct Plain {
    /// The number of its birth.
    pub(super) id: usize,
    pub(super) items: Vec<Item>,
    pub(super) newest: u64,
    pub(super) touched_ms: u64,
}

impl Plain {
    fn oldest(&self) -> u64 {
        self.items.first().map_or(self.newest + 1, |item| item.offset)
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.weight).sum()
    }

    /// Of the messages up to `last` those go that `kept` no longer covers.
    fn evict(&mut self, kept: History, now_ms: u64, last: u64) {
        while let Some(first) = self.items.first()
            && first.offset <= last
            && (self.items.len() > kept.entries || self.bytes() > kept.bytes || now_ms - first.at_ms > kept.age_ms)
        {
            self.items.remove(0);
        }
    }

    pub(super) fn resume(&self, epoch: Option<Epoch>, since: Since) -> Result<(), RecoveryFailure> {
        match since.offset {
            _ if since.epoch != epoch => Err(RecoveryFailure::Epoch),
            offset if offset > self.newest => Err(RecoveryFailure::Future),
            offset if offset + 1 < self.oldest() => Err(RecoveryFailure::Expired),
            _ => Ok(()),
        }
    }
}

/// A subscription, and what it has to be given: by birth of a topic the next place, and for topics that have
/// gone also the last.
pub(super) struct Reader {
    pub(super) filter: &'static str,
    pub(super) subscription: Subscription,
    pub(super) next: BTreeMap<usize, u64>,
    pub(super) gone: BTreeMap<usize, (u64, u64)>,
}

pub(super) struct Oracle {
    pub(super) rule: TopicRule,
    pub(super) history: History,
    pub(super) topics_max: usize,
    pub(super) retained_bytes_max: usize,
    pub(super) linger_ms: u64,
    pub(super) keys_max: usize,
    pub(super) idempotency_ms: u64,

    pub(super) now_ms: u64,
    pub(super) swept_ms: u64,
    pub(super) topics: BTreeMap<&'static str, Plain>,
    /// By birth, as far as somebody has been told.
    pub(super) epochs: Vec<Option<Epoch>>,
    /// When which publish was placed, and where.
    pub(super) repeats: Vec<(u64, [&'static str; 3], usize, u64)>,
    pub(super) readers: Vec<Reader>,
}

impl Oracle {
    pub(super) fn has_rule(name: &str) -> bool {
        matches(RULED, name)
    }

    fn kept(&self, name: &str) -> History {
        if Self::has_rule(name) { self.rule.history } else { self.history }
    }

    /// Whether there is a topic of that name, or room for it.
    pub(super) fn bear(&mut self, name: &'static str) -> bool {
        if !self.topics.contains_key(name) {
            if self.topics.len() >= self.topics_max {
                return false;
            }
            let id = self.epochs.len();
            self.epochs.push(None);
            self.topics.insert(name, Plain { id, items: Vec::new(), newest: 0, touched_ms: self.now_ms });
            for reader in self.readers.iter_mut().filter(|reader| matches(reader.filter, name)) {
                reader.next.insert(id, 1);
            }
            self.sweep_if_due();
        }
        true
    }

    /// What is placed, or was before: the birth of the topic, the place, and whether it is new.
    pub(super) fn publish(
        &mut self,
        name: &'static str,
        scope: &'static str,
        key: Option<&'static str>,
        item: Item,
    ) -> Placing {
        self.repeats.retain(|(at_ms, ..)| self.now_ms - at_ms <= self.idempotency_ms);
        let mark = key.map(|key| [name, scope, key]);
        if let Some((_, _, id, offset)) = self.repeats.iter().find(|(_, known, ..)| Some(*known) == mark) {
            return Some((*id, *offset));
        }
        // Where topics do not linger, what has just been born may go at once, but not twice at one time.
        if !(self.bear(name) && self.bear(name)) {
            return None;
        }
        let (kept, now_ms) = (self.kept(name), self.now_ms);
        let topic = self.topics.get_mut(name).expect("it has been born");
        let placed = (topic.id, topic.newest + 1);
        topic.newest += 1;
        topic.touched_ms = now_ms;
        topic.items.push(Item { offset: topic.newest, ..item });
        // Whatever is kept, the newest is there until somebody looks again.
        topic.evict(kept, now_ms, topic.newest - 1);
        self.relieve();
        self.sweep_if_due();
        if let Some(mark) = mark.filter(|_| self.keys_max > 0) {
            if self.repeats.len() == self.keys_max {
                self.repeats.remove(0);
            }
            self.repeats.push((now_ms, mark, placed.0, placed.1));
        }
        Some(placed)
    }

    fn bytes(&self) -> usize {
        self.topics.values().map(Plain::bytes).sum()
    }

    /// All messages of the topic go that was left alone for longest, until the rest fits.
    fn relieve(&mut self) {
        while self.bytes() > self.retained_bytes_max {
            let held = self.topics.values_mut().filter(|topic| topic.bytes() > 0);
            held.min_by_key(|topic| topic.touched_ms).expect("somebody holds something").items.clear();
        }
    }

    pub(super) fn sweep_if_due(&mut self) {
        if self.now_ms - self.swept_ms >= SWEEP_EVERY_MS {
            self.swept_ms = self.now_ms;
            self.sweep();
        }
    }

    pub(super) fn sweep(&mut self) {
        for name in NAMES {
            let (kept, now_ms) = (self.kept(name), self.now_ms);
            let Some(topic) = self.topics.get_mut(name) else { continue };
            topic.evict(kept, now_ms, topic.newest);
            let is_named = self.readers.iter().any(|reader| reader.filter == name);
            if now_ms - topic.touched_ms < self.linger_ms || is_named || !topic.items.is_empty() {
                continue;
            }
            let (id, newest) = (topic.id, topic.newest);
            self.topics.remove(name);
            for reader in &mut self.readers {
                if let Some(next) = reader.next.remove(&id).filter(|next| *next <= newest) {
                    reader.gone.insert(id, (next, newest));
                }
            }
        }
    }

    /// No two births have the same epoch, and none has two.
    pub(super) fn learn(&mut self, id: usize, epoch: Epoch) {
        if self.epochs[id] != Some(epoch) {
            assert!(self.epochs[id].is_none() && !self.epochs.contains(&Some(epoch)), "{epoch} is not new");
            self.epochs[id] = Some(epoch);
        }
    }

    /// What a subscription gave has to be next in its topic; if nothing, there is nothing.
    pub(super) fn check_delivery(&mut self, reader: usize, delivery: Option<&Delivery>) {
        let reader = &mut self.readers[reader];
        let Some(delivery) = delivery else {
            assert_eq!(reader.gone, BTreeMap::new());
            for (name, topic) in self.topics.iter().filter(|(name, _)| matches(reader.filter, name)) {
                assert_eq!(reader.next[&topic.id], topic.newest + 1, "{name}");
            }
            return;
        };
        let (name, epoch) = match delivery {
            Delivery::Message(message) => (message.topic(), message.epoch()),
            Delivery::Gap(gap) => (&*gap.topic, gap.epoch),
        };
        let id = self.epochs.iter().position(|known| *known == Some(epoch)).expect("an epoch that was given");
        if let Some((from, to)) = reader.gone.remove(&id) {
            let Delivery::Gap(gap) = delivery else { panic!("{delivery:?} of a topic that has gone") };
            assert_eq!((gap.from, gap.to), (from, to));
            return;
        }
        let topic = &self.topics[name];
        let next = reader.next.get_mut(&topic.id).expect("a topic that it follows");
        assert_eq!(topic.id, id);
        match delivery {
            Delivery::Gap(gap) => {
                assert_eq!((gap.from, gap.to), (*next, topic.oldest() - 1));
                assert!(gap.from <= gap.to);
                *next = gap.to + 1;
            }
            Delivery::Message(message) => {
                let item = topic.items.iter().find(|item| item.offset == *next).expect("held, and not yet given");
                check_message(&self.rule, message, item);
                *next += 1;
            }
        }
    }

    pub(super) fn check_history(
        &self,
        name: &str,
        since: Option<Since>,
        limit: usize,
        bytes_max: usize,
        found: &Found,
    ) {
        let plain = &self.topics[name];
        let epoch = self.epochs[plain.id];
        assert_eq!((Some(found.head.epoch), found.head.offset), (epoch, plain.newest));
        let resumed = since.map(|since| plain.resume(epoch, since));
        assert_eq!(
            found.recovery,
            resumed.map(|resumed| resumed.map_or_else(Recovery::Failed, |()| Recovery::Recovered))
        );

        let after = since.map_or(0, |since| since.offset);
        let mut rest: Vec<&Item> = plain.items.iter().filter(|item| item.offset > after).collect();
        let mut expected = Vec::new();
        let mut bytes = 0;
        if resumed.is_some_and(|resumed| resumed.is_err()) {
            rest.clear();
        }
        while !rest.is_empty() && expected.len() < limit && bytes < bytes_max {
            // After a position the first come, else the newest.
            let item = if since.is_some() { rest.remove(0) } else { rest.remove(rest.len() - 1) };
            bytes += item.data.len();
            expected.push(item);
        }
        if since.is_none() {
            expected.reverse();
        }
        assert_eq!(found.more, !rest.is_empty());
        let is_ruled = Self::has_rule(name);
        let list = found.list();
        let given =
            list.iter().map(|message| (message.offset, message.data.bytes().to_vec(), message.at, message.from));
        let expected = expected.iter().map(|item| {
            let at = (is_ruled && self.rule.at).then_some(item.at_ms);
            (item.offset, item.data.clone().into_bytes(), at, item.from)
        });
        assert_eq!(given.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    /// All that can be seen from outside at any time.
    pub(super) fn check(&mut self, broker: &Broker) {
        let registry = broker.registry();
        assert_eq!(registry.topics(), self.topics.len());
        assert_eq!(registry.retained_bytes(), self.bytes());
        let mut births = Vec::new();
        for (name, plain) in &self.topics {
            let topic = registry.get(name).expect("a topic that is there");
            births.push((plain.id, topic.epoch()));
            assert_eq!((topic.ring().oldest(), topic.ring().newest()), (Seq(plain.oldest()), Seq(plain.newest)));
        }
        births.into_iter().for_each(|(id, epoch)| self.learn(id, epoch));
    }
}

/// The birth of the topic and the place, or there are too many topics.
pub(super) type Placing = Option<(usize, u64)>;

fn check_message(rule: &TopicRule, message: &Received, item: &Item) {
    assert_eq!((message.offset(), message.at_ms(), message.from()), (item.offset, item.at_ms, item.from));
    let event: Value = serde_json::from_slice(message.event(Encoding::Json)).expect("an event is JSON");
    let mut expected = serde_json::json!({"type": "message", "topic": message.topic(), "offset": item.offset});
    expected["data"] = serde_json::from_str(&item.data).expect("it was published");
    if item.offset == 1 {
        expected["epoch"] = message.epoch().to_string().into();
    }
    if Oracle::has_rule(message.topic()) && rule.at {
        expected["at"] = item.at_ms.into();
    }
    if let Some(from) = item.from {
        expected["from"] = from.into();
    }
    assert_eq!(event, expected);
}
