//! All topics by name, and the patterns that receivers follow.
//!
//! Reading a topic takes no lock. Births, removals and changes of the patterns share one, so that a
//! topic is born followed by every receiver whose pattern matches it, and none is missed.

#[cfg(feature = "store")]
mod durable;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use super::inbox::Inbox;
use super::message::Message;
use super::options::BrokerOptions;
use super::pattern_tree::PatternTree;
use super::repeats::Repeats;
use super::topic::{Numbering, Subscriber, Topic};
use crate::protocol::{Epoch, Pattern, TopicName};
use crate::ring::{PushError, Seq};

#[cfg(feature = "store")]
pub(crate) use durable::Remembered;

/// How many topics one `sweep` looks at, at most: the shard's connections wait meanwhile.
const SWEEP_TOPICS_MAX: usize = 512;

/// How long it takes until the next one,
const SWEEP_EVERY_MS: u64 = 1_000;
/// and how many there are in that time when one does not look at all topics.
const SWEEPS_MAX: u64 = 8;

/// Of how many topics the one that was published to least recently gives way when memory is short.
const RELIEF_SAMPLE: usize = 16;

/// How many such samples one publish looks at.
const RELIEF_ROUNDS_MAX: usize = 64;

/// Topics in all are as many as they may be, or nothing is published any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyTopics;

/// Where a message ended up.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) topic: Arc<Topic>,
    /// The topic's, but for a publish that was repeated after its topic had gone.
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
}

/// Why a message was not published; it comes back where it is worth something.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A shard is behind by the fan-out window.
    Full(Arc<Topic>, Arc<Message>),
    TooManyTopics,
}

#[derive(Debug)]
pub(crate) struct Registry {
    options: BrokerOptions,
    topics: papaya::HashMap<TopicName, Arc<Topic>, RandomState>,
    index: Mutex<Index>,
    /// Weight of everything that is retained, in bytes: less than nothing while what was evicted has not been counted.
    retained_bytes: AtomicIsize,
    /// Frames of retained messages beyond the one that a message's weight has room for.
    frame_bytes: Arc<AtomicUsize>,
    published: AtomicU64,
    /// What became of writing it all to a disk.
    pub(crate) store: StoreFigures,
    /// Topics that were not born for want of room.
    refused: AtomicU64,
    repeats: Mutex<Repeats>,
    swept_ms: AtomicU64,
    epoch_seed: u64,
    epochs: AtomicU64,
}

/// What changes together, under one lock.
#[derive(Debug, Default)]
struct Index {
    /// The same topics in the order of their names, for listings and for walks by prefix.
    by_name: BTreeMap<TopicName, Arc<Topic>>,
    patterns: PatternTree<Vec<Arc<Inbox>>>,
    /// How many connections and subscriptions follow each pattern.
    pattern_subscribers: PatternTree<u32>,
    swept: Option<TopicName>,
    /// Names of topics that are gone while a store still has them, no more than it has.
    forgotten: Vec<TopicName>,
    /// No topic is born and nothing is published any more.
    sealed: bool,
}

/// How a store fares; all zero without one.
#[derive(Debug, Default)]
pub(crate) struct StoreFigures {
    /// Whether what was tried last has failed.
    pub(crate) failing: AtomicBool,
    pub(crate) writes: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// The file's length.
    pub(crate) bytes: AtomicU64,
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) topic: Arc<Topic>,
    pub(crate) subscribers: u64,
}

impl Registry {
    pub(crate) fn new(options: BrokerOptions, epoch_seed: u64) -> Self {
        Registry {
            repeats: Mutex::new(Repeats::new(options.idempotency_keys_max, options.idempotency_ms)),
            options,
            topics: papaya::HashMap::with_hasher(RandomState::default()),
            index: Mutex::default(),
            retained_bytes: AtomicIsize::new(0),
            frame_bytes: Arc::default(),
            published: AtomicU64::new(0),
            store: StoreFigures::default(),
            refused: AtomicU64::new(0),
            swept_ms: AtomicU64::new(0),
            epoch_seed,
            epochs: AtomicU64::new(0),
        }
    }

    pub(crate) fn options(&self) -> &BrokerOptions {
        &self.options
    }

    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// What is retained weighs, with all its frames. Those beyond the one that a message's weight has room
    /// for count until they are freed.
    pub(crate) fn retained_bytes(&self) -> usize {
        self.retained_weight() + self.frame_bytes.load(Ordering::Relaxed)
    }

    /// The weight of the retained messages alone.
    pub(crate) fn retained_weight(&self) -> usize {
        self.retained_bytes.load(Ordering::Relaxed).max(0).cast_unsigned()
    }

    /// What is retained has come to weigh so much more, and less.
    fn weigh(&self, more: usize, less: usize) {
        let grown = more.cast_signed() - less.cast_signed();
        // A full history loses what it gains: publishers of several threads need not meet here.
        if grown != 0 {
            self.retained_bytes.fetch_add(grown, Ordering::Relaxed);
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// How often a topic would have been one too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.pin().get(name).cloned()
    }

    /// The topic of that name, which is born if need be.
    pub(crate) fn topic(&self, name: &TopicName, now_ms: u64) -> Result<Arc<Topic>, TooManyTopics> {
        match self.get(name) {
            Some(topic) => Ok(topic),
            None => self.bear(name, now_ms),
        }
    }

    fn bear(&self, name: &TopicName, now_ms: u64) -> Result<Arc<Topic>, TooManyTopics> {
        let mut index = self.lock();
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        if index.sealed || index.by_name.len() >= self.options.topics_max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooManyTopics);
        }
        let topic = self.make(name, Numbering { epoch: self.next_epoch(), first: Seq(1) }, now_ms);
        self.put(&mut index, &topic);
        drop(index);
        // Where no shard has ticks, births are what time goes by.
        self.sweep_if_due(now_ms);
        Ok(topic)
    }

    fn make(&self, name: &TopicName, numbering: Numbering, now_ms: u64) -> Arc<Topic> {
        let options = self.options.of_topic(name);
        Arc::new(Topic::new(name.clone(), numbering, options, now_ms, Arc::clone(&self.frame_bytes)))
    }

    /// Has a topic that is new found by its name, and followed.
    fn put(&self, index: &mut Index, topic: &Arc<Topic>) {
        let name = topic.name();
        index.patterns.matches(name, |inboxes| {
            for inbox in inboxes {
                topic.follow(inbox, Subscriber::OfPattern).expect("a topic that nobody has seen yet is open");
            }
        });
        index.by_name.insert(name.clone(), Arc::clone(topic));
        self.topics.pin().insert(name.clone(), Arc::clone(topic));
        // Under the lock: a receiver that ends meanwhile finds the mark, or is not followed any more.
        topic.announce();
    }

    /// Takes a closed topic out, so that its name can be born anew. Does nothing when that is done.
    pub(crate) fn forget(&self, topic: &Arc<Topic>) {
        let mut index = self.lock();
        if index.has(topic) {
            index.by_name.remove(topic.name());
            self.topics.pin().remove(topic.name());
            if topic.stored() != 0 {
                index.forgotten.push(topic.name().clone());
            }
        }
    }

    /// Epochs are unique in the process by counting and across processes by the seed: the mapping
    /// (splitmix64's finalizer) is a bijection, so no two counts give the same epoch.
    fn next_epoch(&self) -> Epoch {
        Epoch(mix(self.epoch_seed.wrapping_add(self.epochs.fetch_add(1, Ordering::Relaxed))))
    }

    /// Publishes to `topic`, or to its successor if it has been removed meanwhile. A publish that is marked
    /// as one that was there before comes to what that one came to.
    pub(crate) fn publish(&self, topic: Arc<Topic>, message: Arc<Message>, now_ms: u64) -> Result<Placed, Refused> {
        let Some(mark) = message.mark() else { return self.place(topic, message, now_ms) };
        let name = format!("{}\0{mark}", topic.name());
        // Held until it is placed: of two that come at once the second has to find the first.
        let mut repeats = self.repeats();
        if let Some((epoch, seq)) = repeats.find(&name, now_ms) {
            return Ok(Placed { topic, epoch, seq });
        }
        let placed = self.place(topic, message, now_ms)?;
        repeats.add(&name, (placed.epoch, placed.seq), now_ms);
        Ok(placed)
    }

    fn place(&self, mut topic: Arc<Topic>, mut message: Arc<Message>, now_ms: u64) -> Result<Placed, Refused> {
        let weight = crate::ring::Entry::weight(&*message);
        loop {
            match topic.push(message, now_ms) {
                Ok(pushed) => {
                    self.weigh(weight, pushed.evicted_bytes);
                    if self.retained_bytes() > self.options.retained_bytes_max {
                        self.relieve();
                    }
                    self.published.fetch_add(1, Ordering::Relaxed);
                    // Where no shard has ticks, publishes are what time goes by.
                    self.sweep_if_due(now_ms);
                    return Ok(Placed { epoch: topic.epoch(), topic, seq: pushed.seq });
                }
                Err(PushError::Full(back)) => return Err(Refused::Full(topic, back)),
                Err(PushError::Closed(back)) => {
                    topic = self.succeed(&topic, now_ms).map_err(|TooManyTopics| Refused::TooManyTopics)?;
                    message = back;
                }
            }
        }
    }

    /// The topic that takes the place of one that was closed.
    fn succeed(&self, closed: &Arc<Topic>, now_ms: u64) -> Result<Arc<Topic>, TooManyTopics> {
        if self.lock().sealed {
            return Err(TooManyTopics);
        }
        self.forget(closed);
        self.topic(closed.name(), now_ms)
    }

    /// As `publish`, waiting for room.
    pub(crate) async fn publish_when_room(
        &self,
        topic: Arc<Topic>,
        message: Arc<Message>,
        now: impl Fn() -> u64,
    ) -> Result<Placed, TooManyTopics> {
        let mut next = (topic, message);
        loop {
            let (topic, message) = next;
            let mut held = Some(message);
            let waited = topic
                .wait_for_room(|| {
                    let message = held.take().expect("put back after each attempt that was full");
                    match self.publish(Arc::clone(&topic), message, now()) {
                        Ok(placed) => Some(Ok(placed)),
                        Err(Refused::TooManyTopics) => Some(Err(None)),
                        Err(Refused::Full(full, message)) if Arc::ptr_eq(&full, &topic) => {
                            held = Some(message);
                            None
                        }
                        // The successor of a removed topic is full already: wait there.
                        Err(Refused::Full(full, message)) => Some(Err(Some((full, message)))),
                    }
                })
                .await;
            match waited {
                Ok(placed) => return Ok(placed),
                Err(None) => return Err(TooManyTopics),
                Err(Some(moved)) => next = moved,
            }
        }
    }

    /// Lets topics that were published to least recently (of a sample) give way until what is
    /// retained fits. A bounded piece of work: what it leaves, the next publish goes on with.
    fn relieve(&self) {
        // One thread at a time is enough, and nobody waits for it.
        let Ok(mut index) = self.index.try_lock() else { return };
        for _ in 0..RELIEF_ROUNDS_MAX {
            if self.retained_bytes() <= self.options.retained_bytes_max {
                return;
            }
            let sample = index.walk(RELIEF_SAMPLE);
            let oldest = sample
                .into_iter()
                .filter(|topic| topic.ring().retained_bytes() > 0)
                .min_by_key(|topic| topic.touched_ms());
            let freed = oldest.map_or(0, |topic| topic.ring().shrink(0, topic.passed()));
            self.weigh(0, freed);
        }
    }

    /// Sweeps, if that is due: about once a second, and more often where there are many topics. True if it has, and
    /// may be due again: those that nobody came to do in time are made up for, as far as a second goes.
    #[inline]
    pub(crate) fn sweep_if_due(&self, now_ms: u64) -> bool {
        let last = self.swept_ms.load(Ordering::Relaxed);
        // Every publish asks.
        now_ms.saturating_sub(last) >= SWEEP_EVERY_MS / SWEEPS_MAX && self.sweep_after(last, now_ms)
    }

    #[cold]
    fn sweep_after(&self, last: u64, now_ms: u64) -> bool {
        let every_ms = if self.topics() > SWEEP_TOPICS_MAX { SWEEP_EVERY_MS / SWEEPS_MAX } else { SWEEP_EVERY_MS };
        let next = (last + every_ms).max((now_ms + every_ms).saturating_sub(SWEEP_EVERY_MS));
        let due = now_ms.saturating_sub(last) >= every_ms;
        if due && self.swept_ms.compare_exchange(last, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.sweep(now_ms);
            return true;
        }
        false
    }

    /// Evicts what has aged and removes topics that nobody needs any more. Looks at a bounded number of
    /// topics and goes on there next time.
    pub(crate) fn sweep(&self, now_ms: u64) {
        let topics = self.lock().walk(SWEEP_TOPICS_MAX);
        for topic in topics {
            let freed = topic.ring().evict(now_ms, topic.passed());
            self.weigh(0, freed);
            let lingered = now_ms.saturating_sub(topic.touched_ms()) >= self.options.linger_ms;
            if lingered && topic.close_if_idle() {
                self.forget(&topic);
            }
        }
    }

    /// From now on every topic is born followed by `inbox` if `pattern` matches its name. Topics that
    /// exist are the caller's to walk, after this.
    pub(crate) fn follow_pattern(&self, pattern: &Pattern, inbox: &Arc<Inbox>) {
        self.lock().patterns.entry(pattern, Vec::new).push(Arc::clone(inbox));
    }

    pub(crate) fn unfollow_pattern(&self, pattern: &Pattern, inbox: &Arc<Inbox>) {
        let mut index = self.lock();
        if let Some(inboxes) = index.patterns.get_mut(pattern) {
            inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
            if inboxes.is_empty() {
                index.patterns.remove(pattern);
            }
        }
    }

    pub(crate) fn count_pattern_subscriber(&self, pattern: &Pattern, joins: bool) {
        let mut index = self.lock();
        let count = index.pattern_subscribers.entry(pattern, || 0);
        *count = if joins { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            index.pattern_subscribers.remove(pattern);
        }
    }

    /// Up to `limit` topics that `pattern` matches, in the order of their names, after `after`; and
    /// where to go on, `None` when all have been seen. Looks at no more than `look` topics.
    pub(crate) fn matching(
        &self,
        pattern: &Pattern,
        after: Option<&TopicName>,
        look: usize,
    ) -> (Vec<Arc<Topic>>, Option<TopicName>) {
        let prefix = pattern.literal_prefix();
        let index = self.lock();
        let mut found = Vec::new();
        let mut last = None;
        for (seen, (name, topic)) in index.range(prefix, after.map(|name| &**name)).enumerate() {
            if !name.starts_with(prefix) {
                return (found, None);
            }
            if seen == look {
                return (found, last);
            }
            if pattern.matches(name) {
                found.push(Arc::clone(topic));
            }
            last = Some(name.clone());
        }
        (found, None)
    }

    /// Topics whose names begin with `prefix`, after `after`, at most `limit`, sorted by name.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Listed> {
        let index = self.lock();
        let subscribers = |topic: &Topic| {
            let mut count = u64::from(topic.subscribers());
            index.pattern_subscribers.matches(topic.name(), |followers| count += u64::from(*followers));
            count
        };
        let named = index.range(prefix, after).take_while(|(name, _)| name.starts_with(prefix));
        named
            .take(limit)
            .map(|(_, topic)| Listed { topic: Arc::clone(topic), subscribers: subscribers(topic) })
            .collect()
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Whether it is this very topic that stands under its name.
    fn has(&self, topic: &Arc<Topic>) -> bool {
        self.by_name.get(topic.name()).is_some_and(|other| Arc::ptr_eq(other, topic))
    }

    fn range(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = (&TopicName, &Arc<Topic>)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.by_name.range::<str, _>((from, Bound::Unbounded))
    }

    /// The next `count` topics, going round.
    fn walk(&mut self, count: usize) -> Vec<Arc<Topic>> {
        let from = self.swept.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let topics: Vec<_> = self
            .by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take(count)
            .map(|(_, topic)| Arc::clone(topic))
            .collect();
        let all = topics.len() < count;
        self.swept = if all { None } else { topics.last().map(|topic| topic.name().clone()) };
        topics
    }
}

/// The finalizer of splitmix64: a bijection that spreads a counter over all 64 bits.
pub(crate) fn mix(counter: u64) -> u64 {
    let mut word = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
