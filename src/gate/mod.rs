//! May this caller do this? Sessions and HTTP calls hold a [`Pass`], never the broker.
//!
//! A pass is made by admission, and its methods check and then act, so that a check cannot be
//! forgotten: without a pass there is nothing to call. Embedders hold the `Broker` itself; they are
//! trusted.

mod admission;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::auth::{Hooks, Permissions, Right};
use crate::broker::{
    Broker, ConnectionId, Found, Introduction, Message, Placed, Refused, Snapshot, Subscription, TooManyTopics, Topic,
};
use crate::limits::Excess;
use crate::protocol::{Data, ErrorCode, Filter, Since, TopicName};

pub(crate) use admission::{Gate, Rules};

use admission::Holder;

/// When an overloaded server may be asked again, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// How many messages a history has unless it is asked for another number, and at most.
const HISTORY_DEFAULT: u64 = 100;
const HISTORY_MAX: u64 = 1_000;

/// About how many bytes of payload a history has at most; what follows is a further request's.
const HISTORY_BYTES_MAX: usize = 1024 * 1024;

/// What one caller may do.
///
/// Without credentials configured everybody may publish to and subscribe to everything but the
/// names that belong to the server: those may be read, not written. With credentials nobody may do
/// anything that their permissions do not say.
#[derive(Clone)]
pub(crate) struct Pass {
    broker: Broker,
    holder: Holder,
    hooks: Option<Arc<dyn Hooks>>,
    /// `None` over HTTP.
    connection: Option<ConnectionId>,
}

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) data: Data,
    /// What it is about.
    pub(crate) key: Option<&'a str>,
    /// What makes a repeated publish the same one.
    pub(crate) idempotency_key: Option<&'a str>,
    /// Whom it is left out for.
    pub(crate) skip: Option<ConnectionId>,
}

/// Why a caller may not, in the words of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after_ms: Option<u64>,
}

/// A publish that has been allowed.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// It is in the ring.
    Placed(Placed),
    /// The topic's shards are behind; to be waited for with [`Pass::publish_when_room`].
    Full(Arc<Topic>, Arc<Message>),
}

impl Pass {
    /// The pass of somebody without credentials, where none are configured.
    #[cfg(test)]
    pub(crate) fn anonymous(broker: Broker) -> Self {
        Pass::new(broker, Holder::Anybody, None, None)
    }

    /// Nothing, unless the right is there for all that `wanted`, a name or a pattern, stands for.
    pub(crate) fn require(&self, right: Right, wanted: &str) -> Result<(), Denied> {
        // Everybody may read everything where nobody is asked who they are, the server's own topics
        // included.
        let allowed = match &self.holder {
            Holder::Anybody => true,
            _ => self.permissions().is_some_and(|permissions| permissions.allow_filter(right, wanted)),
        };
        if allowed { Ok(()) } else { Err(self.lacks(right.verb())) }
    }

    /// Nothing, unless they administer. Where nobody is asked who they are, everybody does.
    pub(crate) fn require_admin(&self) -> Result<(), Denied> {
        let allowed = match &self.holder {
            Holder::Anybody => true,
            _ => self.permissions().is_some_and(Permissions::is_admin),
        };
        if allowed { Ok(()) } else { Err(self.lacks("administer")) }
    }

    /// Whoever has shown nothing may show something; for the others there is nothing to be done.
    fn lacks(&self, verb: &str) -> Denied {
        match &self.holder {
            Holder::Known(_) | Holder::Anybody => {
                Denied::new(ErrorCode::Forbidden, format!("the right to {verb} is missing"))
            }
            Holder::Stranger | Holder::Anonymous(_) => Denied::stranger(),
        }
    }

    /// What the shard is to be asked for, if it may be subscribed to.
    pub(crate) fn subscribe(&self, filter: Filter) -> Result<Filter, Denied> {
        self.require(Right::Subscribe, filter.as_str())?;
        if let Some(hooks) = &self.hooks {
            self.with_client(|client| hooks.subscribe(client, filter.as_str()))?;
        }
        Ok(filter)
    }

    /// A subscription of the caller's own, without a connection.
    pub(crate) fn follow(&self, name: TopicName) -> Result<Subscription, Denied> {
        let filter = self.subscribe(Filter::Topic(name))?;
        Ok(Subscription::new(self.broker.clone(), filter)?)
    }

    /// What others are told of a member, if it may be one. `said` is what it says of itself.
    pub(crate) fn introduce(&self, filter: &Filter, said: Option<Data>) -> Result<Introduction, Denied> {
        self.require(Right::Presence, filter.as_str())?;
        Ok(Introduction { subject: self.subject().cloned(), member: said })
    }

    /// Earlier messages of a topic: the first after `since`, or the newest.
    pub(crate) fn history(&self, name: &str, since: Option<Since>, limit: Option<u64>) -> Result<Found, Denied> {
        let limit = limit.unwrap_or(HISTORY_DEFAULT);
        if limit > HISTORY_MAX {
            return Err(Denied::new(ErrorCode::BadRequest, format!("`limit` is at most {HISTORY_MAX}")));
        }
        let name = TopicName::parse(name).map_err(|error| Denied::new(ErrorCode::BadTopic, error.to_string()))?;
        self.require(Right::History, &name)?;
        self.broker.registry().sweep_if_due(self.broker.now_ms());
        // To ask for a topic does not make it one.
        let Some(topic) = self.broker.registry().get(&name) else { return Ok(Found::nothing(since)) };
        Ok(topic.history(since, limit as usize, HISTORY_BYTES_MAX))
    }

    /// Who is in a topic.
    pub(crate) fn presence(&self, name: &str) -> Result<Snapshot, Denied> {
        let name = TopicName::parse(name).map_err(|error| match Filter::parse(name) {
            Ok(_) => Denied::new(ErrorCode::BadRequest, "`presence` needs a topic, not a pattern"),
            Err(_) => Denied::new(ErrorCode::BadTopic, error.to_string()),
        })?;
        self.require(Right::Presence, &name)?;
        let Some(topic) = self.broker.registry().get(&name) else { return Ok(Snapshot::empty()) };
        if topic.presence().gather(self.broker.now_ms()) {
            topic.announce();
        }
        Ok(topic.presence().snapshot())
    }

    /// The topic of that name, if it may be published to. `recent` saves the look-up and the check when
    /// it is the one: it must have been published to with this pass.
    pub(crate) fn publish_to(&self, name: &str, recent: Option<&Arc<Topic>>) -> Result<Arc<Topic>, Denied> {
        if let Some(topic) = recent
            && &**topic.name() == name
        {
            return Ok(Arc::clone(topic));
        }
        let known = self.broker.registry().get(name);
        let reserved = || Denied::new(ErrorCode::Forbidden, "names that begin with `$` belong to the server");
        if let Some(topic) = known {
            if topic.name().is_reserved() {
                return Err(reserved());
            }
            self.require(Right::Publish, name)?;
            return Ok(topic);
        }
        let name = TopicName::parse(name).map_err(|error| Denied::new(ErrorCode::BadTopic, error.to_string()))?;
        if name.is_reserved() {
            return Err(reserved());
        }
        self.require(Right::Publish, &name)?;
        Ok(self.broker.registry().topic(&name, self.broker.now_ms())?)
    }

    /// Publishes, or says that there is no room yet.
    pub(crate) fn publish(&self, topic: Arc<Topic>, publication: Publication<'_>) -> Result<Admitted, Denied> {
        let Publication { data, key, idempotency_key, skip } = publication;
        let data = match &self.hooks {
            Some(hooks) => self.with_client(|client| hooks.publish(client, topic.name(), data))?,
            None => data,
        };
        let limit = self.broker.registry().options().message_bytes_max;
        let bytes = data.bytes().len();
        if bytes > limit {
            return Err(Denied::new(
                ErrorCode::TooLarge,
                format!("data of {bytes} bytes is larger than the limit of {limit}"),
            ));
        }
        let now_ms = self.broker.now_ms();
        // One scope for each subject, and one for all who have none.
        let scope = self.subject().map_or("", |subject| subject);
        let from = self.subject().filter(|_| topic.says_from());
        let message =
            Message::new(topic.name().len(), data, skip, now_ms).about(key).by(from).marked(scope, idempotency_key);
        let message = Arc::new(message);
        match self.broker.registry().publish(topic, message, now_ms) {
            Ok(placed) => Ok(Admitted::Placed(placed)),
            Err(Refused::Full(topic, message)) => Ok(Admitted::Full(topic, message)),
            Err(Refused::TooManyTopics) => Err(TooManyTopics.into()),
        }
    }

    /// How many get what has been published, but for `skip`.
    pub(crate) async fn receivers(&self, placed: &Placed, skip: Option<ConnectionId>) -> u64 {
        placed.topic.receivers(skip).await
    }

    /// Publishes as soon as there is room.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message has not been published.
    pub(crate) async fn publish_when_room(&self, topic: Arc<Topic>, message: Arc<Message>) -> Result<Placed, Denied> {
        let placed = self.broker.registry().publish_when_room(topic, message, || self.broker.now_ms()).await?;
        Ok(placed)
    }
}

impl Denied {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Denied { code, message: message.into(), retry_after_ms: None }
    }

    /// Nothing was shown, and it takes something.
    pub(crate) fn stranger() -> Self {
        Denied::new(ErrorCode::Unauthorized, "credentials are needed")
    }

    /// There has been no room for too long.
    pub(crate) fn overloaded(message: &'static str) -> Self {
        Denied { retry_after_ms: Some(RETRY_MS), ..Denied::new(ErrorCode::Overloaded, message) }
    }
}

impl From<Excess> for Denied {
    fn from(excess: Excess) -> Self {
        let retry_after_ms = Some(excess.retry_after_ms);
        Denied { retry_after_ms, ..Denied::new(ErrorCode::RateLimited, excess.limit.message()) }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl From<TooManyTopics> for Denied {
    fn from(_: TooManyTopics) -> Self {
        Denied::overloaded("as many topics as the server may hold")
    }
}
