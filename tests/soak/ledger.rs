//! What everybody has seen, side by side: a place in a topic's numbering has one message for all.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The data of a message: who it is for, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Datum {
    pub(crate) topic: String,
    pub(crate) number: u64,
    /// Makes it large.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) filler: String,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// The numbers of the messages, by topic, epoch and offset. Guards nothing else.
    places: Mutex<HashMap<(String, String, u64), u64>>,
    numbers: AtomicU64,
    visits: AtomicU64,
    seen: AtomicU64,
    gaps: AtomicU64,
}

#[derive(Debug)]
#[expect(dead_code, reason = "some fields are only printed")]
pub(crate) struct Totals {
    pub(crate) visits: u64,
    pub(crate) published: u64,
    pub(crate) seen: u64,
    pub(crate) gaps: u64,
}

impl Ledger {
    /// A message that has never been published.
    pub(crate) fn datum(&self, topic: &str) -> Datum {
        Datum { topic: topic.to_owned(), number: self.numbers.fetch_add(1, Ordering::Relaxed), filler: String::new() }
    }

    /// Somebody has seen a message at this place: it must be the one that others have.
    pub(crate) fn place(&self, topic: &str, epoch: &str, offset: u64, datum: &Datum) {
        assert_eq!(datum.topic, topic, "a message of another topic");
        let mut places = self.places.lock().expect("nobody has failed with the ledger in hand");
        let known = *places.entry((topic.to_owned(), epoch.to_owned(), offset)).or_insert(datum.number);
        drop(places);
        assert_eq!(known, datum.number, "two messages at {topic} {epoch} {offset}");
    }

    pub(crate) fn visit(&self) {
        self.visits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn see(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            visits: load(&self.visits),
            published: load(&self.numbers),
            seen: load(&self.seen),
            gaps: load(&self.gaps),
        }
    }
}
