//! A chain of segments in which each sequence number has one slot, and each slot one life: empty, then
//! holding an entry, then a tombstone. The only file of the crate with `unsafe` in it.
//!
//! What it promises is memory safety whatever its callers do, and that a slot never becomes empty again:
//! a publisher that was stopped before its compare-and-exchange can therefore never place an entry
//! where another one has been. Which sequence numbers are in use, when entries go and who is told, is
//! [`Ring`](super::Ring)'s business. When memory is freed is [`reclaim`](super::reclaim)'s.
//!
//! Growing by linking (never by copying, which a stopped publisher could miss) is the idea of
//! Michael and Scott's queue as crossbeam's `SegQueue` has it.
#![allow(unsafe_code, reason = "a slot hands out what another thread may be removing; only raw pointers can say so")]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, RangeInclusive};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::reclaim::Guard;
use super::{Entry, Seq};
use crate::sync::ordering::{
    FIRST_LOOK, FIRST_MOVE, LAST_LOOK, LAST_MOVE, NEXT_LINK, NEXT_LOOK, SLOT_BURY, SLOT_LOOK, SLOT_PLACE,
};
use crate::sync::{AtomicPtr, Plain};

/// The segments from the oldest one in use to the newest.
///
/// # Invariants
///
/// 1. `first`, `last` and each `next` that is not null come from `Arc::into_raw` of a segment whose count
///    of one belongs to the chain.
/// 2. `next` changes once, from null to the segment whose base is this one's end.
/// 3. `last` is never behind `first`: whoever moves `first` past a segment has first helped `last` past
///    it.
/// 4. The chain's count of a segment goes to [`Guard::retire`] after both hints have passed it, by the
///    one who moved `first`. Segments go in order, so a guard that was there when a segment could be
///    reached also keeps all later ones.
pub(super) struct Chain<T: Entry> {
    first: AtomicPtr<Segment<T>>,
    last: AtomicPtr<Segment<T>>,
    slots_max: usize,
    owns: PhantomData<Arc<T>>,
}

/// A run of slots. Entries that are still in it when it is dropped are dropped with it.
struct Segment<T: Entry> {
    base: Plain,
    slots: Box<[Slot<T>]>,
    next: AtomicPtr<Segment<T>>,
}

/// The place of one sequence number.
///
/// ```text
/// null --place--> entry --bury--> BURIED
///   \---close---> CLOSED
/// ```
///
/// # Invariants
///
/// 5. A pointer other than null, `BURIED` and `CLOSED` comes from `Arc::into_raw`, and the count of one
///    belongs to the slot.
/// 6. The slot's count goes to [`Guard::retire`], by the one whose swap took the pointer out.
pub(super) struct Slot<T: Entry>(AtomicPtr<T>);

/// What a slot was seen to hold.
pub(super) enum Seen<'g, T> {
    /// Nothing yet.
    Empty,
    /// Nothing, for ever: the ring is closed.
    Closed,
    /// An entry.
    Held(Held<'g, T>),
    /// An entry that has gone.
    Buried,
}

/// An entry that stays as long as the guard under which it was seen.
pub(super) struct Held<'g, T> {
    entry: ManuallyDrop<Arc<T>>,
    guard: PhantomData<&'g Guard>,
}

/// Why an entry could not be placed. It comes back.
pub(super) enum Refused<T> {
    /// Another entry has been placed there.
    Taken(Arc<T>),
    /// The ring is closed.
    Closed(Arc<T>),
}

/// A segment seen under a guard, to walk on from.
pub(super) struct Walk<'g, T: Entry> {
    segment: &'g Segment<T>,
    guard: &'g Guard,
}

impl<T: Entry> Chain<T> {
    /// Makes a chain whose first slot is `base` and whose segments double between the bounds of `slots`.
    pub(super) fn new(base: Seq, slots: RangeInclusive<usize>) -> Self {
        let first = Segment::alloc(base, *slots.start());
        Self { first: AtomicPtr::new(first), last: AtomicPtr::new(first), slots_max: *slots.end(), owns: PhantomData }
    }

    /// The slot of `seq`, in a new segment if need be. `seq` must not be beyond the next one to fill.
    ///
    /// `None` says that the chain has left `seq` behind: the caller's `seq` is out of date.
    pub(super) fn reach<'g>(&self, seq: Seq, guard: &'g Guard) -> Option<&'g Slot<T>> {
        let mut at = self.last.load(LAST_LOOK);
        let mut segment = Segment::seen(at, guard);
        if seq < segment.base() {
            return None;
        }
        while seq >= segment.end() {
            let next = segment.next_or_append(self.slots_max);
            // Helping: if it fails, another thread has moved the hint at least as far.
            let _ = self.last.compare_exchange(at, next, LAST_MOVE, Relaxed);
            at = next;
            segment = Segment::seen(at, guard);
        }
        segment.slot(seq)
    }

    /// A walk that begins at or before `seq`, if the chain still goes back as far.
    pub(super) fn walk<'g>(&self, seq: Seq, guard: &'g Guard) -> Option<Walk<'g, T>> {
        // Most readers stand near the end, so the hint to the last segment is tried first.
        let last = Segment::seen(self.last.load(LAST_LOOK), guard);
        if last.base() <= seq {
            return Some(Walk { segment: last, guard });
        }
        self.walk_from_first(seq, guard)
    }

    /// As [`Chain::walk`], for those who know that `seq` is among the oldest.
    pub(super) fn walk_from_first<'g>(&self, seq: Seq, guard: &'g Guard) -> Option<Walk<'g, T>> {
        let segment = Segment::seen(self.first.load(FIRST_LOOK), guard);
        (segment.base() <= seq).then_some(Walk { segment, guard })
    }

    /// Lets go of the segments that end at or before `head`, but not of the last one.
    pub(super) fn trim(&self, head: Seq, guard: &Guard) {
        loop {
            let at = self.first.load(FIRST_LOOK);
            let segment = Segment::seen(at, guard);
            if head < segment.end() {
                return;
            }
            let next = segment.next.load(NEXT_LOOK);
            if next.is_null() {
                return;
            }
            // Invariant 3: a publisher must not find by `last` what `first` has let go.
            if !cfg!(mutate = "trim_unhelped") {
                let _ = self.last.compare_exchange(at, next, LAST_MOVE, Relaxed);
            }
            let moved = self.first.compare_exchange(at, next, FIRST_MOVE, Relaxed);
            if moved.is_ok() {
                let bytes = segment.bytes();
                // SAFETY: invariant 1, and by 4 the count is ours, as we moved `first`.
                let segment = unsafe { Arc::from_raw(at) };
                guard.retire(segment, bytes);
            }
        }
    }
}

impl<T: Entry> Drop for Chain<T> {
    fn drop(&mut self) {
        let mut at = self.first.load(Relaxed);
        while !at.is_null() {
            // SAFETY: invariant 1. `&mut self` says that nobody else reads the chain, so what can be
            // reached from `first` has not been retired and its count is ours.
            let segment = unsafe { Arc::from_raw(at) };
            at = segment.next.load(Relaxed);
        }
    }
}

impl<T: Entry> Segment<T> {
    fn alloc(base: Seq, slots: usize) -> *mut Self {
        Arc::into_raw(Arc::new(Self {
            base: Plain::new(base.0),
            slots: (0..slots).map(|_| Slot::new()).collect(),
            next: AtomicPtr::new(ptr::null_mut()),
        }))
        .cast_mut()
    }

    /// The segment behind a pointer that was read from the chain under `guard`.
    fn seen(at: *mut Self, guard: &Guard) -> &Self {
        guard.assert_reachable(at.addr());
        // SAFETY: invariant 1; the pointer was read under the guard, so by 4 the segment outlives it.
        unsafe { &*at }
    }

    fn base(&self) -> Seq {
        Seq(self.base.value())
    }

    /// The sequence number after the last of this segment.
    fn end(&self) -> Seq {
        Seq(self.base.value() + self.slots.len() as u64)
    }

    fn slot(&self, seq: Seq) -> Option<&Slot<T>> {
        let index = usize::try_from(seq.0 - self.base.value()).ok()?;
        self.slots.get(index)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots)
    }

    fn next_or_append(&self, slots_max: usize) -> *mut Self {
        let next = self.next.load(NEXT_LOOK);
        if !next.is_null() {
            return next;
        }
        let slots = (self.slots.len() * 2).min(slots_max);
        let made = Self::alloc(self.end(), slots);
        match self.next.compare_exchange(ptr::null_mut(), made, NEXT_LINK, NEXT_LOOK) {
            Ok(_) => made,
            Err(next) => {
                // SAFETY: `alloc` made it by `Arc::into_raw`, and nobody else has seen it.
                drop(unsafe { Arc::from_raw(made) });
                next
            }
        }
    }
}

impl<T: Entry> Slot<T> {
    /// Stands for an entry that has gone. No `Arc` points there: its counts come before its value.
    const BURIED: *mut T = ptr::without_provenance_mut(1);
    /// Stands at the end of a closed ring.
    const CLOSED: *mut T = ptr::without_provenance_mut(2);

    fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Places an entry, if none has been placed there before.
    pub(super) fn place(&self, entry: Arc<T>) -> Result<(), Refused<T>> {
        let raw = Arc::into_raw(entry).cast_mut();
        // A failure needs no ordering: nothing is read through what was found.
        match self.0.compare_exchange(ptr::null_mut(), raw, SLOT_PLACE, Relaxed) {
            Ok(_) => Ok(()),
            Err(found) => {
                // SAFETY: made by `Arc::into_raw` above, and the slot did not take it.
                let entry = unsafe { Arc::from_raw(raw) };
                if found == Self::CLOSED { Err(Refused::Closed(entry)) } else { Err(Refused::Taken(entry)) }
            }
        }
    }

    /// Closes the slot, if nothing has been placed there.
    pub(super) fn close(&self) -> bool {
        // No ordering: there is nothing to read behind the mark.
        self.0.compare_exchange(ptr::null_mut(), Self::CLOSED, Relaxed, Relaxed).is_ok()
    }

    /// Looks at what the slot holds.
    pub(super) fn look<'g>(&self, guard: &'g Guard) -> Seen<'g, T> {
        let found = self.0.load(SLOT_LOOK);
        if found.is_null() {
            Seen::Empty
        } else if found == Self::BURIED {
            Seen::Buried
        } else if found == Self::CLOSED {
            Seen::Closed
        } else {
            guard.assert_reachable(found.addr());
            // SAFETY: invariant 5. The count stays the slot's, as a `Held` never gives it back; by 6 it
            // lasts as long as the guard under which it was found.
            let entry = unsafe { Arc::from_raw(found) };
            Seen::Held(Held { entry: ManuallyDrop::new(entry), guard: PhantomData })
        }
    }

    /// Puts a tombstone over the entry and retires it. Only a slot that holds one may be buried.
    pub(super) fn bury(&self, bytes: usize, guard: &Guard) {
        let tombstone = if cfg!(mutate = "bury_empties") { ptr::null_mut() } else { Self::BURIED };
        let found = self.0.swap(tombstone, SLOT_BURY);
        if let Some(entry) = Self::owned(found) {
            guard.retire(entry, bytes);
        }
    }

    /// The entry behind a pointer that was taken out of its slot.
    fn owned(taken: *mut T) -> Option<Arc<T>> {
        if taken.is_null() || taken == Self::BURIED || taken == Self::CLOSED {
            return None;
        }
        // SAFETY: invariant 5, and the caller took the pointer, and its count, out of the slot.
        Some(unsafe { Arc::from_raw(taken) })
    }
}

impl<T: Entry> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(Self::owned(self.0.load(Relaxed)));
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.entry
    }
}

impl<'g, T: Entry> Walk<'g, T> {
    /// The slot of `seq`, if there is one yet. Calls must go forward.
    pub(super) fn slot(&mut self, seq: Seq) -> Option<&'g Slot<T>> {
        while seq >= self.segment.end() {
            let next = self.segment.next.load(NEXT_LOOK);
            if next.is_null() {
                return None;
            }
            self.segment = Segment::seen(next, self.guard);
        }
        self.segment.slot(seq)
    }
}
