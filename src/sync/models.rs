//! Loom models of the bell and the flag.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::{Context, Wake, Waker};

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{Bell, Flag};

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

/// Lets a thread sleep until it is woken. If nobody wakes it loom sees a deadlock.
struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Bed {
    fn new() -> Arc<Self> {
        Arc::new(Self { woken: Mutex::new(false), changed: Condvar::new() })
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Bed {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Waits at the bell until `done` says yes.
fn wait_until(bell: &Bell, done: impl Fn() -> bool) {
    let bed = Bed::new();
    let waker = Waker::from(Arc::clone(&bed));
    while !done() {
        if bell.poll_rung(&mut Context::from_waker(&waker)).is_pending() {
            bed.sleep();
        }
    }
}

#[test]
fn no_ring_is_lost_whoever_else_rings() {
    check(|| {
        let shared = Arc::new((Bell::new(), [AtomicUsize::new(0), AtomicUsize::new(0)]));
        let ringers = [0, 1].map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1[index].store(1, Relaxed);
                shared.0.ring();
            })
        });
        let (bell, said) = &*shared;
        wait_until(bell, || said.iter().all(|said| said.load(Relaxed) == 1));
        for ringer in ringers {
            ringer.join().unwrap();
        }
    });
}

#[test]
fn nothing_is_left_unread_while_the_flag_is_down() {
    check(|| {
        struct Shared {
            flag: Flag,
            published: [AtomicUsize; 2],
            queued: AtomicUsize,
        }
        let shared = Arc::new(Shared {
            flag: Flag::new(),
            published: [AtomicUsize::new(0), AtomicUsize::new(0)],
            queued: AtomicUsize::new(0),
        });
        let publishers = [0, 1].map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.published[index].store(1, Relaxed);
                if shared.flag.raise() {
                    shared.queued.fetch_add(1, Release);
                }
            })
        });
        let mut read = [0, 0];
        let mut turn = || {
            let queued = shared.queued.load(Acquire);
            if queued == 0 {
                return;
            }
            shared.queued.fetch_sub(1, Relaxed);
            shared.flag.lower();
            read = [0, 1].map(|index| shared.published[index].load(Relaxed));
        };
        turn();
        turn();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        // All have come: what the queue still holds is enough to read everything.
        turn();
        turn();
        assert_eq!(read, [1, 1]);
    });
}
