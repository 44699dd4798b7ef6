//! How many there are, and when the last has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A count of guests that come and go on any thread and any runtime.
///
/// All orderings are SeqCst: a door is shut by a flag, and whoever enters does so before looking at it. So
/// either the guest sees the flag, or whoever has set it sees the guest.
#[derive(Debug, Default)]
pub(crate) struct Headcount {
    present: AtomicU64,
    /// Told whenever `present` falls to zero.
    empty: Notify,
}

/// One guest, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Headcount>);

impl Headcount {
    pub(crate) fn present(&self) -> u64 {
        self.present.load(Ordering::SeqCst)
    }

    /// One more, unless `max` are there.
    pub(crate) fn enter(self: &Arc<Self>, max: u64) -> Option<Counted> {
        let one_more = |present| (present < max).then_some(present + 1);
        let entered = self.present.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        entered.is_ok().then(|| Counted(Arc::clone(self)))
    }

    /// Completes when nobody is there.
    ///
    /// # Cancel safety
    ///
    /// Nothing is kept, so nothing is lost.
    pub(crate) async fn emptied(&self) {
        loop {
            // Made before the count is read: it hears of the last one that leaves in between.
            let empty = self.empty.notified();
            if self.present() == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.present.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};
    use std::thread;

    use super::*;

    fn is_ready(future: Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn an_empty_room_is_empty_at_once() {
        assert!(is_ready(pin!(Headcount::default().emptied())));
    }

    #[test]
    fn everybody_who_waits_hears_when_the_last_one_leaves() {
        let room = Arc::new(Headcount::default());
        let (first, last) = (room.enter(u64::MAX), room.enter(u64::MAX));
        let (mut one, mut other) = (pin!(room.emptied()), pin!(room.emptied()));
        assert!(!is_ready(one.as_mut()) && !is_ready(other.as_mut()));
        drop(first);
        assert!(!is_ready(one.as_mut()) && !is_ready(other.as_mut()));
        drop(last);
        assert!(is_ready(one) && is_ready(other));
    }

    #[test]
    fn a_room_that_filled_again_before_the_waiter_looked_is_waited_for() {
        let room = Arc::new(Headcount::default());
        let first = room.enter(u64::MAX);
        let mut emptied = pin!(room.emptied());
        assert!(!is_ready(emptied.as_mut()));
        drop(first);
        let second = room.enter(u64::MAX);
        assert!(!is_ready(emptied.as_mut()));
        drop(second);
        assert!(is_ready(emptied));
    }

    #[test]
    fn a_full_room_takes_nobody_until_somebody_leaves() {
        let room = Arc::new(Headcount::default());
        let guests = [room.enter(2), room.enter(2)];
        assert!(guests.iter().all(Option::is_some));
        assert!(room.enter(2).is_none());
        assert_eq!(room.present(), 2);
        drop(guests);
        assert!(room.enter(1).is_some());
        assert_eq!(room.present(), 0);
    }

    #[test]
    fn guests_of_many_threads_are_waited_for_on_another_runtime() {
        let room = Arc::new(Headcount::default());
        let held = room.enter(u64::MAX);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let room = Arc::clone(&room);
                thread::spawn(move || (0..1_000).for_each(|_| drop(room.enter(u64::MAX))))
            })
            .collect();
        let waiting = {
            let room = Arc::clone(&room);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            thread::spawn(move || runtime.block_on(room.emptied()))
        };
        for thread in threads {
            thread.join().expect("it only counts");
        }
        assert_eq!(room.present(), 1);
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().expect("it only waits");
        assert_eq!(room.present(), 0);
    }
}
