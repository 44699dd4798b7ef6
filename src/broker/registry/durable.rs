//! What a store needs of the registry: topics as they were, all topics a stretch at a time, and an end.
//!
//! A store looks at every topic for each of its writes, so that publishing does not have to tell it
//! anything; what it has of each topic is one word there ([`Topic::stored`]).

use std::ops::Bound;
use std::sync::Arc;
use std::thread;

use super::{Registry, TooManyTopics};
use crate::broker::message::Message;
use crate::broker::repeats::Mark;
use crate::broker::topic::{Numbering, Topic};
use crate::protocol::{Epoch, TopicName};
use crate::ring::{Entry, PushError, Retention, Seq};

/// A topic as it was written.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) name: TopicName,
    /// `None` when positions in the old numbering may not be used any more: it gets a new one.
    pub(crate) epoch: Option<Epoch>,
    /// The place of its newest message, retained or not.
    pub(crate) newest: Seq,
    /// The last ones up to the newest.
    pub(crate) messages: Vec<Message>,
}

impl Registry {
    /// Puts a topic there as it was, with those of its messages that today's settings retain; gives how many.
    /// `None` if that is nothing at all: no messages, and a numbering that does not go on.
    ///
    /// Nobody may have used its name before.
    pub(crate) fn remember(&self, remembered: Remembered, now_ms: u64) -> Result<Option<usize>, TooManyTopics> {
        let Remembered { name, epoch, newest, mut messages } = remembered;
        if self.topics() >= self.options.topics_max {
            return Err(TooManyTopics);
        }
        let stored = messages.len() as u64;
        messages.drain(..messages.len() - self.covered(&name, &messages, now_ms));
        if epoch.is_none() && messages.is_empty() {
            return Ok(None);
        }
        let numbering = match epoch {
            Some(epoch) => Numbering { epoch, first: Seq(newest.0 - messages.len() as u64).next() },
            None => Numbering { epoch: self.next_epoch(), first: Seq(1) },
        };
        let topic = self.make(&name, numbering, now_ms);
        // The store has what was read from it; under a new epoch it has nothing.
        topic.set_stored(epoch.map_or(0, |_| newest.0 + (newest.0 - stored + 1)));
        let kept = messages.len();
        for message in messages {
            self.weigh(message.weight(), 0);
            let mut held = Arc::new(message);
            // It is full only as long as what others have evicted waits to be freed.
            while let Err(PushError::Full(back) | PushError::Closed(back)) = topic.push(held, now_ms) {
                held = back;
                thread::yield_now();
            }
        }
        self.put(&mut self.lock(), &topic);
        Ok(Some(kept))
    }

    /// How many of `messages`, counted from the newest, a topic of that name would retain.
    fn covered(&self, name: &TopicName, messages: &[Message], now_ms: u64) -> usize {
        let Retention { entries_max, bytes_max, age_ms_max } = self.options.of_topic(name).history.into();
        let mut room = bytes_max;
        let mut covered = 0;
        for message in messages.iter().rev().take(entries_max) {
            let is_old = now_ms.saturating_sub(message.at_ms()) > age_ms_max;
            let Some(left) = room.checked_sub(message.weight()).filter(|_| !is_old) else { break };
            room = left;
            covered += 1;
        }
        // Who comes first has it: the store begins with those that were published to last.
        let fits = self.retained_bytes() + (bytes_max - room) <= self.options.retained_bytes_max;
        if fits { covered } else { 0 }
    }

    /// Up to `count` topics in the order of their names, after `after`.
    pub(crate) fn stretch(&self, after: Option<&TopicName>, count: usize) -> Vec<Arc<Topic>> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(&**name));
        let index = self.lock();
        index
            .by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take(count)
            .map(|(_, topic)| Arc::clone(topic))
            .collect()
    }

    /// The store has written these topics; the number is what [`Topic::stored`] is to say.
    pub(crate) fn settle(&self, written: &[(Arc<Topic>, u64)]) {
        let mut index = self.lock();
        for (topic, stored) in written {
            topic.set_stored(*stored);
            // It has gone meanwhile, when nobody knew that it was written.
            if !index.has(topic) {
                index.forgotten.push(topic.name().clone());
            }
        }
    }

    /// Names of topics that have gone since they were written. Some may have come anew.
    pub(crate) fn take_forgotten(&self) -> Vec<TopicName> {
        std::mem::take(&mut self.lock().forgotten)
    }

    /// Ends publishing for good: what is in the rings stays there, and nothing is added.
    pub(crate) fn seal(&self) {
        let mut index = self.lock();
        index.sealed = true;
        for topic in index.by_name.values() {
            // Again as long as somebody is faster.
            while !topic.ring().is_closed() {
                topic.ring().close();
            }
        }
    }

    /// Marks of publishes from the one of that number on, at most `limit`, and the number of the first.
    pub(crate) fn marks(&self, from: u64, limit: usize) -> (u64, Vec<Mark>) {
        self.repeats().list(from, limit)
    }

    /// The number that the next mark gets.
    pub(crate) fn marks_end(&self) -> u64 {
        self.repeats().end()
    }

    /// Remembers a publish by the mark it had, as if it had just been placed.
    pub(crate) fn remember_mark(&self, number: u64, mark: &Mark) {
        self.repeats().restore(number, mark);
    }
}
