//! A bell for one sleeper and any number of ringers, that costs a ringer one read when it has rung
//! already.
//!
//! The idea of `futures::task::AtomicWaker` with a memory: a ring that nobody waits for is kept for
//! the next [`Bell::poll_rung`]. What the ringing is about lies elsewhere (in a ring, in a queue); the
//! bell promises that whoever is woken sees it.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use super::ordering::{fence_bell_heard, fence_bell_ring};
use super::{AtomicBool, AtomicWaker};

/// Wakes the one who waits for it.
///
/// # Ordering
///
/// A ringer writes what it has to say, then reads `rung`; the sleeper writes `rung`, then reads what was
/// said. A fence stands between the two steps on either side, and of two `SeqCst` fences one is the
/// first: if the ringer's, the sleeper sees what was said; if the sleeper's, the ringer sees the bell
/// quiet and rings. So no ring is lost, though a ringer that finds the bell rung writes nothing.
///
/// The accesses themselves need no ordering: the fences carry what was said, and the waker's own
/// synchronisation carries the waker (a ringer whose `wake` comes before the sleeper's `register` is
/// seen by the read that follows it).
pub(crate) struct Bell {
    rung: AtomicBool,
    sleeper: AtomicWaker,
}

impl Bell {
    /// Makes a bell that has not rung.
    pub(crate) fn new() -> Self {
        Self { rung: AtomicBool::new(false), sleeper: AtomicWaker::new() }
    }

    /// Rings: the sleeper wakes, or does not fall asleep, and sees all that was written before.
    pub(crate) fn ring(&self) {
        fence_bell_ring();
        if self.rung.load(Relaxed) {
            return;
        }
        if !self.rung.swap(true, Relaxed) {
            self.sleeper.wake();
        }
    }

    /// Ready when the bell has rung since this was last ready; else `cx` is woken by the next ring.
    ///
    /// One task at a time may wait: the last one that asked is the one that is woken.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.hush() {
            return Poll::Ready(());
        }
        self.sleeper.register(cx.waker());
        if self.hush() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Makes the bell quiet again; whether it had rung.
    fn hush(&self) -> bool {
        // The read keeps a sleeper that polls often from taking the cache line away from ringers.
        let rung = self.rung.load(Relaxed) && self.rung.swap(false, Relaxed);
        if rung {
            fence_bell_heard();
        }
        rung
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("rung", &self.rung.load(Relaxed)).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_ring_before_the_wait_is_kept_once() {
        let bell = Bell::new();
        let mut cx = Context::from_waker(Waker::noop());
        bell.ring();
        bell.ring();
        assert!(bell.poll_rung(&mut cx).is_ready());
        assert!(bell.poll_rung(&mut cx).is_pending());
    }

    #[test]
    fn a_sleeper_is_woken_once_however_often_the_bell_rings() {
        let bell = Bell::new();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(bell.poll_rung(&mut cx).is_pending());
        bell.ring();
        bell.ring();
        assert_eq!(woken.0.load(Relaxed), 1);
        assert!(bell.poll_rung(&mut cx).is_ready());
    }
}
