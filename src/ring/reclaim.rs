//! When memory that left a ring is freed: once every thread that could still be reading it has moved on.
//!
//! Stands on crossbeam's epochs. What a thread retires is gathered in a small batch and handed over
//! together, so that a publish pays for a sixteenth of the bookkeeping; what was handed over is counted,
//! and `has_room` refuses more once a reader that does not move on has made it too much.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_epoch as epoch;

/// A thread hands over what it retired when it is this many things,
const BATCH_ENTRIES: usize = 16;

/// or this many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Publishers are refused while more than this waits to be freed, in the whole process.
pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often [`collect`] moves the epoch: once for the batch to be sealed, twice for it to be old enough.
const COLLECT_ROUNDS: usize = 3;

static PENDING_ENTRIES: AtomicUsize = AtomicUsize::new(0);
static PENDING_BYTES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static GATHERED: Gathered = const { Gathered(RefCell::new(Batch::new())) };
}

/// What was retired and is not freed yet, in the whole process.
///
/// Without the unfinished batch of each thread: fewer than 16 things and 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Entries and segments.
    pub entries: usize,
    /// Their weight.
    pub bytes: usize,
}

/// Keeps what is read under it from being freed.
pub struct Guard(epoch::Guard);

/// Begins to read rings in this thread.
#[inline]
pub(super) fn pin() -> Guard {
    Guard(epoch::pin())
}

/// What waits to be freed.
pub fn pending() -> Pending {
    Pending { entries: PENDING_ENTRIES.load(Relaxed), bytes: PENDING_BYTES.load(Relaxed) }
}

/// Frees what can be freed, this thread's unfinished batch included. For threads about to sleep; costs
/// next to nothing when nothing waits.
pub fn collect() {
    let batch = GATHERED.try_with(|gathered| mem::take(&mut *gathered.0.borrow_mut()));
    if let Ok(batch) = batch
        && !batch.retired.is_empty()
    {
        pin().hand_over(batch);
    }
    for _ in 0..COLLECT_ROUNDS {
        if PENDING_ENTRIES.load(Relaxed) == 0 {
            return;
        }
        epoch::pin().flush();
    }
}

/// Whether little enough waits to be freed that more may be published; if not, tries to free it.
///
/// To be called before [`pin`]: a pinned thread holds its own epoch back.
#[inline]
pub(super) fn has_room() -> bool {
    PENDING_BYTES.load(Relaxed) <= PENDING_BYTES_MAX || {
        collect();
        PENDING_BYTES.load(Relaxed) <= PENDING_BYTES_MAX
    }
}

impl Guard {
    /// Drops `thing` once every guard that is there now is gone.
    ///
    /// Memory safety rests on this: it is never dropped before, whatever happens to this thread.
    #[inline]
    pub(super) fn retire(&self, thing: Arc<dyn Send + Sync>, bytes: usize) {
        let mut thing = Some(thing);
        let full = GATHERED.try_with(|gathered| {
            let mut batch = gathered.0.borrow_mut();
            batch.add(thing.take(), bytes);
            batch.is_full().then(|| mem::take(&mut *batch))
        });
        match full {
            Ok(None) => {}
            Ok(Some(batch)) => self.hand_over(batch),
            // The thread is ending and has no batch any more.
            Err(_) => {
                let mut batch = Batch::new();
                batch.add(thing, bytes);
                self.hand_over(batch);
            }
        }
    }

    /// Only the model of this module looks.
    #[inline]
    pub(super) fn assert_reachable(&self, _address: usize) {}

    /// Must not be called while the thread's batch is borrowed: dropping entries may retire others.
    #[cold]
    fn hand_over(&self, batch: Batch) {
        PENDING_ENTRIES.fetch_add(batch.retired.len(), Relaxed);
        PENDING_BYTES.fetch_add(batch.bytes, Relaxed);
        let waiting = Box::new(Waiting(batch));
        self.0.defer(move || drop(waiting));
        self.0.flush();
    }
}

#[derive(Default)]
struct Batch {
    retired: Vec<Arc<dyn Send + Sync>>,
    bytes: usize,
}

impl Batch {
    const fn new() -> Self {
        Self { retired: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, thing: Option<Arc<dyn Send + Sync>>, bytes: usize) {
        if self.retired.capacity() == 0 {
            self.retired.reserve_exact(BATCH_ENTRIES);
        }
        self.retired.extend(thing);
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.retired.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }
}

/// A thread's unfinished batch, which the end of the thread hands over.
struct Gathered(RefCell<Batch>);

impl Drop for Gathered {
    fn drop(&mut self) {
        let batch = mem::take(self.0.get_mut());
        if !batch.retired.is_empty() {
            pin().hand_over(batch);
        }
    }
}

/// A batch that was handed over, counted until it is freed.
struct Waiting(Batch);

impl Drop for Waiting {
    fn drop(&mut self) {
        PENDING_ENTRIES.fetch_sub(self.0.retired.len(), Relaxed);
        PENDING_BYTES.fetch_sub(self.0.bytes, Relaxed);
    }
}
