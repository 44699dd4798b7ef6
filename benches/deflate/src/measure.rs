//! Time and memory.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Different messages: enough that neither caches nor branch predictors learn them by heart.
    pub(crate) messages: usize,
    /// Batches of each work.
    pub(crate) rounds: usize,
    /// What a batch takes at least.
    pub(crate) batch: Duration,
}

/// Something to do again and again.
pub(crate) struct Work {
    pass: Box<dyn FnMut()>,
    /// What one pass does so many times.
    units: usize,
}

impl Work {
    pub(crate) fn new(units: usize, pass: impl FnMut() + 'static) -> Work {
        Work { pass: Box::new(pass), units }
    }

    fn time(&mut self, passes: usize) -> Duration {
        let began = thread_time();
        for _ in 0..passes {
            (self.pass)();
        }
        thread_time() - began
    }
}

/// Nanoseconds of this thread for one unit of each work: medians over batches that take turns, so that
/// whatever else the machine does meets all of them alike.
pub(crate) fn nanoseconds(works: Vec<Work>, effort: Effort) -> Vec<f64> {
    let mut works: Vec<(Work, usize, Vec<f64>)> = works
        .into_iter()
        .map(|mut work| {
            // The first pass warms up, the second says how many make a batch.
            work.time(1);
            let pass = work.time(1).max(Duration::from_nanos(1));
            let passes = effort.batch.as_nanos().div_ceil(pass.as_nanos()).max(1) as usize;
            (work, passes, Vec::with_capacity(effort.rounds))
        })
        .collect();
    for _ in 0..effort.rounds {
        for (work, passes, times) in &mut works {
            let time = work.time(*passes);
            times.push(time.as_nanos() as f64 / (*passes * work.units) as f64);
        }
    }
    works.into_iter().map(|(_, _, times)| median(times)).collect()
}

/// Bytes that what `make` returns keeps allocated, itself included when it is boxed.
pub(crate) fn bytes<T>(make: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.allocated();
    let made = make();
    let after = ALLOCATOR.allocated();
    drop(made);
    after.saturating_sub(before)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let middle = of.len() / 2;
    if of.len().is_multiple_of(2) { f64::midpoint(of[middle - 1], of[middle]) } else { of[middle] }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
