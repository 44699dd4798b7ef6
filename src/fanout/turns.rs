//! Turns: how those who have much to do let the others go first.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// How many go on at a time. What they do then, together, is what somebody who has little to do waits for.
const AT_A_TIME: usize = 4;

/// A queue in which those wait who have had their turn and want another.
///
/// A runtime polls tasks in the order in which they are woken: without this, whoever comes with one short command would
/// wait until each of a hundred busy connections has had a turn.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Semaphore,
    places_max: usize,
    waiting: AtomicUsize,
}

impl Turns {
    /// For so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        let places_max = AT_A_TIME * cores.max(1);
        Turns { places: Semaphore::new(places_max), places_max, waiting: AtomicUsize::new(0) }
    }

    /// Whether so many wait that turns are to be short.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.places_max
    }

    /// Waits for the next turn. The runtime looks for what has arrived in between.
    ///
    /// # Cancel safety
    ///
    /// The place in the queue is lost.
    pub(crate) async fn next(&self) {
        let waits = Waits::new(&self.waiting);
        // It is never closed.
        let _place = self.places.acquire().await;
        drop(waits);
        yield_now().await;
    }
}

/// Counts somebody who waits.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn only_so_many_go_on_at_a_time() {
        let turns = Turns::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut busy: Vec<_> = (0..2 * AT_A_TIME).map(|_| Box::pin(turns.next())).collect();
        let mut poll_all = || busy.iter_mut().map(|turn| turn.as_mut().poll(&mut cx).is_ready()).collect::<Vec<_>>();
        // Nobody goes on without having let others go first.
        assert_eq!(poll_all(), [false; 2 * AT_A_TIME]);
        assert_eq!(poll_all(), [[true; AT_A_TIME], [false; AT_A_TIME]].concat());
        assert!(!turns.is_crowded(), "those that were left go on");
        let mut late = pin!(turns.next());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(late.as_mut().poll(&mut cx), Poll::Pending);
    }

    #[test]
    fn it_is_crowded_while_more_wait_than_go_on() {
        let turns = Turns::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut busy: Vec<_> = (0..2 * AT_A_TIME + 1).map(|_| Box::pin(turns.next())).collect();
        for turn in &mut busy {
            assert!(!turns.is_crowded());
            let _ = turn.as_mut().poll(&mut cx);
        }
        assert!(turns.is_crowded());
        // Whoever gives up does not wait.
        busy.pop();
        assert!(!turns.is_crowded());
    }
}
