//! The standard library's atomics, as the lock-free parts see them.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};

pub(crate) use atomic_waker::AtomicWaker;

/// A number that is written before the thing that holds it is shared, and never again.
///
/// Free here; under loom it notices a reader that nothing synchronised with the writer.
#[derive(Debug)]
pub(crate) struct Plain(u64);

impl Plain {
    pub(crate) fn new(value: u64) -> Self {
        Self(value)
    }

    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}
