//! Loom's atomics, which explore every interleaving and every stale value that the orderings allow.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use loom::sync::Mutex;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};

/// A number that is written before the thing that holds it is shared, and never again.
///
/// Its zero stands for memory that was not written yet: a reader that nothing synchronised with the
/// writer may be shown it, and the model that lets this happen fails.
#[derive(Debug)]
pub(crate) struct Plain(AtomicU64);

impl Plain {
    pub(crate) fn new(value: u64) -> Self {
        let plain = Self(AtomicU64::new(0));
        plain.0.store(value, Relaxed);
        plain
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What `atomic_waker` promises, in a form whose every step loom sees.
#[derive(Debug)]
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        *self.0.lock().expect("no holder of this lock panics") = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().expect("no holder of this lock panics").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
