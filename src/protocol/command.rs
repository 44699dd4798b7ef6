//! Commands of clients, as decoded: borrowed from the frame they came in.
//!
//! Decoding settles the form of an envelope and checks `data` in full. Topics stay text as it was
//! sent, so that each item of a list gets its own answer.

use std::borrow::Cow;

use super::items::ItemList;
use super::{Epoch, ErrorCode, Filter};

/// What a client calls a command, echoed in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// An integer, at most 2^53 - 1, which every client can hold.
    Int(u64),
    /// A string of at most 64 bytes.
    Str(Cow<'a, str>),
}

impl Id<'_> {
    /// The same id, borrowed from nothing.
    #[must_use]
    pub fn into_owned(self) -> Id<'static> {
        match self {
            Id::Int(value) => Id::Int(value),
            Id::Str(text) => Id::Str(Cow::Owned(text.into_owned())),
        }
    }
}

/// One well-formed command.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// What the client calls it.
    pub id: Option<Id<'a>>,
    /// Its place in a batch, if it has no id to be told by.
    pub index: Option<u32>,
    /// What it asks for.
    pub command: Command<'a>,
}

/// A command that cannot be carried out as it stands: all that its `error` event needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What the client calls the command, if that could be read.
    pub id: Option<Id<'a>>,
    /// Its place in a batch, if it has no id to be told by.
    pub index: Option<u32>,
    /// The topic as it was sent, cut to 255 bytes.
    pub topic: Option<Cow<'a, str>>,
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: Cow<'static, str>,
    /// Whether it counts towards the malformed commands in a row that close a connection.
    pub malformed: bool,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// Follow topics.
    Subscribe(Subscribe<'a>),
    /// Follow them no longer.
    Unsubscribe(Unsubscribe<'a>),
    /// Send a message to a topic.
    Publish(Publish<'a>),
    /// Ask who is in a topic.
    Presence(Presence<'a>),
    /// Ask for earlier messages.
    History(History<'a>),
    /// Show credentials.
    Auth(Auth<'a>),
    /// Take an earlier connection's place.
    Resume(Resume<'a>),
    /// Ask for a sign of life.
    Ping,
}

/// Follow topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe<'a> {
    /// What to follow; at least one.
    pub items: Items<'a>,
    /// Join as a member and get changes.
    pub presence: bool,
    /// What the client says of itself: a checked value in the encoding of the command.
    pub member: Option<&'a [u8]>,
    /// At most so many messages a second of each topic, 1 to 1,000.
    pub max_rate: Option<u64>,
    /// Whether it came as `topics` rather than `topic`.
    pub list: bool,
}

impl Subscribe<'_> {
    /// Settles one of its items.
    ///
    /// # Errors
    ///
    /// [`ItemRefusal`] if the topic breaks the grammar, `since` and `last` come together, or any of
    /// these, `max_rate` or `presence` comes with a pattern.
    pub fn filter(&self, item: &Item<'_>) -> Result<Filter, ItemRefusal> {
        let bad_request =
            |message: &'static str| Err(ItemRefusal { code: ErrorCode::BadRequest, message: Cow::Borrowed(message) });
        let filter = Filter::parse(&item.topic)
            .map_err(|error| ItemRefusal { code: ErrorCode::BadTopic, message: Cow::Owned(error.to_string()) })?;
        if item.since.is_some() && item.last.is_some() {
            return bad_request("`since` and `last` exclude each other");
        }
        if matches!(filter, Filter::Pattern(_)) {
            if item.since.is_some() || item.last.is_some() {
                return bad_request("`since` and `last` need a topic, not a pattern");
            }
            if self.max_rate.is_some() {
                return bad_request("`max_rate` needs a topic, not a pattern");
            }
            if self.presence {
                return bad_request("`presence` needs a topic, not a pattern");
            }
        }
        Ok(filter)
    }
}

/// Why one item of a `subscribe` is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRefusal {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: Cow<'static, str>,
}

/// Follow topics no longer.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsubscribe<'a> {
    /// What was subscribed; at least one. Positions beside the topics mean nothing here.
    pub items: Items<'a>,
    /// Whether it came as `topics` rather than `topic`.
    pub list: bool,
}

/// The topics of a command, read from the frame as they are asked for: a long list costs no memory.
#[derive(Debug, Clone)]
pub struct Items<'a>(pub(super) ItemsKind<'a>);

#[derive(Debug, Clone)]
pub(super) enum ItemsKind<'a> {
    One(Option<Item<'a>>),
    List(ItemList<'a>),
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            ItemsKind::One(item) => item.take(),
            ItemsKind::List(list) => list.next(),
        }
    }
}

impl PartialEq for Items<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clone().eq(other.clone())
    }
}

/// One topic or pattern of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// As it was sent.
    pub topic: Cow<'a, str>,
    /// Replay everything after this position.
    pub since: Option<Since>,
    /// Replay this many of the newest.
    pub last: Option<u64>,
}

/// A position that a client remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// `None` if the text sent cannot name an epoch: then it is none of ours either.
    pub epoch: Option<Epoch>,
    /// The last message seen.
    pub offset: u64,
}

/// Send a message to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// As it was sent.
    pub topic: Cow<'a, str>,
    /// The exact bytes of the value, checked in full.
    pub data: &'a [u8],
    /// Whether the sender gets it as well, if it follows the topic.
    pub echo: bool,
    /// What the message is about.
    pub key: Option<Cow<'a, str>>,
    /// What makes a repeated publish the same one; at most 64 bytes.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Whether the answer is to say how many it is for.
    pub receivers: bool,
}

/// Ask who is in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence<'a> {
    /// As it was sent.
    pub topic: Cow<'a, str>,
}

/// Ask for earlier messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<'a> {
    /// As it was sent.
    pub topic: Cow<'a, str>,
    /// The first after this position, instead of the newest.
    pub since: Option<Since>,
    /// How many.
    pub limit: Option<u64>,
}

/// Show credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The token; a secret.
    pub token: Cow<'a, str>,
}

/// Take an earlier connection's place.
#[derive(Clone, PartialEq, Eq)]
pub struct Resume<'a> {
    /// From its `welcome`; a secret.
    pub secret: Cow<'a, str>,
}

// By hand, so that no log line ever holds a secret.
impl std::fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Resume<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume").finish_non_exhaustive()
    }
}

/// The body of `POST /v1/publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishBody<'a> {
    /// One message.
    One(Publish<'a>),
    /// A list of messages, each with its own outcome.
    Many(Vec<Result<Publish<'a>, Refusal<'a>>>),
}
