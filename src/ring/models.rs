//! Loom models of the ring, one for each way in which two threads could get in each other's way.
//!
//! Beside what each one asserts, every model fails when something is reached that might have been freed
//! (see `reclaim` in this folder), when an entry or a segment is read that was not yet shown to the
//! reader, and when a thread can spin because another one was stopped.

use std::ops::ControlFlow::Continue;
use std::sync::Arc;

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

use super::*;

/// An entry whose content is zero to those who were not shown it.
struct Word(AtomicU64);

impl Word {
    fn new(value: u64) -> Arc<Self> {
        let word = Self(AtomicU64::new(0));
        word.0.store(value, Relaxed);
        Arc::new(word)
    }

    fn value(&self) -> u64 {
        let value = self.0.load(Relaxed);
        assert_ne!(value, 0, "an entry is seen as it was pushed");
        value
    }
}

impl Entry for Word {
    fn weight(&self) -> usize {
        1
    }

    fn at_ms(&self) -> u64 {
        0
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

/// A ring whose segments are as small as can be.
fn ring(entries_max: usize, slots: usize) -> Arc<Ring<Word>> {
    ring_with_window(entries_max, slots, 100)
}

fn ring_with_window(entries_max: usize, slots: usize, window: u64) -> Arc<Ring<Word>> {
    let retention = Retention { entries_max, bytes_max: usize::MAX, age_ms_max: u64::MAX };
    Arc::new(Ring::with_window(retention, window, slots..=slots))
}

fn push(ring: &Ring<Word>, value: u64) -> u64 {
    let pushed = ring.push(Word::new(value), || Seq::MAX);
    pushed.expect("there is room").seq.0
}

/// As [`push`], but evicts nothing.
fn push_over_nothing_passed(ring: &Ring<Word>, value: u64) -> u64 {
    let pushed = ring.push(Word::new(value), || Seq(0));
    pushed.expect("there is room").seq.0
}

/// What is in the ring from `from` on, with its place.
fn read(ring: &Ring<Word>, from: u64) -> Result<Vec<(u64, u64)>, Lagged> {
    let mut read = Vec::new();
    let next = ring.read(Seq(from), |seq, word| {
        read.push((seq.0, word.value()));
        Continue(())
    })?;
    assert_eq!(next.0, from + read.len() as u64);
    Ok(read)
}

/// Runs `f` in a thread of its own.
fn go<R: 'static>(ring: &Arc<Ring<Word>>, f: impl FnOnce(&Ring<Word>) -> R + 'static) -> thread::JoinHandle<R> {
    let ring = Arc::clone(ring);
    thread::spawn(move || f(&ring))
}

#[test]
fn two_publishers_and_a_reader_agree_on_one_order() {
    check(|| {
        let ring = ring(100, 2);
        let a = go(&ring, |ring| push(ring, 10));
        let b = go(&ring, |ring| push(ring, 20));
        let early = read(&ring, 1).expect("nothing is evicted");
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        let mut expected = [(a, 10), (b, 20)];
        expected.sort_unstable();
        assert_eq!(read(&ring, 1).unwrap(), expected);
        assert_eq!(early, expected[..early.len()]);
        assert_eq!(ring.newest(), Seq(2));
        assert_eq!(ring.retained_bytes(), 2);
    });
}

#[test]
fn what_a_reader_has_seen_is_not_newer_than_newest() {
    check(|| {
        let ring = ring(100, 1);
        let publisher = go(&ring, |ring| push(ring, 10));
        let seen = read(&ring, 1).expect("nothing is evicted").len() as u64;
        assert!(ring.newest().0 >= seen);
        publisher.join().unwrap();
    });
}

#[test]
fn a_publisher_that_slept_does_not_reuse_the_place_of_an_evicted_entry() {
    check(|| {
        let ring = ring(0, 2);
        let sleeper = go(&ring, |ring| push_over_nothing_passed(ring, 10));
        let other = push(&ring, 20);
        let mut placed = [sleeper.join().unwrap(), other];
        placed.sort_unstable();
        assert_eq!(placed, [1, 2]);
        assert_eq!(ring.newest(), Seq(2));
    });
}

#[test]
fn publishers_that_need_a_new_segment_at_once_link_one() {
    check(|| {
        let ring = ring(100, 1);
        push(&ring, 5);
        let a = go(&ring, |ring| push(ring, 10));
        let b = push(&ring, 20);
        let a = a.join().unwrap();
        let mut expected = [(1, 5), (a, 10), (b, 20)];
        expected.sort_unstable();
        assert_eq!(read(&ring, 1).unwrap(), expected);
    });
}

#[test]
fn a_reader_that_meets_a_new_segment_sees_it_whole() {
    check(|| {
        let ring = ring(100, 1);
        push(&ring, 1);
        let publisher = go(&ring, |ring| {
            push(ring, 2);
            push(ring, 3);
        });
        let early = read(&ring, 1).expect("nothing is evicted");
        assert_eq!(early, [(1, 1), (2, 2), (3, 3)][..early.len()]);
        publisher.join().unwrap();
        assert_eq!(read(&ring, 1).unwrap().len(), 3);
    });
}

#[test]
fn a_reader_that_meets_eviction_gets_a_run_or_a_count() {
    check(|| {
        let ring = ring(100, 1);
        for value in 1..=3 {
            push(&ring, value);
        }
        let evictor = go(&ring, |ring| ring.shrink(1, Seq::MAX));
        match read(&ring, 1) {
            // Overtaken in the middle it stops early, and the next read tells.
            Ok(read) => assert_eq!(read, [(1, 1), (2, 2), (3, 3)][..read.len()]),
            Err(lagged) => {
                assert_eq!(lagged.missed, lagged.resume.0 - 1);
                assert!(
                    read(&ring, lagged.resume.0).is_ok_and(|read| read.is_empty() || read[0].0 == lagged.resume.0)
                        || lagged.resume < Seq(3)
                );
            }
        }
        assert_eq!(evictor.join().unwrap(), 2);
    });
}

#[test]
fn an_evictor_finds_every_slot_before_tail_filled() {
    check(|| {
        let ring = ring(100, 2);
        let a = go(&ring, |ring| push(ring, 10));
        let b = go(&ring, |ring| push(ring, 20));
        let freed = ring.shrink(0, Seq::MAX);
        a.join().unwrap();
        b.join().unwrap();
        assert_eq!(freed + ring.shrink(0, Seq::MAX), 2);
    });
}

#[test]
fn two_evictors_free_each_entry_once() {
    check(|| {
        let ring = ring(100, 1);
        for value in 1..=2 {
            push(&ring, value);
        }
        let a = go(&ring, |ring| ring.shrink(0, Seq::MAX));
        let b = ring.shrink(0, Seq::MAX);
        assert_eq!(a.join().unwrap() + b, 2);
        assert_eq!((ring.retained_entries(), ring.retained_bytes()), (0, 0));
    });
}

#[test]
fn a_publisher_never_finds_a_segment_that_was_let_go() {
    check(|| {
        let ring = ring(0, 1);
        push(&ring, 10);
        let sleeper = go(&ring, |ring| push_over_nothing_passed(ring, 20));
        let other = push(&ring, 30);
        let mut placed = [sleeper.join().unwrap(), other];
        placed.sort_unstable();
        assert_eq!(placed, [2, 3]);
    });
}

/// The publisher may stop between linking the second segment and moving the hint to it.
#[test]
fn nobody_finds_by_the_hint_what_an_evictor_let_go() {
    check(|| {
        let ring = ring(100, 1);
        push(&ring, 1);
        let publisher = go(&ring, |ring| push(ring, 2));
        ring.shrink(0, Seq::MAX);
        assert!(ring.newest() >= Seq(1));
        publisher.join().unwrap();
    });
}

#[test]
fn a_reader_never_finds_a_segment_that_was_let_go() {
    check(|| {
        let ring = ring(1, 1);
        push(&ring, 1);
        let a = go(&ring, |ring| {
            push(ring, 2);
            push(ring, 3);
        });
        let mut at = 1;
        for _ in 0..2 {
            match read(&ring, at) {
                Ok(read) => {
                    for (seq, value) in read {
                        assert_eq!((seq, value), (at, at));
                        at += 1;
                    }
                }
                Err(lagged) => {
                    assert_eq!(lagged.missed, lagged.resume.0 - at);
                    at = lagged.resume.0;
                }
            }
        }
        a.join().unwrap();
    });
}

#[test]
fn either_the_publisher_or_the_closer_wins() {
    check(|| {
        let ring = ring(100, 1);
        let publisher = go(&ring, |ring| ring.push(Word::new(1), || Seq::MAX).is_ok());
        let closed = ring.close_after(Seq(0));
        assert_eq!(publisher.join().unwrap(), !closed);
        assert_eq!(ring.is_closed(), closed);
        assert_eq!(read(&ring, 1).unwrap().is_empty(), closed);
    });
}

#[test]
fn of_two_publishers_none_gets_further_ahead_than_the_window() {
    check(|| {
        let ring = ring_with_window(0, 2, 1);
        let passed = Arc::new(AtomicU64::new(0));
        let publish = |value| {
            let passed = Arc::clone(&passed);
            go(&ring, move |ring| {
                let pushed = ring.push(Word::new(value), || Seq(passed.load(Acquire)));
                pushed.is_ok()
            })
        };
        let (a, b) = (publish(10), publish(20));
        // Nobody has passed anything: whoever comes second is refused.
        assert!(ring.newest() <= Seq(1));
        passed.store(1, Release);
        let placed = u64::from(a.join().unwrap()) + u64::from(b.join().unwrap());
        assert!((1..=2).contains(&placed));
        assert_eq!(ring.newest(), Seq(placed));
    });
}

#[test]
fn what_was_not_passed_stays() {
    check(|| {
        let ring = ring(0, 1);
        let publish = |value| go(&ring, move |ring| push_over_nothing_passed(ring, value));
        let (a, b) = (publish(10), publish(20));
        assert!(read(&ring, 1).is_ok());
        let mut placed = [a.join().unwrap(), b.join().unwrap()];
        placed.sort_unstable();
        assert_eq!(placed, [1, 2]);
        assert_eq!(read(&ring, 1).unwrap().len(), 2);
    });
}
