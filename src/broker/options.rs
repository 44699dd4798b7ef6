//! What a broker is built with: how long topics remember, and how much it may hold in all.

use crate::protocol::Pattern;
use crate::ring::Retention;

/// How much of a topic's past is kept: whichever bound is reached first ends an entry's stay.
///
/// Trades memory for how far a slow or returning subscriber can catch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Messages per topic. The default is 256.
    pub entries: usize,
    /// Bytes per topic, counting each message with its payload, one rendered frame and the
    /// bookkeeping. The default is 256 KiB.
    pub bytes: usize,
    /// Milliseconds since the message was published. The default is five minutes: a reload, a tunnel
    /// or a restart of the client is over by then.
    pub age_ms: u64,
}

impl Default for History {
    fn default() -> Self {
        History { entries: 256, bytes: 256 * 1024, age_ms: 300_000 }
    }
}

impl From<History> for Retention {
    fn from(history: History) -> Self {
        Retention { entries_max: history.entries, bytes_max: history.bytes, age_ms_max: history.age_ms }
    }
}

/// What becomes of a subscriber that falls behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It gets all that is still held, and a `gap` for what is not.
    #[default]
    Gap,
    /// Of what it missed it gets the newest message of each `key`, and those without a key; a `gap` with
    /// the reason `latest` stands for the others. For state that replaces itself: prices, positions.
    Latest,
    /// It gets all that is still held; once something is not, its connection is closed with 4008. For
    /// those who have to recover rather than go on.
    Disconnect,
}

/// What is different for the topics that a pattern matches.
#[derive(Clone, Debug)]
pub struct TopicRule {
    /// Which topics, as a subscription would name them.
    pub pattern: TopicFilter,
    /// What they keep.
    pub history: History,
    /// What becomes of subscribers that fall behind.
    pub overflow: Overflow,
    /// Whether their messages say when they were published (`at`).
    pub at: bool,
    /// Whether their messages say who published them (`from`), where that is proven.
    pub from: bool,
}

impl TopicRule {
    /// A rule that changes nothing, to be filled in.
    pub fn new(pattern: TopicFilter) -> Self {
        TopicRule { pattern, history: History::default(), overflow: Overflow::default(), at: false, from: false }
    }
}

/// A topic's name or a pattern of names, checked.
#[derive(Clone, Debug)]
pub struct TopicFilter(pub(crate) crate::protocol::Filter);

impl TopicFilter {
    /// Checks `text` against the grammar of names and patterns.
    ///
    /// # Errors
    ///
    /// [`TopicError`](crate::protocol::TopicError) says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, crate::protocol::TopicError> {
        crate::protocol::Filter::parse(text).map(TopicFilter)
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        match &self.0 {
            crate::protocol::Filter::Topic(name) => &**name == topic,
            crate::protocol::Filter::Pattern(pattern) => Pattern::matches(pattern, topic),
        }
    }
}

/// What holds for one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicOptions {
    pub(super) history: History,
    pub(super) overflow: Overflow,
    pub(super) at: bool,
    pub(super) from: bool,
}

/// What the whole broker is bounded by.
#[derive(Clone, Debug)]
pub(crate) struct BrokerOptions {
    pub(crate) history: History,
    /// The first that matches a topic's name decides.
    pub(crate) rules: Vec<TopicRule>,
    pub(crate) topics_max: usize,
    pub(crate) retained_bytes_max: usize,
    pub(crate) linger_ms: u64,
    pub(crate) message_bytes_max: usize,
    /// How many marked publishes are remembered, and for how long.
    pub(crate) idempotency_keys_max: usize,
    pub(crate) idempotency_ms: u64,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        BrokerOptions {
            history: History::default(),
            rules: Vec::new(),
            // An empty topic costs a few hundred bytes: a million of them stay under half a gigabyte.
            topics_max: 1_000_000,
            retained_bytes_max: 256 * 1024 * 1024,
            // Long enough for a reconnecting client to find its topic as it left it.
            linger_ms: 60_000,
            message_bytes_max: 64 * 1024,
            // Some 200 bytes each: 20 MB at most.
            idempotency_keys_max: 100_000,
            // A backend that has not repeated itself by then has given up.
            idempotency_ms: 300_000,
        }
    }
}

impl BrokerOptions {
    pub(super) fn of_topic(&self, topic: &str) -> TopicOptions {
        match self.rules.iter().find(|rule| rule.pattern.matches(topic)) {
            Some(&TopicRule { history, overflow, at, from, .. }) => TopicOptions { history, overflow, at, from },
            None => TopicOptions { history: self.history, overflow: Overflow::default(), at: false, from: false },
        }
    }
}
