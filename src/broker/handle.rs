//! The handle an embedding service holds: publish and subscribe without a socket.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;

use super::clock::Clock;
use super::history::Found;
use super::message::{ConnectionId, Message};
use super::options::{BrokerOptions, History, TopicRule};
use super::registry::{Placed, Refused, Registry, TooManyTopics, mix};
use super::subscription::{Received, SubscribeError, Subscription};
use super::topic::Topic;
use crate::protocol::{
    Data, DataError, Epoch, Filter, Position, Recovery, RecoveryFailure, Since, TopicError, TopicName,
};

/// A pub/sub broker. Cloning is cheap and gives another handle to the same one.
///
/// Topics come into being when somebody publishes or subscribes to them, and go when nothing of them
/// is retained, nobody follows them and they have lingered for a while.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fanfare::{Broker, Delivery};
///
/// let broker = Broker::new();
/// let mut prices = broker.subscribe("prices.*")?;
/// let published = broker.publish("prices.btc", &serde_json::json!({"bid": 1.5})).await?;
/// assert_eq!(published.offset, 1);
///
/// match prices.next().await {
///     Delivery::Message(message) => {
///         assert_eq!(message.topic(), "prices.btc");
///         assert_eq!(message.json(), br#"{"bid":1.5}"#.as_slice());
///     }
///     // A subscription that is read too slowly is told what it missed, see `Subscription`.
///     Delivery::Gap(gap) => println!("missed {} to {}", gap.from, gap.to),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Broker {
    core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    registry: Registry,
    clock: Clock,
    connection_seed: u64,
    connections: AtomicU64,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The topic's numbering. It changes when the topic is removed and born anew.
    pub epoch: Epoch,
    /// The message's place in it; the first one has 1.
    pub offset: u64,
    /// How many it is for, if that was asked: connections and in-process subscriptions that match, each once.
    pub receivers: Option<u64>,
}

/// What is said of a message beside its payload. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions<'a> {
    /// What it is about, see [`Broker::publish_about`].
    pub key: Option<&'a str>,
    /// What makes a repeated publish the same one: within the time that the broker remembers, a second message
    /// of the same topic and key is not delivered, and answered with the first one's place.
    pub idempotency_key: Option<&'a str>,
    /// Whether to count whom it is for. It costs a look at each of them.
    pub receivers: bool,
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic's name breaks the grammar. The caller's fault.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The payload cannot be carried in both encodings. The caller's fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The payload is larger than a message may be. The caller's fault.
    #[error("payload of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// What the payload takes in its encoding.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// The broker holds as many topics as it may, and this would be one more.
    #[error("as many topics as the broker may hold")]
    TooManyTopics,
}

/// Why a topic's history cannot be gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The topic's name breaks the grammar. The caller's fault.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Some of what follows the position is not held any more, or the position is not one of the topic's.
    #[error("the history cannot be gone on with from there: {}", .0.as_str())]
    Lost(RecoveryFailure),
}

/// Why a message was not published at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryPublishError {
    /// The shards that serve this topic are behind by the whole fan-out window. The payload comes
    /// back; try again later, or wait with [`Publisher::publish`].
    #[error("the topic's subscribers are being served, there is no room yet")]
    Full(Data),
    /// It can never be published as it is.
    #[error(transparent)]
    Refused(#[from] PublishError),
}

impl Broker {
    /// A broker with the default settings.
    pub fn new() -> Self {
        Builder::default().build()
    }

    /// Settings first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Publishes anything that serializes; subscribers get it as JSON or MessagePack, as they asked.
    ///
    /// Waits while the topic's shards are behind, so that a busy server slows its publishers down
    /// instead of losing messages.
    ///
    /// # Errors
    ///
    /// [`PublishError`]: an illegal name, a payload that one of the encodings cannot carry (map keys
    /// that are not strings, NaN, deeper than 128 levels), one that is too large, too many topics.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message has not been published.
    pub async fn publish<T: Serialize + ?Sized>(&self, topic: &str, data: &T) -> Result<Published, PublishError> {
        self.publisher(topic)?.publish(data).await
    }

    /// Publishes a payload that is already JSON or MessagePack: `Data::json(..)`, `Data::msgpack(..)`.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_data(&self, topic: &str, data: Data) -> Result<Published, PublishError> {
        self.publisher(topic)?.publish_data(data).await
    }

    /// Publishes a message about `key`. Where the topic's [`Overflow`](crate::Overflow) is
    /// `Latest`, subscribers that fall behind get only the newest message of each key.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_about<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        key: &str,
        data: &T,
    ) -> Result<Published, PublishError> {
        self.publish_with(topic, data, PublishOptions { key: Some(key), ..PublishOptions::default() }).await
    }

    /// Publishes with more said than a payload.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message has not been published, unless `receivers` are being counted.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fanfare::{Broker, PublishOptions};
    ///
    /// let broker = Broker::new();
    /// let _orders = broker.subscribe("orders.*")?;
    /// let options = PublishOptions { idempotency_key: Some("order-7"), receivers: true, ..PublishOptions::default() };
    /// let first = broker.publish_with("orders.new", "one", options).await?;
    /// assert_eq!((first.offset, first.receivers), (1, Some(1)));
    /// let again = broker.publish_with("orders.new", "one", options).await?;
    /// assert_eq!(again.offset, 1);
    /// # Ok(()) }
    /// ```
    pub async fn publish_with<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        data: &T,
        options: PublishOptions<'_>,
    ) -> Result<Published, PublishError> {
        self.publisher(topic)?.place(Data::from_serialize(data)?, options).await
    }

    /// A handle to one topic, for publishing to it often: it finds the topic once.
    ///
    /// # Errors
    ///
    /// [`PublishError::Topic`] and [`PublishError::TooManyTopics`].
    pub fn publisher(&self, topic: &str) -> Result<Publisher, PublishError> {
        let name = TopicName::parse(topic)?;
        let topic = self.core.registry.topic(&name, self.now_ms())?;
        Ok(Publisher { broker: self.clone(), topic })
    }

    /// Follows a topic or a pattern from now on.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: an illegal name or pattern, or too many topics.
    pub fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        Ok(Subscription::new(self.clone(), Filter::parse(filter)?)?)
    }

    /// Follows a topic from an earlier position on, as after a restart of the caller: everything after it
    /// comes first, then what is published.
    ///
    /// [`Subscription::recovery`] says whether all of it is still held. If not, nothing is replayed and
    /// the subscription begins with what is published from now on.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fanfare::{Broker, Delivery, Position, Recovery};
    ///
    /// let broker = Broker::new();
    /// let first = broker.publish("orders", "one").await?;
    /// broker.publish("orders", "two").await?;
    ///
    /// let mut orders = broker.subscribe_from("orders", Position { epoch: first.epoch, offset: 1 })?;
    /// assert_eq!(orders.recovery(), Some(Recovery::Recovered));
    /// let Delivery::Message(message) = orders.next().await else { panic!("nothing was missed") };
    /// assert_eq!((message.offset(), message.decode::<String>()?), (2, "two".to_owned()));
    /// # Ok(()) }
    /// ```
    pub fn subscribe_from(&self, topic: &str, position: Position) -> Result<Subscription, SubscribeError> {
        let name = TopicName::parse(topic)?;
        let mut subscription = Subscription::new(self.clone(), Filter::Topic(name))?;
        subscription.go_back_to(Since { epoch: Some(position.epoch), offset: position.offset });
        Ok(subscription)
    }

    /// The newest messages of a topic that it still holds, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: an illegal name.
    pub fn history(&self, topic: &str, limit: usize) -> Result<Vec<Received>, TopicError> {
        let name = TopicName::parse(topic)?;
        Ok(self.found(&name, None, limit).0)
    }

    /// The first messages of a topic after a position, oldest first, at most `limit`: for who looks now and then
    /// rather than subscribe. The last one's position is where to go on.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]: an illegal name, or a position from which it cannot be gone on without a hole. Never a part.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fanfare::{Broker, HistoryError, Position, RecoveryFailure};
    ///
    /// let broker = Broker::new();
    /// let first = broker.publish("orders", "one").await?;
    /// broker.publish("orders", "two").await?;
    ///
    /// let position = Position { epoch: first.epoch, offset: first.offset };
    /// let missed = broker.history_after("orders", position, 100)?;
    /// assert_eq!(missed[0].decode::<String>()?, "two");
    /// let ahead = broker.history_after("orders", Position { offset: 3, ..position }, 100);
    /// assert!(matches!(ahead, Err(HistoryError::Lost(RecoveryFailure::Future))));
    /// # Ok(()) }
    /// ```
    pub fn history_after(&self, topic: &str, after: Position, limit: usize) -> Result<Vec<Received>, HistoryError> {
        let name = TopicName::parse(topic)?;
        let since = Since { epoch: Some(after.epoch), offset: after.offset };
        match self.found(&name, Some(since), limit) {
            (_, Some(Recovery::Failed(why))) => Err(HistoryError::Lost(why)),
            (messages, _) => Ok(messages),
        }
    }

    fn found(&self, name: &TopicName, since: Option<Since>, limit: usize) -> (Vec<Received>, Option<Recovery>) {
        // Where no shard has ticks, and nobody publishes, who looks is what time goes by.
        self.core.registry.sweep_if_due(self.now_ms());
        let Some(topic) = self.core.registry.get(name) else { return (Vec::new(), Found::nothing(since).recovery) };
        let found = topic.history(since, limit, usize::MAX);
        let messages = found.messages.into_iter().map(|(seq, message)| Received::new(&topic, seq, message));
        (messages.collect(), found.recovery)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.core.registry
    }

    /// A number for a connection: unique in this process and hard to guess.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        let count = self.core.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionId(mix(self.core.connection_seed.wrapping_add(count)))
    }

    /// Milliseconds since 1970, by the system's clock as it stood when the broker was built. It does not jump
    /// and does not go back, whatever becomes of that clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.core.clock.now_ms()
    }

    /// Milliseconds since the broker was built.
    pub(crate) fn uptime_ms(&self) -> u64 {
        self.core.clock.uptime_ms()
    }
}

impl Default for Broker {
    fn default() -> Self {
        Broker::new()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("topics", &self.core.registry.topics())
            .field("retained_bytes", &self.core.registry.retained_bytes())
            .finish_non_exhaustive()
    }
}

/// One topic of a broker, kept for publishing to it.
///
/// Holding one does not keep the topic from being removed when it is idle; the next message brings
/// it back, with a new epoch.
#[derive(Clone, Debug)]
pub struct Publisher {
    broker: Broker,
    topic: Arc<Topic>,
}

impl Publisher {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// Publishes anything that serializes, see [`Broker::publish`].
    ///
    /// # Errors
    ///
    /// As [`Broker::publish`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message has not been published.
    pub async fn publish<T: Serialize + ?Sized>(&self, data: &T) -> Result<Published, PublishError> {
        self.publish_data(Data::from_serialize(data)?).await
    }

    /// Publishes a payload that is already encoded.
    ///
    /// # Errors
    ///
    /// As [`Broker::publish`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message has not been published.
    pub async fn publish_data(&self, data: Data) -> Result<Published, PublishError> {
        self.place(data, PublishOptions::default()).await
    }

    async fn place(&self, data: Data, options: PublishOptions<'_>) -> Result<Published, PublishError> {
        let placed = match self.attempt(data, options)? {
            Attempt::Placed(placed) => placed,
            Attempt::Full(topic, message) => {
                self.broker.registry().publish_when_room(topic, message, || self.broker.now_ms()).await?
            }
        };
        let receivers = if options.receivers { Some(placed.topic.receivers(None).await) } else { None };
        Ok(Published { receivers, ..placed.into() })
    }

    /// Publishes now or not at all.
    ///
    /// # Errors
    ///
    /// [`TryPublishError::Full`] hands the payload back; otherwise as [`Broker::publish`].
    pub fn try_publish(&self, data: Data) -> Result<Published, TryPublishError> {
        match self.attempt(data, PublishOptions::default())? {
            Attempt::Placed(placed) => Ok(placed.into()),
            Attempt::Full(_, message) => Err(TryPublishError::Full(message.data().clone())),
        }
    }

    fn attempt(&self, data: Data, options: PublishOptions<'_>) -> Result<Attempt, PublishError> {
        let registry = self.broker.registry();
        let limit = registry.options().message_bytes_max;
        let bytes = data.bytes().len();
        if bytes > limit {
            return Err(PublishError::TooLarge { bytes, limit });
        }
        let now_ms = self.broker.now_ms();
        let message = Message::new(self.topic.name().len(), data, None, now_ms).about(options.key);
        let message = Arc::new(message.marked("", options.idempotency_key));
        match registry.publish(Arc::clone(&self.topic), message, now_ms) {
            Ok(placed) => Ok(Attempt::Placed(placed)),
            Err(Refused::Full(topic, message)) => Ok(Attempt::Full(topic, message)),
            Err(Refused::TooManyTopics) => Err(PublishError::TooManyTopics),
        }
    }
}

/// What became of a publish that is allowed.
enum Attempt {
    Placed(Placed),
    Full(Arc<Topic>, Arc<Message>),
}

impl From<Placed> for Published {
    fn from(placed: Placed) -> Self {
        Published { epoch: placed.epoch, offset: placed.seq.0, receivers: None }
    }
}

impl From<TooManyTopics> for PublishError {
    fn from(_: TooManyTopics) -> Self {
        PublishError::TooManyTopics
    }
}

/// Settings of a [`Broker`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    options: BrokerOptions,
}

impl Builder {
    /// How much of their past topics keep, unless a rule says otherwise.
    ///
    /// Trades memory for how far a slow subscriber can catch up.
    pub fn history(mut self, history: History) -> Self {
        self.options.history = history;
        self
    }

    /// A history of its own for some topics. The first rule that matches a topic's name, in the order
    /// of the calls, decides.
    pub fn topic_rule(mut self, rule: TopicRule) -> Self {
        self.options.rules.push(rule);
        self
    }

    /// How many topics there may be. The default is 1,000,000, at a few hundred bytes each.
    pub fn topics_max(mut self, topics: usize) -> Self {
        self.options.topics_max = topics;
        self
    }

    /// How many bytes all histories together may take. The default is 256 MiB. Beyond it the topics
    /// that were published to least recently lose theirs first.
    pub fn retained_bytes_max(mut self, bytes: usize) -> Self {
        self.options.retained_bytes_max = bytes;
        self
    }

    /// How large a payload, and a frame from a client, may be. The default is 64 KiB.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.options.message_bytes_max = bytes;
        self
    }

    /// How many publishes with an `idempotency_key` are remembered, over all topics, and for how many
    /// milliseconds. The defaults are 100,000 and five minutes; the oldest are forgotten first.
    pub fn idempotency(mut self, keys: usize, ms: u64) -> Self {
        self.options.idempotency_keys_max = keys;
        self.options.idempotency_ms = ms;
        self
    }

    /// How long a topic stays that is empty and followed by nobody, in milliseconds. The default is a
    /// minute, so that a reconnecting client still finds its place.
    pub fn linger_ms(mut self, ms: u64) -> Self {
        self.options.linger_ms = ms;
        self
    }

    /// Builds the broker.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give: epochs must never repeat.
    pub fn build(self) -> Broker {
        self.build_with(Clock::system(), random)
    }

    /// A broker for which it is what time its holder says.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn build_by(self, now_ms: &Arc<AtomicU64>) -> Broker {
        self.build_with(Clock::ByHand(Arc::clone(now_ms)), random)
    }

    /// A broker that does the same whenever it is built with this seed, by the clock of the runtime.
    #[cfg(test)]
    pub(crate) fn build_alike(self, seed: u64) -> Broker {
        self.build_with(Clock::OfRuntime(tokio::time::Instant::now()), || mix(seed))
    }

    fn build_with(self, clock: Clock, seed: impl Fn() -> u64) -> Broker {
        let registry = Registry::new(self.options, seed());
        Broker { core: Arc::new(Core { registry, clock, connection_seed: seed(), connections: AtomicU64::new(0) }) }
    }
}

fn random() -> u64 {
    getrandom::u64().expect("the operating system gives randomness")
}

/// A payload from bytes that hold JSON, for the common case of text at hand.
impl TryFrom<&str> for Data {
    type Error = DataError;

    fn try_from(json: &str) -> Result<Self, DataError> {
        Data::json(Bytes::copy_from_slice(json.as_bytes()))
    }
}
