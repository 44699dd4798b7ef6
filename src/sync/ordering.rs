//! Every memory ordering of the lock-free parts, by the name of the step it belongs to.
//!
//! An ordering has a name so that it can be taken away: built with `--cfg mutate="slot_place"` that one
//! step is `Relaxed` (a fence: absent), and a loom model must fail. `scripts/loom-mutations` does so
//! for each of them. Accesses that are `Relaxed` where they stand need no such proof.

use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};

use super::fence;

macro_rules! orderings {
    ($($(#[$doc:meta])* $name:ident = $ordering:ident unless $mutation:literal;)*) => {
        $($(#[$doc])*
        pub(crate) const $name: Ordering =
            if cfg!(mutate = $mutation) { Relaxed } else { $ordering };)*
    };
}

orderings! {
    /// Shows the entry's content to whoever finds it in the slot: partner of [`SLOT_LOOK`].
    SLOT_PLACE = Release unless "slot_place";
    /// Sees the content that [`SLOT_PLACE`] put there, and with a tombstone the `head` that its
    /// [`SLOT_BURY`] came after.
    SLOT_LOOK = Acquire unless "slot_look";
    /// Whoever meets the tombstone finds `head` beyond it: partner of [`SLOT_LOOK`].
    SLOT_BURY = Release unless "slot_bury";
    /// Whoever sees `tail` beyond a slot finds that slot filled: partner of [`TAIL_LOOK`].
    TAIL_MOVE = Release unless "tail_move";
    /// Sees all slots before `tail` as [`TAIL_MOVE`] left them.
    TAIL_LOOK = Acquire unless "tail_look";
    /// Shows a new segment's slots and base: partner of [`NEXT_LOOK`].
    NEXT_LINK = Release unless "next_link";
    /// Sees the segment that [`NEXT_LINK`] made.
    NEXT_LOOK = Acquire unless "next_look";
    /// Hands on what [`NEXT_LOOK`] saw, and the `tail` that let the hint move: partner of
    /// [`LAST_LOOK`].
    LAST_MOVE = Release unless "last_move";
    /// Sees the segment, and a `tail` not before it, that [`LAST_MOVE`] handed on.
    LAST_LOOK = Acquire unless "last_look";
    /// Hands on what [`NEXT_LOOK`] saw, and the `head` that let the segment go: partner of
    /// [`FIRST_LOOK`].
    FIRST_MOVE = Release unless "first_move";
    /// Sees the segment, and a `head` not before it, that [`FIRST_MOVE`] handed on.
    FIRST_LOOK = Acquire unless "first_look";
}

macro_rules! fences {
    ($($(#[$doc:meta])* $name:ident unless $mutation:literal;)*) => {
        $($(#[$doc])*
        #[inline]
        pub(crate) fn $name() {
            if !cfg!(mutate = $mutation) {
                fence(SeqCst);
            }
        })*
    };
}

fences! {
    /// Between what was published and the look at the bell: partner of [`fence_bell_heard`].
    fence_bell_ring unless "bell_ring";
    /// Between quieting the bell and the look at what was published.
    fence_bell_heard unless "bell_heard";
    /// Between what was published and the look at the flag: partner of [`fence_flag_lowered`].
    fence_flag_raise unless "flag_raise";
    /// Between lowering the flag and the look at what was published.
    fence_flag_lowered unless "flag_lowered";
}
