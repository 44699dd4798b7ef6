//! What threads tell each other.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mio::Waker;

use super::tally::Tally;

/// What all threads are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Connections are opened and subscribe.
    Join,
    /// Publishers publish.
    Publish,
    /// No more of it, and subscribers wait for what is on its way.
    Drain,
    /// Everybody leaves.
    Leave,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Where times of the run count from.
    pub(super) start: Instant,
    phase: AtomicU8,
    publish_from: AtomicU64,
    /// Per stream, the number of the last message that was made,
    issued: Vec<AtomicU32>,
    /// of the last one that a chosen subscriber has,
    seen: Vec<AtomicU32>,
    /// and how many the server refused.
    refused: Vec<AtomicU32>,
    /// What each thread has counted.
    tallies: Vec<Mutex<Tally>>,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    waker: Waker,
    /// Whether it waits for a chosen subscriber of another thread.
    waits: AtomicBool,
}

impl Shared {
    pub(super) fn new(streams: usize, wakers: Vec<Waker>) -> Shared {
        let zeros = || (0..streams).map(|_| AtomicU32::new(0)).collect();
        Shared {
            start: Instant::now(),
            phase: AtomicU8::new(Phase::Join as u8),
            publish_from: AtomicU64::new(0),
            issued: zeros(),
            seen: zeros(),
            refused: zeros(),
            tallies: wakers.iter().map(|_| Mutex::default()).collect(),
            threads: wakers.into_iter().map(|waker| Thread { waker, waits: AtomicBool::new(false) }).collect(),
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        // A run lasts days at most.
        self.start.elapsed().as_nanos() as u64
    }

    pub(super) fn phase(&self) -> Phase {
        // Acquire: pairs with the Release in `enter`, so that `publish_from` is that of this phase.
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Join,
            1 => Phase::Publish,
            2 => Phase::Drain,
            _ => Phase::Leave,
        }
    }

    /// Has all threads go on to `phase`, at once.
    pub(super) fn enter(&self, phase: Phase) {
        if phase == Phase::Publish {
            self.publish_from.store(self.now(), Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `phase`.
        self.phase.store(phase as u8, Ordering::Release);
        for thread in &self.threads {
            // A thread that cannot be woken looks for itself within milliseconds.
            let _ = thread.waker.wake();
        }
    }

    pub(super) fn publish_from(&self) -> u64 {
        self.publish_from.load(Ordering::Relaxed)
    }

    /// The next number of a stream, which one thread alone asks for.
    pub(super) fn issue(&self, stream: usize) -> u32 {
        // Release: pairs with the Acquire in `issued`. Whoever has not seen a number subscribed before it was
        // published, and has to get that message.
        self.issued[stream].fetch_add(1, Ordering::Release) + 1
    }

    pub(super) fn issued(&self, stream: usize) -> u32 {
        // Acquire: pairs with the Release in `issue`.
        self.issued[stream].load(Ordering::Acquire)
    }

    pub(super) fn refuse(&self, stream: usize) {
        self.refused[stream].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, stream: usize) -> u32 {
        self.refused[stream].load(Ordering::Relaxed)
    }

    /// A chosen subscriber has a message; the stream's publisher belongs to `thread`.
    pub(super) fn see(&self, stream: usize, number: u32, thread: usize) {
        // SeqCst, with `wait_for`: either this sees that the thread waits, or that one sees the number.
        self.seen[stream].fetch_max(number, Ordering::SeqCst);
        if self.threads[thread].waits.swap(false, Ordering::SeqCst) {
            let _ = self.threads[thread].waker.wake();
        }
    }

    pub(super) fn seen(&self, stream: usize) -> u32 {
        self.seen[stream].load(Ordering::SeqCst)
    }

    /// Has `thread` be woken by the next message that a chosen subscriber sees.
    pub(super) fn wait_for(&self, thread: usize) {
        self.threads[thread].waits.store(true, Ordering::SeqCst);
    }

    pub(super) fn tally(&self, thread: usize) -> MutexGuard<'_, Tally> {
        // What it holds is whole after every statement, so a panic elsewhere does not spoil it.
        self.tallies[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }
}
