//! What a shard has done, counted per pass and never per delivery.

use std::sync::atomic::{AtomicU64, Ordering};

/// One shard's counters. Only the shard writes them, but for the last five.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(super) connections: Count,
    pub(super) subscriptions: Count,
    pub(super) delivered: Count,
    pub(super) delivered_bytes: Count,
    pub(super) writes: Count,
    pub(super) deflated: Count,
    pub(super) deflated_from_bytes: Count,
    pub(super) deflated_to_bytes: Count,
    pub(super) gaps: Count,
    pub(super) skipped: Count,
    pub(super) conflated: Count,
    pub(super) stalled: Count,
    pub(super) closed_slow: Count,
    pub(super) closed_silent: Count,
    pub(super) closed_expired: Count,
    pub(super) limited_subscriptions: Count,
    pub(super) limited_members: Count,
    pub(super) limited_backlogs: Count,
    /// Counted by sessions, on whatever thread they run.
    pub(super) inflated: AtomicU64,
    pub(super) limited_sizes: AtomicU64,
    pub(super) limited_waits: AtomicU64,
    pub(super) limited_lanes: AtomicU64,
    pub(super) closed_malformed: AtomicU64,
}

impl Stats {
    /// A frame of `from` bytes has been compressed to `to`.
    pub(super) fn deflated(&self, from: usize, to: usize) {
        self.deflated.add(1);
        self.deflated_from_bytes.add(from as u64);
        self.deflated_to_bytes.add(to as u64);
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        // One writer, so a load and a store lose nothing and need no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) - less, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The sum over all shards, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections that are open now.
    pub(crate) connections: u64,
    /// Subscriptions that connections hold now.
    pub(crate) subscriptions: u64,
    /// Messages handed to sockets.
    pub(crate) delivered: u64,
    /// Bytes handed to sockets, replies and frame headers included.
    pub(crate) delivered_bytes: u64,
    /// Calls that wrote.
    pub(crate) writes: u64,
    /// Frames compressed: one for each message, encoding and window in use.
    pub(crate) deflated: u64,
    /// What they were before, in bytes.
    pub(crate) deflated_from_bytes: u64,
    /// What they became.
    pub(crate) deflated_to_bytes: u64,
    /// Compressed messages received.
    pub(crate) inflated: u64,
    /// `gap` events sent.
    pub(crate) gaps: u64,
    /// Messages that gaps announced as left out.
    pub(crate) skipped: u64,
    /// Messages that gaps announced as passed over for a newer one of their key.
    pub(crate) conflated: u64,
    /// Connections now whose socket does not take all there is.
    pub(crate) stalled: u64,
    /// Connections closed because they fell behind in too many topics, or in one that does not bear it.
    pub(crate) closed_slow: u64,
    /// Connections closed because they answered no ping.
    pub(crate) closed_silent: u64,
    /// Connections closed because their credentials ended, or none came.
    pub(crate) closed_expired: u64,
    /// Subscriptions refused, their connection having as many as it may.
    pub(crate) limited_subscriptions: u64,
    /// Subscriptions refused, their topic having as many members as it may.
    pub(crate) limited_members: u64,
    /// Connections closed because all together were owed too much.
    pub(crate) limited_backlogs: u64,
    /// Messages, batches and labels refused for their size.
    pub(crate) limited_sizes: u64,
    /// Publishes refused, their topic's subscribers having been served for too long.
    pub(crate) limited_waits: u64,
    /// Times that a connection was not read from, too many of its replies having waited.
    pub(crate) limited_lanes: u64,
    /// Connections closed for malformed commands.
    pub(crate) closed_malformed: u64,
}

impl Totals {
    pub(super) fn add(&mut self, stats: &Stats) {
        self.connections += stats.connections.read();
        self.subscriptions += stats.subscriptions.read();
        self.delivered += stats.delivered.read();
        self.delivered_bytes += stats.delivered_bytes.read();
        self.writes += stats.writes.read();
        self.deflated += stats.deflated.read();
        self.deflated_from_bytes += stats.deflated_from_bytes.read();
        self.deflated_to_bytes += stats.deflated_to_bytes.read();
        self.inflated += stats.inflated.load(Ordering::Relaxed);
        self.gaps += stats.gaps.read();
        self.skipped += stats.skipped.read();
        self.conflated += stats.conflated.read();
        self.stalled += stats.stalled.read();
        self.closed_slow += stats.closed_slow.read();
        self.closed_silent += stats.closed_silent.read();
        self.closed_expired += stats.closed_expired.read();
        self.limited_subscriptions += stats.limited_subscriptions.read();
        self.limited_members += stats.limited_members.read();
        self.limited_backlogs += stats.limited_backlogs.read();
        self.limited_sizes += stats.limited_sizes.load(Ordering::Relaxed);
        self.limited_waits += stats.limited_waits.load(Ordering::Relaxed);
        self.limited_lanes += stats.limited_lanes.load(Ordering::Relaxed);
        self.closed_malformed += stats.closed_malformed.load(Ordering::Relaxed);
    }
}
