//! The atomics that the lock-free parts stand on: the standard library's, or loom's when the models
//! run, and the small protocols that are built from them alone.
//!
//! Nothing else in the crate asks whether loom is there, but for `mod` lines.

mod bell;
mod flag;
pub(crate) mod ordering;

#[cfg(not(loom))]
mod native;
#[cfg(loom)]
#[path = "model.rs"]
mod native;

#[cfg(all(test, loom))]
mod models;

pub(crate) use self::bell::Bell;
pub(crate) use self::flag::Flag;
pub(crate) use self::native::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, AtomicWaker, Plain, fence};
