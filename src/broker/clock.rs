//! What time it is for a broker.

#[cfg(any(test, fuzzing))]
use std::sync::Arc;
#[cfg(any(test, fuzzing))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 that neither jump nor go back.
#[derive(Debug)]
pub(super) enum Clock {
    /// The system's clock as it stood when the broker was built, and what has gone by since.
    System { started: Instant, started_ms: u64 },
    /// Set by whoever holds the other end.
    #[cfg(any(test, fuzzing))]
    ByHand(Arc<AtomicU64>),
    /// A runtime's, which may stand still, from then on.
    #[cfg(test)]
    OfRuntime(tokio::time::Instant),
}

impl Clock {
    pub(super) fn system() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // An unsigned 64-bit count of milliseconds lasts longer than the machine.
        Clock::System { started: Instant::now(), started_ms: since_1970.as_millis() as u64 }
    }

    pub(super) fn now_ms(&self) -> u64 {
        match self {
            Clock::System { started, started_ms } => started_ms + started.elapsed().as_millis() as u64,
            #[cfg(any(test, fuzzing))]
            Clock::ByHand(now_ms) => now_ms.load(Ordering::Relaxed),
            #[cfg(test)]
            Clock::OfRuntime(started) => started.elapsed().as_millis() as u64,
        }
    }

    /// How long the broker has been there, in milliseconds.
    pub(super) fn uptime_ms(&self) -> u64 {
        match self {
            Clock::System { started, .. } => started.elapsed().as_millis() as u64,
            #[cfg(any(test, fuzzing))]
            Clock::ByHand(now_ms) => now_ms.load(Ordering::Relaxed),
            #[cfg(test)]
            Clock::OfRuntime(started) => started.elapsed().as_millis() as u64,
        }
    }
}
