//! The reclamation of [`reclaim`](super), for the models: frees nothing while a model runs, and says when
//! something is reached that might have been freed.
//!
//! Crossbeam's epochs are crossbeam's to prove. What they ask of their users is checked here: when the
//! retirement of a thing happened before a guard was made, nothing may be reached under that guard that
//! leads to the thing. Both sides touch one counter, so loom decides what happened before what.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What was retired and is not freed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Entries and segments.
    pub entries: usize,
    /// Their weight.
    pub bytes: usize,
}

/// Knows what had been retired when it was made.
pub struct Guard(usize);

loom::lazy_static! {
    static ref RETIRED: Retired = Retired::default();
}

struct Retired {
    count: AtomicUsize,
    /// Without atomics of loom's, so that looking things up adds no interleavings.
    things: Mutex<Things>,
}

#[derive(Default)]
struct Things {
    /// Which retirement an address was, the first being 0.
    turn: HashMap<usize, usize>,
    kept: Vec<Arc<dyn Send + Sync>>,
}

impl Default for Retired {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), things: Mutex::default() }
    }
}

pub(super) fn pin() -> Guard {
    Guard(RETIRED.count.load(Acquire))
}

/// What waits to be freed.
pub fn pending() -> Pending {
    Pending { entries: RETIRED.count.load(Relaxed), bytes: 0 }
}

/// Does nothing: what was retired is freed when the model ends.
pub fn collect() {}

pub(super) fn has_room() -> bool {
    true
}

impl Guard {
    pub(super) fn retire(&self, thing: Arc<dyn Send + Sync>, _bytes: usize) {
        let address = Arc::as_ptr(&thing).cast::<()>().addr();
        // What stands here runs in one piece with the addition: loom switches threads before its atomics.
        let turn = RETIRED.count.fetch_add(1, Release);
        let mut things = RETIRED.things.lock().expect("no holder of this lock panics");
        let before = things.turn.insert(address, turn);
        assert!(before.is_none(), "retired twice");
        things.kept.push(thing);
    }

    /// Panics if the thing at `address` had been retired when this guard was made.
    pub(super) fn assert_reachable(&self, address: usize) {
        let things = RETIRED.things.lock().expect("no holder of this lock panics");
        if let Some(&turn) = things.turn.get(&address) {
            assert!(turn >= self.0, "reached after it was retired");
        }
    }
}
