//! One topic: its ring, and the receivers that follow it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use once_cell::race::OnceBox;
use tokio::sync::Notify;

use super::inbox::{Follower, Inbox};
use super::message::{ConnectionId, Message};
use super::options::{Overflow, TopicOptions};
use super::presence::Presence;
use crate::protocol::{Epoch, TopicName};
use crate::ring::{PushError, Pushed, Retention, Ring, Seq};

/// How many entries publishers may run ahead of the slowest shard, at least: the fan-out window,
/// whatever is retained.
pub(crate) const WINDOW_ENTRIES_MIN: usize = 64;

/// A named stream of messages whose offsets rise by one.
#[derive(Debug)]
pub(crate) struct Topic {
    name: TopicName,
    epoch: Epoch,
    ring: Ring<Message>,
    /// The receivers: one per shard with subscribers here, one per in-process subscription. `None`
    /// when there are none, so that a topic nobody follows costs a null pointer.
    followers: ArcSwapOption<Vec<Arc<Follower>>>,
    /// Guards changes to `followers`, and holds whether the topic has been closed.
    closed: Mutex<bool>,
    /// Connections and in-process subscriptions that follow this very name.
    subscribers: AtomicU32,
    /// Publishers that wait for room.
    waiting: AtomicU32,
    /// How far publishers may run ahead of the slowest shard.
    window: u64,
    room: Notify,
    /// When it was last published to or left, in the broker's milliseconds.
    touched_ms: AtomicU64,
    overflow: Overflow,
    /// Whether messages say when they were published, and by whom.
    says_at: bool,
    says_from: bool,
    /// Its members, since somebody became one.
    presence: OnceBox<Presence>,
    /// What the broker's further frames of its messages weigh, see [`Registry`](super::registry::Registry).
    frame_bytes: Arc<AtomicUsize>,
    /// What a store has written of it, see [`stored`](Self::stored).
    stored: AtomicU64,
}

/// What makes a receiver follow a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscriber {
    OfName,
    OfPattern,
}

/// How a topic counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbering {
    pub(super) epoch: Epoch,
    /// The place of its first message to come.
    pub(super) first: Seq,
}

/// The topic was removed while the caller held on to it; a new one can be had from the registry.
#[derive(Debug)]
pub(crate) struct Closed;

impl Topic {
    pub(super) fn new(
        name: TopicName,
        numbering: Numbering,
        options: TopicOptions,
        now_ms: u64,
        frame_bytes: Arc<AtomicUsize>,
    ) -> Self {
        let retention = Retention::from(options.history);
        let window = retention.entries_max.max(WINDOW_ENTRIES_MIN);
        Topic {
            name,
            epoch: numbering.epoch,
            ring: Ring::beginning_at(numbering.first, retention, window),
            followers: ArcSwapOption::empty(),
            closed: Mutex::new(false),
            subscribers: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            window: window as u64,
            room: Notify::new(),
            touched_ms: AtomicU64::new(now_ms),
            overflow: options.overflow,
            says_at: options.at,
            says_from: options.from,
            presence: OnceBox::new(),
            frame_bytes,
            stored: AtomicU64::new(0),
        }
    }

    pub(crate) fn name(&self) -> &TopicName {
        &self.name
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn ring(&self) -> &Ring<Message> {
        &self.ring
    }

    pub(crate) fn presence(&self) -> &Presence {
        self.presence.get_or_init(Box::default)
    }

    /// What becomes of connections that fall behind.
    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Whether its messages say who published them.
    pub(crate) fn says_from(&self) -> bool {
        self.says_from
    }

    /// Whether its messages say when they were published.
    pub(super) fn says_at(&self) -> bool {
        self.says_at
    }

    /// About how many bytes the frame of a retained message has: their mean, plain.
    pub(crate) fn mean_frame_bytes(&self) -> u64 {
        let entries = self.ring.retained_entries().max(1);
        Message::frame_bytes(self.ring.retained_bytes() / entries, self.name.len()) as u64
    }

    pub(super) fn frame_bytes(&self) -> &Arc<AtomicUsize> {
        &self.frame_bytes
    }

    /// Says which messages a store has: the sum of the newest's and the oldest's place, neither of which goes
    /// back, so that it changes with either. 0 is none yet.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    #[cfg(feature = "store")]
    pub(super) fn set_stored(&self, stored: u64) {
        self.stored.store(stored, Ordering::Relaxed);
    }

    pub(crate) fn touched_ms(&self) -> u64 {
        self.touched_ms.load(Ordering::Relaxed)
    }

    /// Appends, then marks the topic in each receiver's inbox.
    ///
    /// # Errors
    ///
    /// The message comes back: [`PushError::Full`] when a shard has fallen behind by the fan-out
    /// window, [`PushError::Closed`] when the topic has been removed.
    pub(super) fn push(
        self: &Arc<Self>,
        message: Arc<Message>,
        now_ms: u64,
    ) -> Result<Pushed, PushError<Arc<Message>>> {
        let pushed = self.ring.push(message, || self.passed())?;
        self.touched_ms.store(now_ms, Ordering::Relaxed);
        // SeqCst fence: pairs with the one in `follow`. Either the new follower is in the list read
        // here, or it reads a `newest` that covers this entry and so begins after it.
        fence(Ordering::SeqCst);
        if let Some(followers) = &*self.followers.load() {
            for follower in followers.iter() {
                follower.mark(self);
            }
        }
        Ok(pushed)
    }

    /// Whether a shard is behind by the fan-out window.
    fn is_held_back(&self) -> bool {
        self.ring.newest().0.saturating_sub(self.passed().0) >= self.window
    }

    /// The newest entry that every receiver which holds publishers back is done with. Never goes back.
    pub(crate) fn passed(&self) -> Seq {
        // SeqCst fence: pairs with the one in `follow`. Either the new follower is in the list read
        // here, or the newest entry it begins after is no older than this one.
        let newest = self.ring.newest();
        fence(Ordering::SeqCst);
        let followers = self.followers.load();
        let holding = followers.iter().flat_map(|list| list.iter()).filter(|follower| follower.holds());
        holding.map(|follower| follower.passed()).min().unwrap_or(newest)
    }

    /// Follows the topic from its newest entry on. A receiver that follows already keeps its place.
    ///
    /// A subscriber that names the topic is counted, to be given back with [`leave`](Self::leave), and
    /// keeps the topic alive; one that follows a pattern does neither.
    pub(crate) fn follow(&self, inbox: &Arc<Inbox>, subscriber: Subscriber) -> Result<Arc<Follower>, Closed> {
        let closed = self.lock();
        if *closed {
            return Err(Closed);
        }
        if subscriber == Subscriber::OfName {
            self.subscribers.fetch_add(1, Ordering::Relaxed);
        }
        let current = self.followers.load();
        let mut list = current.as_ref().map(|list| (**list).clone()).unwrap_or_default();
        if let Some(follower) = list.iter().find(|follower| follower.belongs_to(inbox)) {
            return Ok(Arc::clone(follower));
        }
        let follower = Arc::new(Follower::new(Arc::clone(inbox)));
        // The place may only rise once publishers see it, so it is set before and corrected after.
        follower.set_passed(self.ring.newest());
        list.push(Arc::clone(&follower));
        self.followers.store(Some(Arc::new(list)));
        // SeqCst fence: see `push`.
        fence(Ordering::SeqCst);
        follower.set_passed(self.ring.newest());
        Ok(follower)
    }

    /// Ends what `follow` began. Publishers that waited for this receiver go on.
    pub(crate) fn unfollow(&self, follower: &Arc<Follower>, now_ms: u64) {
        {
            let _closed = self.lock();
            let current = self.followers.load();
            let list: Vec<_> = current
                .iter()
                .flat_map(|list| list.iter())
                .filter(|other| !Arc::ptr_eq(other, follower))
                .cloned()
                .collect();
            self.followers.store((!list.is_empty()).then(|| Arc::new(list)));
            self.touched_ms.store(now_ms, Ordering::Relaxed);
        }
        self.give_room();
    }

    /// A receiver is done with everything up to `seq`.
    pub(crate) fn pass(&self, follower: &Follower, seq: Seq) {
        follower.set_passed(seq);
        self.give_room();
    }

    fn give_room(&self) {
        // SeqCst fence: pairs with the one in `wait_for_room`. Either the publisher is counted
        // here, or its next attempt sees the new place.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.room.notify_waiters();
        }
    }

    /// Tries `attempt` until it gives a value, waiting for room in between.
    ///
    /// # Cancel safety
    ///
    /// Nothing is kept: what `attempt` holds is dropped with the future.
    pub(super) async fn wait_for_room<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let _counted = Waiting::new(&self.waiting);
        loop {
            let notified = self.room.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // SeqCst fence: pairs with the one in `give_room`.
            fence(Ordering::SeqCst);
            if let Some(value) = attempt() {
                return value;
            }
            if self.is_held_back() {
                notified.await;
            } else {
                // Evicted entries wait to be freed, and nobody says when they have been.
                tokio::task::yield_now().await;
            }
        }
    }

    /// How many get what is published now, each once: connections, of which `skip` is left out, and in-process
    /// subscriptions. The shards are asked, which answer in their next turn.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: it is only asked.
    pub(crate) async fn receivers(self: &Arc<Self>, skip: Option<ConnectionId>) -> u64 {
        let followers = self.followers.load_full();
        let mut asked = Vec::new();
        let mut count = 0;
        for follower in followers.iter().flat_map(|list| list.iter()) {
            match follower.receivers(self, skip) {
                Some(answer) => asked.push((follower, answer)),
                None => count += 1,
            }
        }
        // SeqCst fence: pairs with the one at a shard's end. Either it finds the question, and drops it, or it
        // is not in the list any more.
        fence(Ordering::SeqCst);
        let still = self.followers.load_full();
        for (follower, answer) in asked {
            if still.iter().flat_map(|list| list.iter()).any(|other| Arc::ptr_eq(other, follower)) {
                count += answer.await.unwrap_or(0);
            }
        }
        count
    }

    /// Gives back what `follow` counted for a subscriber of the name.
    pub(crate) fn leave(&self, now_ms: u64) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
        self.touched_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Connections and in-process subscriptions that follow this very name.
    pub(crate) fn subscribers(&self) -> u32 {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Closes the topic for good if nobody follows its name and nothing is retained. Receivers that
    /// follow it through a pattern find it in their inboxes once more, closed, and let go of it.
    pub(super) fn close_if_idle(self: &Arc<Self>) -> bool {
        let mut closed = self.lock();
        if !*closed {
            // The newest entry first: a publisher that comes in between keeps the topic alive. Nothing
            // retained also means that every shard has passed: what it has not is not evicted.
            let newest = self.ring.newest();
            if self.subscribers() > 0 || self.ring.retained_entries() > 0 || !self.ring.close_after(newest) {
                return false;
            }
            *closed = true;
            drop(closed);
            self.announce();
        }
        true
    }

    /// Puts the topic into the inbox of each receiver, so that they learn of its birth, its end, or of who is
    /// there.
    pub(crate) fn announce(self: &Arc<Self>) {
        if let Some(followers) = &*self.followers.load() {
            for follower in followers.iter() {
                follower.mark(self);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // What it guards is whole after every statement, so a panic elsewhere does not spoil it.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a publisher that waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
