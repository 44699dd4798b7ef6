//! The broadcast ring: many publishers, few readers, each reader no more than a position.
//!
//! One structure is the channel, the window that slow readers catch up from, and the history that new
//! ones recover from. It promises that
//!
//! - sequence numbers rise by one, and each names one entry for ever;
//! - a reader gets every entry from its position on, or learns how many it missed;
//! - no publisher and no reader waits for another that was preempted, wherever that happened;
//! - publishers never run further ahead of the readers that hold them back than the window, and what
//!   those have not passed is not evicted;
//! - memory follows what is retained.
//!
//! Not a circular array but a chain of segments ([`chain`]). A circular array of slots with retention by
//! bytes or age would have to empty slots, and a publisher that slept since before would find its slot
//! empty, place its entry and use a sequence number twice.
//!
//! Publishing is: read `tail`, put the entry in the slot of that number if the slot is empty, move `tail`.
//! The middle step is the one that counts. Whoever finds the slot taken moves `tail` on behalf of the
//! other, so that a publisher stopped between the two steps holds nobody up.

mod chain;
mod cursor;
#[cfg(not(loom))]
pub mod reclaim;
#[cfg(loom)]
#[path = "models/reclaim.rs"]
pub mod reclaim;

#[cfg(all(test, loom))]
mod models;
#[cfg(any(test, fuzzing))]
pub mod oracle;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use self::chain::{Chain, Refused, Seen};
pub use self::cursor::Cursor;
use self::reclaim::Guard;
use crate::sync::ordering::{TAIL_LOOK, TAIL_MOVE};
use crate::sync::{AtomicU64, AtomicUsize};

/// Publishers may run ahead by at least this much, whatever is asked for.
const WINDOW_MIN: u64 = 64;

/// Slots of the first segment: a topic that has seen one message holds few.
const FIRST_SLOTS: usize = 4;

/// Bounds of the largest segment's slots: a quarter of what is retained, so that at most about that much more
/// than what is retained is held, but no fewer and no more than these.
const SEGMENT_SLOTS_MIN: usize = 16;
const SEGMENT_SLOTS_MAX: usize = 1024;

/// What a ring holds.
pub trait Entry: Send + Sync + 'static {
    /// What it counts against the bounds in bytes. Must not change.
    fn weight(&self) -> usize;

    /// When it was published, in milliseconds of whatever clock the publishers share.
    fn at_ms(&self) -> u64;
}

/// The place of an entry in its ring. The first entry is `Seq(1)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Beyond every entry.
    pub const MAX: Self = Self(u64::MAX);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a ring keeps of what its readers have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries.
    pub entries_max: usize,
    /// Their weight in all.
    pub bytes_max: usize,
    /// Their age.
    pub age_ms_max: u64,
}

/// Where an entry was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its place.
    pub seq: Seq,
    /// The weight of the entries that had to go for it.
    pub evicted_bytes: usize,
}

/// Why an entry was not placed. It comes back.
#[derive(Error, PartialEq, Eq)]
pub enum PushError<E> {
    /// The readers that hold publishers back are a whole window behind, or too much that has left rings
    /// waits to be freed (which passes by itself: nobody is told when).
    #[error("the ring is full")]
    Full(E),
    /// The ring was closed.
    #[error("the ring is closed")]
    Closed(E),
}

impl<E> fmt::Debug for PushError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

/// Entries left the ring before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("missed {missed} entries")]
pub struct Lagged {
    /// How many.
    pub missed: u64,
    /// Where to read on: the oldest entry that is still held, or the next to come.
    pub resume: Seq,
}

/// A bounded broadcast channel without locks.
///
/// Invariants, at every moment:
///
/// - `1 <= head <= tail`; the slots before `tail` are not empty, the one at `tail` may be filled
///   already, all later ones are empty
/// - the slots before `head` are tombstones, or about to be made so by the one who moved `head`
pub struct Ring<T: Entry> {
    ends: Ends,
    chain: Chain<T>,
    retention: Retention,
    window: u64,
}

/// What every publish writes: on a cache line of its own, so that readers, who need the chain, do not have
/// to wait for it.
#[repr(align(64))]
struct Ends {
    /// The next place to fill.
    tail: AtomicU64,
    /// The oldest place that is retained.
    head: AtomicU64,
    /// The weight of what is retained, once all publishers that are at work have come to count. Wraps below
    /// zero for a moment when an entry goes before its publisher has counted it.
    bytes: AtomicUsize,
}

impl<T: Entry> Ring<T> {
    /// Makes an empty ring. Publishers may run `window` entries (at least 64) ahead of the slowest
    /// reader that holds them back.
    pub fn new(retention: Retention, window: usize) -> Self {
        Self::beginning_at(Seq(1), retention, window)
    }

    /// As [`Ring::new`], with `first` for the place of the first entry: a ring that goes on where another
    /// one, of which something is known, has ended.
    pub fn beginning_at(first: Seq, retention: Retention, window: usize) -> Self {
        let slots_max = (retention.entries_max / 4).clamp(SEGMENT_SLOTS_MIN, SEGMENT_SLOTS_MAX);
        Self::with_slots(first, retention, (window as u64).max(WINDOW_MIN), FIRST_SLOTS..=slots_max)
    }

    /// As [`Ring::new`], with the window and the segments' first and last size as they are given.
    #[cfg(any(test, fuzzing))]
    fn with_window(retention: Retention, window: u64, slots: RangeInclusive<usize>) -> Self {
        Self::with_slots(Seq(1), retention, window, slots)
    }

    fn with_slots(first: Seq, retention: Retention, window: u64, slots: RangeInclusive<usize>) -> Self {
        let first = first.max(Seq(1));
        Self {
            ends: Ends { tail: AtomicU64::new(first.0), head: AtomicU64::new(first.0), bytes: AtomicUsize::new(0) },
            chain: Chain::new(first, slots),
            retention,
            window,
        }
    }

    /// The newest entry's place, or the one before the first to come; `Seq(0)` if there never was one.
    pub fn newest(&self) -> Seq {
        let guard = reclaim::pin();
        loop {
            let tail = Seq(self.ends.tail.load(TAIL_LOOK));
            // The entry at `tail` is there for readers although its publisher has not come to say so.
            match self.look_newest(tail, &guard) {
                Some(Seen::Held(_) | Seen::Buried) => self.advance(tail),
                Some(Seen::Empty | Seen::Closed) | None => return Seq(tail.0 - 1),
            }
        }
    }

    /// The oldest retained entry's place; the one after the newest if nothing is retained.
    pub fn oldest(&self) -> Seq {
        Seq(self.ends.head.load(Relaxed))
    }

    /// How many entries are retained.
    pub fn retained_entries(&self) -> usize {
        let head = self.ends.head.load(Relaxed);
        let tail = self.ends.tail.load(Relaxed);
        usize::try_from(tail.saturating_sub(head)).unwrap_or(usize::MAX)
    }

    /// What the retained entries weigh.
    pub fn retained_bytes(&self) -> usize {
        self.bytes_with(0)
    }

    /// Places an entry after all others, and evicts what retention then no longer covers (the entry's
    /// own time is taken as now).
    ///
    /// `passed` tells the newest place that every reader who holds publishers back has passed, and
    /// [`Seq::MAX`] when there is none. It must never go back. It is asked before every attempt, so
    /// that also of several publishers none gets further ahead than the window.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] and [`PushError::Closed`], with the entry.
    pub fn push(&self, entry: Arc<T>, passed: impl Fn() -> Seq) -> Result<Pushed, PushError<Arc<T>>> {
        if !reclaim::has_room() {
            return Err(PushError::Full(entry));
        }
        let (weight, now_ms) = (entry.weight(), entry.at_ms());
        let guard = reclaim::pin();
        let mut entry = entry;
        loop {
            let seq = Seq(self.ends.tail.load(TAIL_LOOK));
            // Stays true until the entry is placed, as `passed` never goes back.
            let passed = passed();
            if seq.0.saturating_sub(passed.0) > self.window {
                return Err(PushError::Full(entry));
            }
            let Some(slot) = self.chain.reach(seq, &guard) else {
                continue;
            };
            match slot.place(entry) {
                Ok(()) => {
                    self.advance(seq);
                    let evicted_bytes = self.evict_uncovered(now_ms, passed, weight, &guard);
                    return Ok(Pushed { seq, evicted_bytes });
                }
                Err(Refused::Taken(back)) => {
                    self.advance(seq);
                    entry = back;
                }
                Err(Refused::Closed(back)) => return Err(PushError::Closed(back)),
            }
        }
    }

    /// Evicts what retention no longer covers at `now_ms`, of the entries up to `passed`. Returns what
    /// they weighed.
    ///
    /// While several threads evict, a few more entries may go than had to, never one beyond `passed`.
    pub fn evict(&self, now_ms: u64, passed: Seq) -> usize {
        self.evict_uncovered(now_ms, passed, 0, &reclaim::pin())
    }

    /// Evicts the oldest of the entries up to `passed` until the rest weighs no more than `bytes_max`;
    /// with 0 all of them. Returns what they weighed.
    pub fn shrink(&self, bytes_max: usize, passed: Seq) -> usize {
        self.evict_while(passed, 0, &reclaim::pin(), |_, _, bytes| bytes > bytes_max || bytes_max == 0)
    }

    /// Hands the entries from `from` on to `take`, in order, until there is none or `take` breaks.
    /// Returns the position after the last one handed out.
    ///
    /// What has left the ring cannot be freed while this runs: `take` should be brief.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when the entry at `from` has left the ring; then none was handed out. If entries leave
    /// while they are being read, this returns what was reached, and the next call reports it.
    pub fn read(&self, from: Seq, mut take: impl FnMut(Seq, &Arc<T>) -> ControlFlow<()>) -> Result<Seq, Lagged> {
        let guard = reclaim::pin();
        let from = from.max(Seq(1));
        let Some(mut walk) = self.chain.walk(from, &guard) else {
            return Err(self.lagged(from));
        };
        let mut at = from;
        while let Some(slot) = walk.slot(at) {
            match slot.look(&guard) {
                Seen::Held(entry) => {
                    let flow = take(at, &entry);
                    at = at.next();
                    if flow.is_break() {
                        break;
                    }
                }
                Seen::Buried if at == from => return Err(self.lagged(from)),
                Seen::Empty | Seen::Closed | Seen::Buried => break,
            }
        }
        Ok(at)
    }

    /// Closes the ring: nothing can be pushed any more, what is in it can still be read. True if it was
    /// this call that closed it; false if an entry was placed meanwhile, or it was closed already.
    pub fn close(&self) -> bool {
        self.close_after(self.newest())
    }

    /// Closes the ring if `newest` is still the newest entry; see [`Ring::close`].
    pub fn close_after(&self, newest: Seq) -> bool {
        let guard = reclaim::pin();
        let seq = newest.next();
        seq.0 == self.ends.tail.load(TAIL_LOOK) && self.chain.reach(seq, &guard).is_some_and(chain::Slot::close)
    }

    /// Whether the ring was closed.
    pub fn is_closed(&self) -> bool {
        let guard = reclaim::pin();
        loop {
            let tail = Seq(self.ends.tail.load(TAIL_LOOK));
            match self.look_newest(tail, &guard) {
                Some(Seen::Closed) => return true,
                Some(Seen::Empty) | None => return false,
                Some(Seen::Held(_) | Seen::Buried) => self.advance(tail),
            }
        }
    }

    /// What the slot at `tail` holds, if there is such a slot yet.
    fn look_newest<'g>(&self, tail: Seq, guard: &'g Guard) -> Option<Seen<'g, T>> {
        // When the chain has left `tail` behind it is out of date, as is a tombstone.
        let Some(mut walk) = self.chain.walk(tail, guard) else {
            return Some(Seen::Buried);
        };
        walk.slot(tail).map(|slot| slot.look(guard))
    }

    /// Moves `tail` past a slot that was found filled, whoever filled it.
    fn advance(&self, filled: Seq) {
        // A failure means that somebody else has moved it.
        let _ = self.ends.tail.compare_exchange(filled.0, filled.next().0, TAIL_MOVE, Relaxed);
    }

    fn bytes_with(&self, uncounted: usize) -> usize {
        let bytes = self.ends.bytes.load(Relaxed).wrapping_add(uncounted);
        if bytes > isize::MAX as usize { 0 } else { bytes }
    }

    /// Adds to the weight of what is retained; a weight taken away is a wrapped negative.
    fn count(&self, bytes: usize) {
        if bytes != 0 {
            self.ends.bytes.fetch_add(bytes, Relaxed);
        }
    }

    fn lagged(&self, from: Seq) -> Lagged {
        // The tombstone or the chain that told us has shown us the `head` that came before it.
        let resume = Seq(self.ends.head.load(Relaxed));
        debug_assert!(resume > from, "what has gone lies before head");
        Lagged { missed: resume.0.saturating_sub(from.0), resume: resume.max(from) }
    }

    fn evict_uncovered(&self, now_ms: u64, passed: Seq, placed_bytes: usize, guard: &Guard) -> usize {
        let Retention { entries_max, bytes_max, age_ms_max } = self.retention;
        self.evict_while(passed, placed_bytes, guard, |entry, entries, bytes| {
            entries > entries_max as u64 || bytes > bytes_max || now_ms.saturating_sub(entry.at_ms()) > age_ms_max
        })
    }

    /// Evicts the oldest entry, up to `passed`, as long as `over` says so of it, of the number of entries
    /// and of their weight. Counts `placed_bytes` as well, which the caller has placed.
    fn evict_while(
        &self,
        passed: Seq,
        placed_bytes: usize,
        guard: &Guard,
        over: impl Fn(&T, u64, usize) -> bool,
    ) -> usize {
        let mut evicted_bytes = 0;
        // What came and what went, still to be counted: nothing, if one entry takes the place of its like.
        let mut uncounted = placed_bytes;
        let tail = loop {
            let head = Seq(self.ends.head.load(Relaxed));
            let tail = self.ends.tail.load(TAIL_LOOK);
            if head > passed || head.0 >= tail {
                break tail;
            }
            let Some(mut walk) = self.chain.walk_from_first(head, guard) else {
                continue; // Others have moved `head`, and the chain after it.
            };
            let Some(slot) = walk.slot(head) else {
                debug_assert!(false, "a slot before tail exists");
                break tail;
            };
            let entry = match slot.look(guard) {
                Seen::Held(entry) => entry,
                Seen::Buried => continue, // Others have moved `head`.
                Seen::Empty | Seen::Closed => {
                    debug_assert!(false, "a slot before tail holds or held an entry");
                    break tail;
                }
            };
            if !over(&entry, tail - head.0, self.bytes_with(uncounted)) {
                break tail;
            }
            let weight = entry.weight();
            // The claim: of all who want this entry gone, one moves `head` past it and must bury it. It
            // needs no ordering, as nothing is read on the strength of `head` alone.
            let claim = self.ends.head.compare_exchange(head.0, head.next().0, Relaxed, Relaxed);
            if claim.is_ok() {
                slot.bury(weight, guard);
                evicted_bytes += weight;
                // At once: another evictor that still counts the entry would evict one more in its place.
                self.count(uncounted.wrapping_sub(weight));
                uncounted = 0;
            }
        };
        self.count(uncounted);
        // No further than the `tail` we have seen: the chain hands it on to publishers, who would find
        // their `tail` out of date again and again.
        let head = self.ends.head.load(Relaxed).min(tail);
        self.chain.trim(Seq(head), guard);
        evicted_bytes
    }
}

impl<T: Entry> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("head", &self.ends.head.load(Relaxed))
            .field("tail", &self.ends.tail.load(Relaxed))
            .field("bytes", &self.retained_bytes())
            .field("retention", &self.retention)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
