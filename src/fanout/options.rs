//! The settings of a shard.

/// The settings of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardOptions {
    pub(crate) subscriptions_per_connection_max: usize,
    /// In how many topics a stalled connection may be behind before it is closed.
    pub(crate) behind_topics_max: usize,
    /// What all connections together may be owed, in bytes, before the worst are closed.
    pub(crate) backlog_bytes_max: usize,
    /// Frames shorter than this are not compressed.
    pub(crate) deflate_bytes_min: usize,
    /// How many members a topic may have.
    pub(crate) members_per_topic_max: usize,
    /// How long a member stays whose connection was lost.
    pub(crate) presence_grace_ms: u64,
    /// Something is sent at least this often.
    pub(crate) heartbeat_ms: u64,
    /// How long a peer may take to answer a ping.
    pub(crate) timeout_ms: u64,
    /// How long before its credentials end a client is told.
    pub(crate) expiring_ms: u64,
}

impl Default for ShardOptions {
    fn default() -> Self {
        ShardOptions {
            subscriptions_per_connection_max: 1000,
            behind_topics_max: 4096,
            // As much as all topics retain.
            backlog_bytes_max: 268_435_456,
            // Shorter ones lose a fifth at most, and take as long as one three times their length.
            deflate_bytes_min: 256,
            // At a kilobyte of what they say of themselves each: 10 MB.
            members_per_topic_max: 10_000,
            // A page that is loaded again is back within a second or two.
            presence_grace_ms: 2_000,
            heartbeat_ms: 25_000,
            timeout_ms: 20_000,
            expiring_ms: 30_000,
        }
    }
}
