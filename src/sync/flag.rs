//! A flag that says "this is in the queue already", so that a busy topic is queued once for many
//! publishes.

use std::sync::atomic::Ordering::Relaxed;

use super::AtomicBool;
use super::ordering::{fence_flag_lowered, fence_flag_raise};

/// Guards the place of one topic in one receiver's queue.
///
/// A publisher publishes, raises the flag and, if that was for it to do, queues the topic and rings the
/// receiver's bell. The receiver takes the topic from the queue, lowers the flag, and only then reads
/// what was published:
///
/// ```text
/// publisher                          receiver
/// ring.push(entry)                   queue.pop()
/// if flag.raise() {                  flag.lower()
///     queue.push(topic)              ring.read(..)
///     bell.ring()
/// }
/// ```
///
/// # Ordering
///
/// As with a bell: the publisher writes the ring, then reads the flag; the receiver writes the flag,
/// then reads the ring, each with a fence between. Of two `SeqCst` fences one is the first: if the
/// publisher's, the receiver finds the entry in the ring; if the receiver's, the publisher finds the
/// flag down, and raises it. So nothing is left unread while the flag is down and the queue empty.
///
/// The queue must let what came before a push happen before what comes after the pop, as every queue
/// does: else the lowering could come before the raising that it answers.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    /// Makes a flag that is down.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Raises the flag; true means that it was down and that the caller must queue the topic.
    #[must_use = "whoever raised the flag has to queue what it stands for"]
    pub(crate) fn raise(&self) -> bool {
        fence_flag_raise();
        // The read spares a busy topic the write: its flag is up nearly always.
        !self.0.load(Relaxed) && !self.0.swap(true, Relaxed)
    }

    /// Lowers the flag. To be called after the topic was taken from the queue, before it is read.
    pub(crate) fn lower(&self) {
        self.0.store(false, Relaxed);
        fence_flag_lowered();
    }
}

impl Default for Flag {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_to_raise_must_queue() {
        let flag = Flag::new();
        assert!(flag.raise());
        assert!(!flag.raise());
        flag.lower();
        assert!(flag.raise());
    }
}
