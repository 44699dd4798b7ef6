//! What a topic remembers: for those who come back, and for those who ask.
//!
//! The ring is the history. Nothing is kept twice, and a position is a sequence number.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::message::Message;
use super::topic::Topic;
use crate::protocol::{Epoch, Event, HistoryMessage, Id, Position, Recovery, RecoveryFailure, Since};
use crate::ring::Seq;

/// Earlier messages of a topic.
#[derive(Debug)]
pub(crate) struct Found {
    /// Oldest first, without holes.
    pub(crate) messages: Vec<(Seq, Arc<Message>)>,
    /// Whether they say when they were published.
    says_at: bool,
    /// The newest message of the topic when this was read.
    pub(crate) head: Position,
    /// Whether the limits left some out: later ones after a position, else earlier ones.
    pub(crate) more: bool,
    /// What became of the position, if there was one.
    pub(crate) recovery: Option<Recovery>,
}

impl Found {
    /// Of a topic that does not exist: no epoch is its own.
    pub(crate) fn nothing(since: Option<Since>) -> Self {
        let head = Position { epoch: Epoch(0), offset: 0 };
        match since {
            Some(_) => failed(head, RecoveryFailure::Epoch),
            None => Found { messages: Vec::new(), says_at: false, head, more: false, recovery: None },
        }
    }

    /// The messages as an event shows them.
    pub(crate) fn list(&self) -> Vec<HistoryMessage<'_>> {
        self.messages
            .iter()
            .map(|(seq, message)| {
                let at = self.says_at.then(|| message.published_ms());
                HistoryMessage { offset: seq.0, at, from: message.from(), data: message.data() }
            })
            .collect()
    }

    /// The `history` event with this [`list`](Self::list).
    pub(crate) fn event<'a>(
        &self,
        id: Option<&'a Id<'a>>,
        topic: &'a str,
        messages: &'a [HistoryMessage<'a>],
    ) -> Event<'a> {
        let Found { head: position, more, recovery, .. } = *self;
        Event::History { id, topic, position, messages, more, recovery }
    }
}

impl Topic {
    /// Where somebody goes on who has seen everything up to `since`, in a topic whose newest message is
    /// `head`.
    ///
    /// # Errors
    ///
    /// Why it cannot be gone on from there without a hole.
    pub(crate) fn resume(&self, since: Since, head: Seq) -> Result<Seq, RecoveryFailure> {
        if since.epoch != Some(self.epoch()) {
            return Err(RecoveryFailure::Epoch);
        }
        if since.offset > head.0 {
            return Err(RecoveryFailure::Future);
        }
        let next = Seq(since.offset + 1);
        if next < self.ring().oldest() && since.offset < head.0 {
            return Err(RecoveryFailure::Expired);
        }
        Ok(next)
    }

    /// At most `limit` messages and about `bytes_max` bytes of payload: the first after `since`, or the
    /// newest.
    pub(crate) fn history(&self, since: Option<Since>, limit: usize, bytes_max: usize) -> Found {
        let newest = self.ring().newest();
        let head = Position { epoch: self.epoch(), offset: newest.0 };
        let Some(since) = since else {
            let (messages, more) = self.newest_messages(newest, limit, bytes_max);
            return Found { messages, says_at: self.says_at(), head, more, recovery: None };
        };
        let from = match self.resume(since, newest) {
            Ok(from) => from,
            Err(reason) => return failed(head, reason),
        };
        let mut messages = Vec::new();
        let mut bytes = 0;
        let read = self.ring().read(from, |seq, message| {
            if seq > newest || messages.len() == limit || bytes >= bytes_max {
                return ControlFlow::Break(());
            }
            bytes += message.data().bytes().len();
            messages.push((seq, Arc::clone(message)));
            ControlFlow::Continue(())
        });
        if read.is_err() {
            // It left the ring since it was looked for.
            return failed(head, RecoveryFailure::Expired);
        }
        let last = messages.last().map_or(since.offset, |(seq, _)| seq.0);
        Found { messages, says_at: self.says_at(), head, more: last < newest.0, recovery: Some(Recovery::Recovered) }
    }

    fn newest_messages(&self, newest: Seq, limit: usize, bytes_max: usize) -> (Vec<(Seq, Arc<Message>)>, bool) {
        let oldest = self.ring().oldest();
        let mut from = Seq((newest.0 + 1).saturating_sub(limit as u64)).max(oldest);
        let mut messages = Vec::new();
        loop {
            let read = self.ring().read(from, |seq, message| {
                if seq > newest {
                    return ControlFlow::Break(());
                }
                messages.push((seq, Arc::clone(message)));
                ControlFlow::Continue(())
            });
            match read {
                Ok(_) => break,
                // Some have just been evicted. They are as old as the rest of what is not given.
                Err(lagged) => from = lagged.resume,
            }
        }
        let mut bytes = 0;
        let kept = messages.iter().rev().take_while(|(_, message)| {
            let fits = bytes < bytes_max;
            bytes += message.data().bytes().len();
            fits
        });
        let left_out = messages.len() - kept.count();
        messages.drain(..left_out);
        (messages, from > oldest || left_out > 0)
    }
}

fn failed(head: Position, reason: RecoveryFailure) -> Found {
    Found { messages: Vec::new(), says_at: false, head, more: false, recovery: Some(Recovery::Failed(reason)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Broker, History};
    use crate::protocol::{Data, TopicName};

    struct Rig {
        broker: Broker,
        topic: Arc<Topic>,
    }

    /// A topic to which `count` messages have been published and that retains `entries`.
    fn topic(entries: usize, count: u64) -> Rig {
        let history = History { entries, ..History::default() };
        let broker = Broker::builder().history(history).build();
        let name = TopicName::parse("a").expect("a name");
        let topic = broker.registry().topic(&name, 0).expect("room for a topic");
        for number in 1..=count {
            let data = Data::try_from(number.to_string().as_str()).expect("JSON");
            let message = Arc::new(Message::new(1, data, None, 0));
            broker.registry().publish(Arc::clone(&topic), message, 0).expect("there is room");
        }
        Rig { broker, topic }
    }

    impl Rig {
        fn since(&self, offset: u64) -> Since {
            Since { epoch: Some(self.topic.epoch()), offset }
        }

        /// The offsets, whether there are more, and what became of the position.
        fn found(&self, since: Option<Since>, limit: usize, bytes_max: usize) -> (Vec<u64>, bool, Option<Recovery>) {
            let found = self.topic.history(since, limit, bytes_max);
            for (seq, message) in &found.messages {
                assert_eq!(message.data().bytes(), &seq.0.to_string());
            }
            (found.messages.iter().map(|(seq, _)| seq.0).collect(), found.more, found.recovery)
        }
    }

    const MAX: usize = usize::MAX;
    const RECOVERED: Option<Recovery> = Some(Recovery::Recovered);

    #[test]
    fn without_a_position_the_newest_are_found() {
        let rig = topic(5, 8);
        assert_eq!(rig.found(None, 100, MAX), (vec![4, 5, 6, 7, 8], false, None));
        assert_eq!(rig.found(None, 2, MAX), (vec![7, 8], true, None));
        assert_eq!(rig.found(None, 0, MAX), (vec![], true, None));
        assert_eq!(rig.found(None, 100, 2), (vec![7, 8], true, None), "a byte each");
        assert_eq!(topic(5, 0).found(None, 100, MAX), (vec![], false, None));
    }

    #[test]
    fn after_a_position_the_first_are_found() {
        let rig = topic(5, 8);
        assert_eq!(rig.found(Some(rig.since(3)), 100, MAX), (vec![4, 5, 6, 7, 8], false, RECOVERED));
        assert_eq!(rig.found(Some(rig.since(5)), 2, MAX), (vec![6, 7], true, RECOVERED));
        assert_eq!(rig.found(Some(rig.since(5)), 100, 1), (vec![6], true, RECOVERED));
        assert_eq!(rig.found(Some(rig.since(8)), 100, MAX), (vec![], false, RECOVERED));
    }

    #[test]
    fn a_position_that_cannot_be_gone_on_from_finds_nothing() {
        let rig = topic(5, 8);
        let none = |reason| (vec![], false, Some(Recovery::Failed(reason)));
        assert_eq!(rig.found(Some(rig.since(2)), 100, MAX), none(RecoveryFailure::Expired));
        assert_eq!(rig.found(Some(rig.since(9)), 100, MAX), none(RecoveryFailure::Future));
        assert_eq!(rig.found(Some(rig.since(u64::MAX)), 100, MAX), none(RecoveryFailure::Future));
        let other = Since { epoch: Some(Epoch(rig.topic.epoch().0 ^ 1)), offset: 5 };
        assert_eq!(rig.found(Some(other), 100, MAX), none(RecoveryFailure::Epoch));
        assert_eq!(rig.found(Some(Since { epoch: None, offset: 5 }), 100, MAX), none(RecoveryFailure::Epoch));
    }

    #[test]
    fn a_topic_that_has_forgotten_everything_still_knows_its_head() {
        let rig = topic(5, 8);
        rig.topic.ring().shrink(0, Seq::MAX);
        assert_eq!(rig.found(Some(rig.since(8)), 100, MAX), (vec![], false, RECOVERED));
        assert_eq!(rig.found(Some(rig.since(7)), 100, MAX).2, Some(Recovery::Failed(RecoveryFailure::Expired)));
        assert_eq!(rig.topic.history(None, 10, MAX).head.offset, 8);
        drop(rig.broker);
    }
}
