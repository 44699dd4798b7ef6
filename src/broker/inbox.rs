//! Where a receiver learns which of its topics have something new.
//!
//! A receiver is a shard or an in-process subscription. Publishing marks a topic dirty once in each
//! receiver that follows it, whatever the number of subscribers behind that receiver, and wakes it
//! if it sleeps. No lock is taken on the way.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_queue::SegQueue;
use tokio::sync::oneshot;

use super::message::ConnectionId;
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
    /// What publishers ask; the flag is up while there is something.
    questions: Mutex<Vec<Question>>,
    is_asked: AtomicBool,
}

/// How many connections of the receiver get what is published to a topic?
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) topic: Arc<Topic>,
    pub(crate) follower: Arc<Follower>,
    /// The publisher, if it does not.
    pub(crate) skip: Option<ConnectionId>,
    pub(crate) answer: oneshot::Sender<u64>,
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
        let (questions, is_asked) = (Mutex::default(), AtomicBool::new(false));
        Inbox { dirty: SegQueue::new(), bell: Bell::default(), behind, questions, is_asked }
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

impl Inbox {
    fn ask(&self, question: Question) {
        self.lock().push(question);
        self.is_asked.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// What has been asked. Dropped unanswered, it counts as nobody.
    pub(crate) fn take_questions(&self) -> Vec<Question> {
        // Relaxed: who asks and is missed here has rung the bell, and is seen in the next turn.
        if !self.is_asked.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.is_asked.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Question>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// How many connections of the receiver get what is published to `topic`, if it has to be asked: an
    /// in-process subscription is one.
    pub(super) fn receivers(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        skip: Option<ConnectionId>,
    ) -> Option<oneshot::Receiver<u64>> {
        if !self.holds() {
            return None;
        }
        let (answer, asked) = oneshot::channel();
        self.inbox.ask(Question { topic: Arc::clone(topic), follower: Arc::clone(self), skip, answer });
        Some(asked)
    }

    /// Puts `topic` into the receiver's inbox unless it is there, and wakes the receiver.
    pub(super) fn mark(self: &Arc<Self>, topic: &Arc<Topic>) {
        if self.flag.raise() {
            self.inbox.dirty.push((Arc::clone(topic), Arc::clone(self)));
            self.inbox.bell.ring();
        }
    }
}
