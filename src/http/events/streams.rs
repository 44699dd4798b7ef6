//! What the event streams of a service have in common: their figures, and the word to leave.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// All event streams of a service.
#[derive(Debug)]
pub(in crate::http) struct Streams {
    open: AtomicU64,
    subscriptions: AtomicU64,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    gaps: AtomicU64,
    skipped: AtomicU64,
    leave: watch::Sender<Option<Leave>>,
    /// How many have been told when to return.
    told: AtomicU64,
}

/// Everybody is to leave.
#[derive(Clone, Copy, Debug)]
struct Leave {
    spread_ms: u64,
    /// How many there were.
    streams: u64,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct StreamTotals {
    pub(in crate::http) open: u64,
    pub(in crate::http) subscriptions: u64,
    pub(in crate::http) delivered: u64,
    pub(in crate::http) delivered_bytes: u64,
    pub(in crate::http) gaps: u64,
    pub(in crate::http) skipped: u64,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            open: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            leave: watch::Sender::new(None),
            told: AtomicU64::new(0),
        }
    }
}

// Relaxed throughout: each is a figure of its own, and orders nothing.
impl Streams {
    pub(in crate::http) fn totals(&self) -> StreamTotals {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        StreamTotals {
            open: read(&self.open),
            subscriptions: read(&self.subscriptions),
            delivered: read(&self.delivered),
            delivered_bytes: read(&self.delivered_bytes),
            gaps: read(&self.gaps),
            skipped: read(&self.skipped),
        }
    }

    /// How many streams there are.
    #[cfg(feature = "server")]
    pub(in crate::http) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, subscriptions: usize) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.subscriptions.fetch_add(subscriptions as u64, Ordering::Relaxed);
    }

    pub(super) fn exit(&self, subscriptions: usize) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.subscriptions.fetch_sub(subscriptions as u64, Ordering::Relaxed);
    }

    pub(super) fn count_message(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_bytes(&self, bytes: usize) {
        self.delivered_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_gap(&self, skipped: u64) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Tells every stream to end, those to come as well.
    pub(in crate::http) fn drain(&self, spread_ms: u64) {
        let streams = self.open.load(Ordering::Relaxed).max(1);
        self.leave.send_replace(Some(Leave { spread_ms, streams }));
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leave.borrow().is_some()
    }

    /// Completes when the streams are to end.
    pub(super) fn leaving(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut leave = self.leave.subscribe();
        // An error means that the sender has gone, which then has nothing more to say: the stream holds it.
        async move { drop(leave.wait_for(Option::is_some).await) }
    }

    /// When the next stream to leave should return: each at another time, evenly over the spread.
    pub(super) fn return_ms(&self) -> u64 {
        let Some(Leave { spread_ms, streams }) = *self.leave.borrow() else { return 0 };
        let place = self.told.fetch_add(1, Ordering::Relaxed) % streams;
        u64::try_from(u128::from(spread_ms) * u128::from(place) / u128::from(streams)).unwrap_or(spread_ms)
    }
}
