//! When memory that left a ring is freed: once every thread that could still be reading it has moved on.
//!
//! Stands on crossbeam's epochs. What a thread retires is gathered in a small batch and handed over
//! together, so that a publish pays for little of the bookkeeping; what was handed over is counted, and
//! `has_room` refuses more once a reader that does not move on has made it too much.
//!
//! Any thread may be the one that finds a batch old enough. A reader lays it aside for the next publisher:
//! it has better things to do, and allocators like memory back where it came from.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use crossbeam_epoch as epoch;

/// A thread hands over what it retired when it is this many things,
const BATCH_ENTRIES: usize = 64;

/// or this many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Publishers are refused while more than this waits to be freed, in the whole process.
pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often [`collect`] moves the epoch: once for the batch to be sealed, twice for it to be old enough.
const COLLECT_ROUNDS: usize = 3;

/// Readers lay aside no more than this many batches, and free what is more themselves.
const ASIDE_BATCHES_MAX: usize = 256;

/// A publisher that hands over one batch frees as many of those, so that they go faster than they come.
const ASIDE_BATCHES_FREED: usize = 4;

/// A thread about to sleep frees as many.
const ASIDE_BATCHES_COLLECTED: usize = 64;

/// Batches that nobody can be reading any more. Nobody waits for this lock: who finds it taken frees what
/// it has itself, or leaves what is there to the next one.
static ASIDE: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

static PENDING_ENTRIES: AtomicUsize = AtomicUsize::new(0);
static PENDING_BYTES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static GATHERED: Gathered = const { Gathered { batch: RefCell::new(Batch::new()), frees: Cell::new(false) } };
}

/// What was retired and is not freed yet, in the whole process.
///
/// Without the unfinished batch of each thread: fewer than 64 things and 64 KiB.
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
    let batch = GATHERED.try_with(|gathered| mem::take(&mut *gathered.batch.borrow_mut()));
    if let Ok(batch) = batch
        && !batch.retired.is_empty()
    {
        pin().hand_over(batch);
    }
    let _freeing = Freeing::begin();
    for _ in 0..COLLECT_ROUNDS {
        if PENDING_ENTRIES.load(Relaxed) == 0 {
            return;
        }
        epoch::pin().flush();
    }
    free_aside(ASIDE_BATCHES_COLLECTED);
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
            let mut batch = gathered.batch.borrow_mut();
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
        // In a box, as crossbeam has room for three words.
        let waiting = Box::new(Waiting(batch));
        self.0.defer(move || waiting.free_or_lay_aside());
        let _freeing = Freeing::begin();
        self.0.flush();
        free_aside(ASIDE_BATCHES_FREED);
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

/// What this module knows of a thread.
struct Gathered {
    /// Its unfinished batch, which the end of the thread hands over.
    batch: RefCell<Batch>,
    /// Whether it is here to free.
    frees: Cell<bool>,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        let batch = mem::take(self.batch.get_mut());
        if !batch.retired.is_empty() {
            pin().hand_over(batch);
        }
    }
}

/// While this lives the thread frees what it finds, rather than laying it aside.
struct Freeing {
    /// The end of the thread has no mark to set, and lays nothing aside.
    was: Option<bool>,
}

impl Freeing {
    fn begin() -> Self {
        Self { was: GATHERED.try_with(|gathered| gathered.frees.replace(true)).ok() }
    }
}

impl Drop for Freeing {
    fn drop(&mut self) {
        if let Some(was) = self.was {
            let _ = GATHERED.try_with(|gathered| gathered.frees.set(was));
        }
    }
}

/// Frees up to `batches_max` of what readers laid aside.
fn free_aside(batches_max: usize) {
    let Ok(mut aside) = ASIDE.try_lock() else { return };
    let rest = aside.len().saturating_sub(batches_max);
    let batches = aside.split_off(rest);
    // Dropping an entry may retire others, and come here again.
    drop(aside);
    drop(batches);
}

/// A batch that was handed over, counted until it is freed.
struct Waiting(Batch);

impl Waiting {
    /// To be called when nobody can be reading it any more.
    fn free_or_lay_aside(self) {
        let frees = GATHERED.try_with(|gathered| gathered.frees.get()).unwrap_or(true);
        if !frees
            && let Ok(mut aside) = ASIDE.try_lock()
            && aside.len() < ASIDE_BATCHES_MAX
        {
            aside.push(self);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        PENDING_ENTRIES.fetch_sub(self.0.retired.len(), Relaxed);
        PENDING_BYTES.fetch_sub(self.0.bytes, Relaxed);
    }
}
