//! Loom's atomics, which explore every interleaving and every stale value that the orderings allow.

use std::sync::atomic::Ordering::{self, Relaxed};
use std::task::Waker;

use loom::sync::Mutex;
use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{AtomicBool, fence};
/// Counts bytes and nothing else: not worth a branch of the exploration.
pub(crate) use std::sync::atomic::AtomicUsize;

/// Makes a load visible to loom's search as something that a later store depends on.
///
/// Loom 0.7 keeps one last access of each atomic and asks whether the next one races with that. A load
/// by the storing thread itself hides an earlier load by another one, so that "load, then
/// compare-and-exchange" against a reader is never tried in the other order. A `Relaxed` addition of
/// nothing, to an atomic beside the real one, is an access that hides nothing, and synchronises nothing
/// either where there are no fences: the ring has none, the bell and the flag use the plain atomics.
#[derive(Debug)]
struct Trace(atomic::AtomicUsize);

impl Trace {
    fn new() -> Self {
        Self(atomic::AtomicUsize::new(0))
    }

    fn leave(&self) {
        self.0.fetch_add(0, Relaxed);
    }
}

/// Loom's `AtomicU64`, each access of which leaves a [`Trace`].
#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64, Trace);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value), Trace::new())
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.1.leave();
        self.0.load(order)
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.1.leave();
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// Loom's `AtomicPtr`, each access of which leaves a [`Trace`].
#[derive(Debug)]
pub(crate) struct AtomicPtr<T>(atomic::AtomicPtr<T>, Trace);

impl<T> AtomicPtr<T> {
    pub(crate) fn new(value: *mut T) -> Self {
        Self(atomic::AtomicPtr::new(value), Trace::new())
    }

    pub(crate) fn load(&self, order: Ordering) -> *mut T {
        self.1.leave();
        self.0.load(order)
    }

    pub(crate) fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        self.1.leave();
        self.0.swap(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.1.leave();
        self.0.compare_exchange(current, new, success, failure)
    }
}

/// A number that is written before the thing that holds it is shared, and never again.
///
/// Its zero stands for memory that was not written yet: a reader that nothing synchronised with the
/// writer may be shown it, and the model that lets this happen fails.
#[derive(Debug)]
pub(crate) struct Plain(atomic::AtomicU64);

impl Plain {
    pub(crate) fn new(value: u64) -> Self {
        let plain = Self(atomic::AtomicU64::new(0));
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
