//! What sessions ask of their shard.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::backlogs::Backlogs;
use super::departures::Keepsake;
use super::leases::Lease;
use super::link::Link;
use super::stats::Stats;
use super::survey::Surveyed;
use super::turns::Turns;
use crate::broker::{Behind, Broker, ConnectionId, Inbox, Introduction, Topic};
use crate::protocol::{CloseCode, Filter, Id, Since};

/// The door of one shard.
///
/// Bounded by its senders: a session has at most one control lane's worth of replies and one list of
/// joins on the way, then it waits.
#[derive(Debug)]
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    /// The shard's bell, which mail rings too.
    inbox: Arc<Inbox>,
    stats: Stats,
    /// What its connections are owed, beside those of the other shards.
    backlogs: Backlogs,
    /// In which its connections go on that have much to do.
    turns: Turns,
    /// The shard's clock in ticks, for sessions to note when a peer was heard.
    tick: AtomicU32,
    /// Whether a shard reads this.
    served: AtomicBool,
    /// Everybody is to leave, spread over so many milliseconds; `NO_DRAIN` in quiet times.
    drain_spread_ms: AtomicU64,
    /// Who has asked about the connections; the flag is up while there is somebody.
    asked: Mutex<Vec<oneshot::Sender<Vec<Surveyed>>>>,
    is_asked: AtomicBool,
}

const NO_DRAIN: u64 = u64::MAX;

/// One request.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(super) link: Arc<Link>,
    pub(super) what: What,
}

/// What is asked about a connection.
#[derive(Debug)]
pub(crate) enum What {
    /// It is there. These bytes, already counted in the link, are the head of the answer to its handshake, or nothing:
    /// they go out with what its session says first, and before anything else.
    Open(Vec<u8>),
    /// Finished frames for its control lane, already counted in the link.
    Lane(Vec<u8>),
    /// Subscribe from there; answered by the shard, in the lane, and counted in `Link::done`.
    Join(Filter, Terms, Asker),
    /// Unsubscribe; likewise.
    Leave(Filter, Asker),
    /// Until when it may go on as it is.
    Lease(Lease),
    /// The socket takes writes again.
    Writable,
    /// Send what is left and a close frame, then no more. With `goodbye` the event comes first.
    Close { code: CloseCode, reason: &'static str, goodbye: Option<Goodbye> },
    /// Another connection takes this one's place.
    HandOver(HandOver),
    /// It takes the place of a member of some topics. Counted in `Link::done`.
    Inherit(Option<Inheritance>),
    /// The same for the place of a connection that was lost: of that name, for the one that posts this.
    Reclaim(ConnectionId, HandOver),
    /// The session is over, forget it. What is kept lasts for as long as it may still be taken over.
    Gone(Keepsake),
}

/// A connection that takes another one's place. It is told what it inherits, nothing if this is dropped.
#[derive(Debug)]
pub(crate) struct HandOver {
    to: Arc<Link>,
    mailbox: Arc<Mailbox>,
    inherits: Option<Inheritance>,
}

/// Places in topics that belong to nobody else. Dropped, the member leaves them.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// What the member is called.
    pub(super) member: ConnectionId,
    pub(super) topics: Vec<Arc<Topic>>,
    pub(super) broker: Broker,
}

impl HandOver {
    pub(crate) fn new(to: &Arc<Link>, mailbox: &Arc<Mailbox>) -> Self {
        HandOver { to: Arc::clone(to), mailbox: Arc::clone(mailbox), inherits: None }
    }

    pub(super) fn give(mut self, inheritance: Inheritance) {
        self.inherits = Some(inheritance);
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.mailbox.post(&self.to, What::Inherit(self.inherits.take()));
    }
}

impl Inheritance {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The member is not connected any more, and may be replaced by another of the same subject.
    pub(super) fn depart(&self) {
        for topic in &self.topics {
            topic.presence().depart(self.member);
        }
    }
}

impl Drop for Inheritance {
    fn drop(&mut self) {
        for topic in std::mem::take(&mut self.topics) {
            if topic.presence().leave(self.member, self.broker.now_ms()) {
                topic.announce();
            }
        }
    }
}

/// How somebody subscribes. For a pattern there is only the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) start: Start,
    /// It becomes a member, and is told who comes and goes.
    pub(crate) member: Option<Introduction>,
    /// It gets at most so many messages a second.
    pub(crate) max_rate: Option<u16>,
}

/// Where a subscription to a name begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what is published from now on.
    #[default]
    Live,
    /// After a position, if all that follows it is held.
    Since(Since),
    /// With so many of the newest messages, as far as they are held.
    Last(u64),
}

/// Which command an answer is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    pub(crate) id: Option<Id<'static>>,
    /// The command's place in its batch, for an error about a command without `id`.
    pub(crate) index: Option<u32>,
}

/// What a `goodbye` event says beside code and reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goodbye {
    pub(crate) reconnect_ms: Option<u64>,
}

impl Mailbox {
    pub(super) fn new(backlogs: Backlogs) -> Self {
        Mailbox {
            mail: Mutex::default(),
            inbox: Arc::new(Inbox::new(Behind::HoldsPublishers)),
            stats: Stats::default(),
            backlogs,
            turns: Turns::new(1),
            tick: AtomicU32::new(0),
            served: AtomicBool::new(false),
            drain_spread_ms: AtomicU64::new(NO_DRAIN),
            asked: Mutex::default(),
            is_asked: AtomicBool::new(false),
        }
    }

    /// Asks the shard for `what`, and wakes it.
    pub(crate) fn post(&self, link: &Arc<Link>, what: What) {
        self.lock().push(Mail { link: Arc::clone(link), what });
        // SeqCst on both: either the end of the shard finds this mail, or it is seen here.
        if self.served.load(Ordering::SeqCst) {
            self.inbox.bell().ring();
        } else {
            self.break_all();
        }
    }

    /// No shard will read what is here: the connections are lost.
    pub(super) fn break_all(&self) {
        let mail = std::mem::take(&mut *self.lock());
        for Mail { link, .. } in mail {
            link.set_broken();
        }
        self.take_asked();
    }

    /// The queue of connections that have had their turn.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The shard's clock.
    pub(crate) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// So many compressed messages have been received.
    pub(crate) fn add_inflated(&self, count: u64) {
        self.stats.inflated.fetch_add(count, Ordering::Relaxed);
    }

    /// A message, a batch or a label in one has been too large.
    pub(crate) fn count_large(&self) {
        self.stats.limited_sizes.fetch_add(1, Ordering::Relaxed);
    }

    /// A publish has waited for room for as long as it may.
    pub(crate) fn count_wait(&self) {
        self.stats.limited_waits.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is not read from until it has taken its replies.
    pub(crate) fn count_lane(&self) {
        self.stats.limited_lanes.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is closed for malformed commands.
    pub(crate) fn count_malformed(&self) {
        self.stats.closed_malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Says goodbye to everybody, with return times spread evenly over `spread_ms`.
    pub(super) fn drain(&self, spread_ms: u64) {
        self.drain_spread_ms.store(spread_ms.min(NO_DRAIN - 1), Ordering::Release);
        self.inbox.bell().ring();
    }

    pub(super) fn take_drain(&self) -> Option<u64> {
        // Relaxed: a drain that is missed here has rung the bell, and is seen in the next turn.
        if self.drain_spread_ms.load(Ordering::Relaxed) == NO_DRAIN {
            return None;
        }
        Some(self.drain_spread_ms.swap(NO_DRAIN, Ordering::Acquire))
    }

    /// Notes somebody who asks about the connections, and wakes the shard.
    pub(super) fn ask(&self, answer: oneshot::Sender<Vec<Surveyed>>) {
        self.lock_asked().push(answer);
        self.is_asked.store(true, Ordering::Release);
        // SeqCst: as in `post`.
        if self.served.load(Ordering::SeqCst) {
            self.inbox.bell().ring();
        } else {
            self.take_asked();
        }
    }

    pub(super) fn take_asked(&self) -> Vec<oneshot::Sender<Vec<Surveyed>>> {
        // Relaxed: who asks and is missed here has rung the bell, and is seen in the next turn.
        if !self.is_asked.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.is_asked.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.lock_asked())
    }

    fn lock_asked(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Vec<Surveyed>>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn backlogs(&self) -> &Backlogs {
        &self.backlogs
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(super) fn set_tick(&self, tick: u32) {
        self.tick.store(tick, Ordering::Relaxed);
    }

    pub(super) fn served(&self) -> &AtomicBool {
        &self.served
    }

    /// All mail, in the order of its posting. `empty` is left in its place.
    pub(super) fn take(&self, empty: Vec<Mail>) -> Vec<Mail> {
        std::mem::replace(&mut *self.lock(), empty)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
