//! In-process subscriptions: a stream of messages and gaps, without a socket.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::handle::Broker;
use super::inbox::{Behind, Follower, Inbox};
use super::message::Message;
use super::registry::TooManyTopics;
use super::topic::{Closed, Subscriber, Topic};
use crate::protocol::data::TypeError;
use crate::protocol::{Data, Encoding, Epoch, Filter, Position, Recovery, Since, TopicError};
use crate::ring::Seq;

/// How many topics a pattern's walk looks at under one lock.
const WALK_TOPICS_MAX: usize = 1024;

/// Follows one topic or all that match a pattern, from the moment it was made.
///
/// It never holds a publisher back. When it is not read for longer than the topic's history lasts, it
/// gets a [`Gap`] that says what it missed, then goes on with the oldest message still held.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fanfare::{Broker, Delivery, History};
///
/// let broker = Broker::builder().history(History { entries: 64, ..History::default() }).build();
/// let mut numbers = broker.subscribe("numbers")?;
/// for number in 1..=100 {
///     broker.publish("numbers", &number).await?;
/// }
/// // Only the newest 64 are still held.
/// let Delivery::Gap(gap) = numbers.next().await else { panic!("a gap comes first") };
/// assert_eq!((gap.from, gap.to), (1, 36));
/// let Delivery::Message(message) = numbers.next().await else { panic!("then messages") };
/// assert_eq!(message.offset(), 37);
/// assert_eq!(message.decode::<u32>()?, 37);
/// # Ok(()) }
/// ```
#[must_use = "a subscription that is dropped ends"]
pub struct Subscription {
    broker: Broker,
    filter: Filter,
    inbox: Arc<Inbox>,
    /// The topics followed, by the address of the `Arc` that is kept beside.
    places: HashMap<usize, Place>,
    /// The topic that is being read until it has no more.
    reading: Option<Arc<Topic>>,
    recovery: Option<Recovery>,
}

struct Place {
    topic: Arc<Topic>,
    follower: Arc<Follower>,
    next: Seq,
}

/// What a subscription gives.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The next message of a topic.
    Message(Received),
    /// Messages that were gone before they were read.
    Gap(Gap),
}

/// A message that arrived. Cheap to clone: the payload is shared.
#[derive(Clone)]
pub struct Received {
    topic: Arc<Topic>,
    seq: Seq,
    message: Arc<Message>,
}

/// A stretch of a topic that a subscription missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: String,
    /// The topic's numbering.
    pub epoch: Epoch,
    /// The first offset that was missed.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// Why a subscription could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The name or pattern breaks the grammar. The caller's fault.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// The broker holds as many topics as it may, and this would be one more.
    #[error("as many topics as the broker may hold")]
    TooManyTopics,
}

impl Subscription {
    pub(crate) fn new(broker: Broker, filter: Filter) -> Result<Self, TooManyTopics> {
        let inbox = Arc::new(Inbox::new(Behind::Misses));
        let mut subscription =
            Subscription { broker, filter, inbox, places: HashMap::new(), reading: None, recovery: None };
        match subscription.filter.clone() {
            Filter::Topic(name) => loop {
                let now_ms = subscription.broker.now_ms();
                let topic = subscription.broker.registry().topic(&name, now_ms)?;
                if subscription.follow(&topic, Subscriber::OfName) {
                    break;
                }
            },
            Filter::Pattern(pattern) => {
                let registry = subscription.broker.clone();
                let registry = registry.registry();
                registry.count_pattern_subscriber(&pattern, true);
                // First the pattern, then the walk: a topic born in between is met twice, none is missed.
                registry.follow_pattern(&pattern, &subscription.inbox);
                let mut after = None;
                loop {
                    let (topics, next) = registry.matching(&pattern, after.as_ref(), WALK_TOPICS_MAX);
                    for topic in &topics {
                        subscription.follow(topic, Subscriber::OfPattern);
                    }
                    match next {
                        Some(name) => after = Some(name),
                        None => break,
                    }
                }
            }
        }
        Ok(subscription)
    }

    /// Follows `topic`; false when it has been removed.
    fn follow(&mut self, topic: &Arc<Topic>, subscriber: Subscriber) -> bool {
        match topic.follow(&self.inbox, subscriber) {
            Ok(follower) => {
                self.place(topic, &follower);
                true
            }
            Err(Closed) => false,
        }
    }

    fn place(&mut self, topic: &Arc<Topic>, follower: &Arc<Follower>) {
        let key = Arc::as_ptr(topic).addr();
        self.places.entry(key).or_insert_with(|| Place {
            topic: Arc::clone(topic),
            follower: Arc::clone(follower),
            next: Seq(follower.passed().0 + 1),
        });
    }

    /// Begins after `since` instead, if all that follows it is held.
    pub(crate) fn go_back_to(&mut self, since: Since) {
        let Some(place) = self.places.values_mut().next() else { return };
        match place.topic.resume(since, Seq(place.next.0 - 1)) {
            Ok(next) => {
                place.next = next;
                self.reading = Some(Arc::clone(&place.topic));
                self.recovery = Some(Recovery::Recovered);
            }
            Err(reason) => self.recovery = Some(Recovery::Failed(reason)),
        }
    }

    /// What became of the position that it was to begin at, see [`Broker::subscribe_from`].
    pub fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    /// The topic that is followed by name, and the position before what comes next.
    pub(crate) fn place_of_name(&self) -> Option<(&Arc<Topic>, Position)> {
        let (Filter::Topic(_), Some(Place { topic, next, .. })) = (&self.filter, self.places.values().next()) else {
            return None;
        };
        Some((topic, Position { epoch: topic.epoch(), offset: next.0 - 1 }))
    }

    /// The name or pattern that is followed.
    pub fn filter(&self) -> &str {
        self.filter.as_str()
    }

    /// Waits for the next message or gap. A subscription never ends by itself.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Delivery {
        poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// The next message or gap, if there is one now.
    pub fn try_next(&mut self) -> Option<Delivery> {
        loop {
            if self.reading.is_none() {
                let (topic, follower) = self.inbox.next()?;
                if follower.slot() == Follower::GONE {
                    // Of a removed topic all has been read: it would begin anew.
                    continue;
                }
                self.place(&topic, &follower);
                self.reading = Some(topic);
            }
            if let Some(delivery) = self.read() {
                return Some(delivery);
            }
            if let Some(topic) = self.reading.take()
                && topic.ring().is_closed()
                && let Some(place) = self.places.remove(&Arc::as_ptr(&topic).addr())
            {
                place.follower.set_slot(Follower::GONE);
            }
        }
    }

    fn read(&mut self) -> Option<Delivery> {
        let topic = self.reading.clone()?;
        let place = self.places.get_mut(&Arc::as_ptr(&topic).addr())?;
        let from = place.next;
        let mut taken = None;
        let read = topic.ring().read(from, |seq, message| {
            taken = Some((seq, Arc::clone(message)));
            ControlFlow::Break(())
        });
        match read {
            Err(lagged) => {
                place.next = lagged.resume;
                let (epoch, topic) = (topic.epoch(), topic.name().to_string());
                Some(Delivery::Gap(Gap { topic, epoch, from: from.0, to: lagged.resume.0 - 1 }))
            }
            Ok(_) => {
                let (seq, message) = taken?;
                place.next = Seq(seq.0 + 1);
                Some(Delivery::Message(Received { topic, seq, message }))
            }
        }
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        loop {
            if let Some(delivery) = self.try_next() {
                return Poll::Ready(delivery);
            }
            // The bell rings for whatever has been put into the inbox since it was last heard.
            if self.inbox.bell().poll_rung(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The same deliveries with their payloads decoded as `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Typed<T> {
        Typed { subscription: self, payload: PhantomData }
    }
}

impl From<TooManyTopics> for SubscribeError {
    fn from(_: TooManyTopics) -> Self {
        SubscribeError::TooManyTopics
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.poll_delivery(cx).map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let now_ms = self.broker.now_ms();
        match &self.filter {
            Filter::Topic(_) => {
                if let Some(place) = self.places.values().next() {
                    place.topic.leave(now_ms);
                }
            }
            Filter::Pattern(pattern) => {
                self.broker.registry().unfollow_pattern(pattern, &self.inbox);
                self.broker.registry().count_pattern_subscriber(pattern, false);
            }
        }
        // Topics that were born for the pattern and never read are in the inbox alone.
        while let Some((topic, follower)) = self.inbox.next() {
            topic.unfollow(&follower, now_ms);
        }
        for place in self.places.values() {
            place.topic.unfollow(&place.follower, now_ms);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter.as_str())
            .field("topics", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl Received {
    pub(super) fn new(topic: &Arc<Topic>, seq: Seq, message: Arc<Message>) -> Self {
        Received { topic: Arc::clone(topic), seq, message }
    }

    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// Its place in the topic; the first message has 1.
    pub fn offset(&self) -> u64 {
        self.seq.0
    }

    /// The topic's numbering.
    pub fn epoch(&self) -> Epoch {
        self.topic.epoch()
    }

    /// When it was published, in milliseconds since 1970 by the broker's clock.
    pub fn at_ms(&self) -> u64 {
        self.message.published_ms()
    }

    /// Who published it, proven to a gate, where the topic's [`TopicRule`](crate::TopicRule) keeps that.
    pub fn from(&self) -> Option<&str> {
        self.message.from()
    }

    /// The payload in the encoding it was published in.
    pub fn data(&self) -> &Data {
        self.message.data()
    }

    /// The `message` event as connections get it.
    pub(crate) fn event(&self, encoding: Encoding) -> &[u8] {
        self.message.event(encoding, &self.topic, self.seq)
    }

    /// The payload as JSON, converted if it was published as MessagePack.
    pub fn json(&self) -> Bytes {
        self.encoded(Encoding::Json)
    }

    /// The payload as MessagePack, converted if it was published as JSON.
    pub fn msgpack(&self) -> Bytes {
        self.encoded(Encoding::MsgPack)
    }

    fn encoded(&self, encoding: Encoding) -> Bytes {
        let data = self.message.data();
        if data.encoding() == encoding {
            return data.bytes().clone();
        }
        let mut bytes = Vec::with_capacity(data.bytes().len() * 2);
        data.write_to(encoding, &mut bytes);
        bytes.into()
    }

    /// The payload as a value of the caller's.
    ///
    /// # Errors
    ///
    /// [`TypeError`] when the payload does not fit `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        self.message.data().to_typed()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("topic", &self.topic())
            .field("offset", &self.offset())
            .field("data", self.data())
            .finish()
    }
}

/// A [`Subscription`] whose payloads are decoded.
#[derive(Debug)]
#[must_use = "a subscription that is dropped ends"]
pub struct Typed<T> {
    subscription: Subscription,
    payload: PhantomData<fn() -> T>,
}

/// What a [`Typed`] subscription gives.
#[derive(Clone, Debug)]
pub enum TypedDelivery<T> {
    /// A decoded payload, and the message it came in.
    Message(T, Received),
    /// Messages that were gone before they were read.
    Gap(Gap),
}

impl<T: DeserializeOwned> Typed<T> {
    /// Waits for the next message or gap.
    ///
    /// # Errors
    ///
    /// [`TypeError`] when a payload does not fit `T`; the subscription goes on behind it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<TypedDelivery<T>, TypeError> {
        decoded(self.subscription.next().await)
    }
}

impl<T: DeserializeOwned> Stream for Typed<T> {
    type Item = Result<TypedDelivery<T>, TypeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.subscription.poll_delivery(cx).map(|delivery| Some(decoded(delivery)))
    }
}

fn decoded<T: DeserializeOwned>(delivery: Delivery) -> Result<TypedDelivery<T>, TypeError> {
    Ok(match delivery {
        Delivery::Message(received) => TypedDelivery::Message(received.decode()?, received),
        Delivery::Gap(gap) => TypedDelivery::Gap(gap),
    })
}
