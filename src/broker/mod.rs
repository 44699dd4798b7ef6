//! The broker: topics, what they remember, and who is told.
//!
//! Knows no socket and no runtime, and below the [`Broker`] handle, which has a [`clock`], no time either: `now` is an
//! argument. Receivers (shards, in-process subscriptions) follow topics; how a shard serves a
//! thousand connections is its own business.

mod clock;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handle;
mod history;
mod inbox;
mod message;
mod options;
#[cfg(any(test, fuzzing))]
mod oracle;
mod pattern_tree;
mod presence;
mod registry;
mod repeats;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

pub(crate) use form::Form;
pub use handle::{Broker, Builder, HistoryError, PublishError, PublishOptions, Published, Publisher, TryPublishError};
pub(crate) use history::Found;
pub(crate) use inbox::{Behind, Follower, Inbox, Question};
pub(crate) use message::{ConnectionId, Made, Message};
pub use options::{History, Overflow, TopicFilter, TopicRule};
pub(crate) use pattern_tree::PatternTree;
pub(crate) use presence::{Diff, Introduction, Snapshot, TooManyMembers};
#[cfg(feature = "store")]
pub(crate) use registry::Remembered;
pub(crate) use registry::{Placed, Refused, TooManyTopics};
#[cfg(feature = "store")]
pub(crate) use repeats::Mark;
pub use subscription::{Delivery, Gap, Received, SubscribeError, Subscription, Typed, TypedDelivery};
pub(crate) use topic::{Subscriber, Topic};
