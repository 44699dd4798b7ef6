//! Where a receiver learns which of its topics have something new.
//!
//! A receiver is a shard or an in-process subscription. Publishing marks a topic dirty once in each
//! receiver that follows it, whatever the number of subscribers behind that receiver, and wakes it
//! if it sleeps. No lock is taken on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_queue::SegQueue;

use super::topic::Topic;
use crate::ring::Seq;
use crate::sync::{Bell, Flag};

/// The dirty topics of one receiver, and the bell that wakes it.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// A topic is in here at most once, see [`Flag`].
    dirty: SegQueue<(Arc<Topic>, Arc<Follower>)>,
    bell: Bell,
    behind: Behind,
}

/// What happens to publishers when a receiver falls behind by the fan-out window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// They wait: a shard, which only a busy processor delays.
    HoldsPublishers,
    /// They go on, and the receiver is told what it missed: an in-process subscription.
    Misses,
}

impl Inbox {
    pub(crate) fn new(behind: Behind) -> Self {
        Inbox { dirty: SegQueue::new(), bell: Bell::default(), behind }
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// How many topics wait.
    pub(crate) fn len(&self) -> usize {
        self.dirty.len()
    }

    /// The next topic that has something new. Its flag is down again: whatever is pushed from here on
    /// puts it back.
    pub(crate) fn next(&self) -> Option<(Arc<Topic>, Arc<Follower>)> {
        let (topic, follower) = self.dirty.pop()?;
        follower.flag.lower();
        Some((topic, follower))
    }
}

/// One receiver's place at one topic.
#[derive(Debug)]
pub(crate) struct Follower {
    inbox: Arc<Inbox>,
    flag: Flag,
    /// The newest entry that the receiver is done with.
    passed: AtomicU64,
    /// The receiver's own number for the topic; only the receiver reads and writes it.
    slot: AtomicU32,
}

impl Follower {
    /// A slot number that the receiver has not given yet.
    pub(crate) const NO_SLOT: u32 = u32::MAX;

    /// The receiver has let go of the topic; whatever is still in the inbox of it is stale.
    pub(crate) const GONE: u32 = u32::MAX - 1;

    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Follower { inbox, flag: Flag::default(), passed: AtomicU64::new(0), slot: AtomicU32::new(Self::NO_SLOT) }
    }

    /// Where the receiver began: nothing up to here is meant for it.
    pub(crate) fn passed(&self) -> Seq {
        // Acquire: pairs with the Release in `set_passed`, so that a publisher which goes ahead
        // because of this value does so after the receiver has let go of the entries.
        Seq(self.passed.load(Ordering::Acquire))
    }

    pub(super) fn set_passed(&self, seq: Seq) {
        self.passed.store(seq.0, Ordering::Release);
    }

    pub(super) fn holds(&self) -> bool {
        self.inbox.behind == Behind::HoldsPublishers
    }

    pub(super) fn belongs_to(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    pub(crate) fn slot(&self) -> u32 {
        // Relaxed: written and read by the receiver alone.
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Puts `topic` into the receiver's inbox unless it is there, and wakes the receiver.
    pub(super) fn mark(self: &Arc<Self>, topic: &Arc<Topic>) {
        if self.flag.raise() {
            self.inbox.dirty.push((Arc::clone(topic), Arc::clone(self)));
            self.inbox.bell.ring();
        }
    }
}
