//! The ring with threads that are real, and with the oracle.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;

use super::oracle::fuzz_ops;
use super::*;

struct Note {
    publisher: u64,
    count: u64,
    /// Dropped with the note, so that leaks and early frees show in a sanitizer.
    body: Box<[u8]>,
}

impl Note {
    fn new(publisher: u64, count: u64) -> Arc<Self> {
        Arc::new(Self { publisher, count, body: vec![u8::try_from(count % 251).unwrap_or(0); 24].into() })
    }
}

impl Entry for Note {
    fn weight(&self) -> usize {
        self.body.len()
    }

    fn at_ms(&self) -> u64 {
        0
    }
}

const KEEP_ALL: Retention = Retention { entries_max: usize::MAX, bytes_max: usize::MAX, age_ms_max: u64::MAX };

fn keep(entries_max: usize) -> Retention {
    Retention { entries_max, ..KEEP_ALL }
}

fn nobody() -> Seq {
    Seq::MAX
}

proptest! {
    #[test]
    fn the_ring_does_what_the_oracle_does(data in vec(any::<u8>(), 0..600)) {
        fuzz_ops(&data);
    }
}

#[test]
fn an_empty_ring_stands_before_its_first_entry() {
    let ring = Ring::<Note>::new(KEEP_ALL, 0);
    assert_eq!((ring.newest(), ring.oldest()), (Seq(0), Seq(1)));
    assert_eq!(ring.read(Seq(1), |_, _| unreachable!()), Ok(Seq(1)));
}

#[test]
fn a_reader_that_was_overtaken_learns_how_much_it_missed() {
    let ring = Arc::new(Ring::new(keep(10), 0));
    let mut cursor = Cursor::new(Arc::clone(&ring), Seq(1));
    for count in 1..=100 {
        ring.push(Note::new(0, count), nobody).unwrap();
    }
    let lagged = Lagged { missed: 90, resume: Seq(91) };
    assert_eq!(cursor.next().map(drop), Err(lagged));
    for count in 91..=100 {
        assert_eq!(cursor.next().unwrap().unwrap().count, count);
    }
    assert!(cursor.next().unwrap().is_none());
}

#[test]
fn a_publisher_is_held_back_at_the_window_and_gets_its_entry_back() {
    let ring = Ring::new(keep(0), 64);
    let passed = || Seq(0);
    for count in 1..=64 {
        ring.push(Note::new(0, count), passed).unwrap();
    }
    let refused = ring.push(Note::new(0, 65), passed);
    assert!(matches!(refused, Err(PushError::Full(note)) if note.count == 65));
    assert_eq!(ring.retained_entries(), 64);
    ring.push(Note::new(0, 65), || Seq(1)).unwrap();
    assert_eq!(ring.oldest(), Seq(2));
}

#[test]
fn a_closed_ring_takes_nothing_and_is_closed_once() {
    let ring = Ring::new(KEEP_ALL, 0);
    ring.push(Note::new(0, 1), nobody).unwrap();
    assert!(!ring.close_after(Seq(0)));
    assert!(!ring.is_closed());
    assert!(ring.close());
    assert!(ring.is_closed());
    assert!(!ring.close());
    let refused = ring.push(Note::new(0, 2), nobody);
    assert!(matches!(refused, Err(PushError::Closed(note)) if note.count == 2));
    assert_eq!(ring.newest(), Seq(1));
}

#[test]
fn what_is_retained_goes_with_the_ring() {
    let ring = Ring::new(KEEP_ALL, 0);
    let note = Note::new(0, 1);
    for _ in 0..100 {
        ring.push(Arc::clone(&note), nobody).unwrap();
    }
    drop(ring);
    assert_eq!(Arc::strong_count(&note), 1);
}

#[test]
fn a_ring_that_has_seen_one_entry_is_small() {
    assert!(size_of::<Ring<Note>>() <= 128);
}

/// Everything that was pushed is either got or counted as missed, and each publisher's entries come in
/// its order, while all of this happens at once: growth, eviction, reclamation.
#[test]
fn got_and_missed_add_up_for_every_reader_under_stress() {
    const PUBLISHERS: u64 = 2;
    const EACH: u64 = if cfg!(miri) { 200 } else { 100_000 };
    let ring = Ring::<Note>::new(keep(48), 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut at = Seq(1);
                let (mut got, mut missed) = (0, 0);
                let mut last = [0; PUBLISHERS as usize];
                loop {
                    let finished = done.load(Acquire);
                    let before = got;
                    let read = ring.read(at, |_, note| {
                        let publisher = usize::try_from(note.publisher).unwrap();
                        assert!(last[publisher] < note.count);
                        assert!(note.body.iter().all(|&b| u64::from(b) == note.count % 251));
                        last[publisher] = note.count;
                        got += 1;
                        ControlFlow::Continue(())
                    });
                    match read {
                        Ok(next) => at = next,
                        Err(lagged) => {
                            missed += lagged.missed;
                            at = lagged.resume;
                            continue;
                        }
                    }
                    if got == before {
                        if finished {
                            break;
                        }
                        thread::yield_now();
                    }
                }
                assert_eq!(got + missed, PUBLISHERS * EACH);
            });
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let ring = &ring;
                scope.spawn(move || {
                    for count in 1..=EACH {
                        ring.push(Note::new(publisher, count), nobody).unwrap();
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        done.store(true, Release);
    });
    assert_eq!(ring.newest(), Seq(PUBLISHERS * EACH));
    assert_eq!(ring.retained_bytes(), ring.retained_entries() * 24);
}

/// A reader that holds publishers back misses nothing, whatever retention says.
#[test]
fn a_reader_that_holds_publishers_back_misses_nothing_under_stress() {
    const EACH: u64 = if cfg!(miri) { 100 } else { 20_000 };
    let ring = Ring::new(keep(0), 64);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for publisher in 0..2 {
            let (ring, passed) = (&ring, &passed);
            scope.spawn(move || {
                for count in 1..=EACH {
                    let mut note = Note::new(publisher, count);
                    while let Err(refused) = ring.push(note, || Seq(passed.load(Acquire))) {
                        let PushError::Full(back) = refused else { unreachable!("nobody closes it") };
                        note = back;
                        thread::yield_now();
                    }
                }
            });
        }
        let mut at = Seq(1);
        while at <= Seq(2 * EACH) {
            let next = ring.read(at, |_, _| ControlFlow::Continue(())).unwrap();
            assert!(ring.retained_entries() <= 128);
            if next == at {
                thread::yield_now();
            }
            at = next;
            passed.store(at.0 - 1, Release);
        }
    });
    ring.evict(0, Seq::MAX);
    assert_eq!(ring.retained_entries(), 0);
}

/// Reclaims until so many handles of `note` are left.
fn collect_until(note: &Arc<Note>, handles: usize) {
    // Other tests' readers may hold the epoch back for a moment.
    for _ in 0..1_000_000 {
        reclaim::collect();
        if Arc::strong_count(note) == handles {
            return;
        }
        thread::yield_now();
    }
    panic!("{} copies are left", Arc::strong_count(note));
}

#[test]
fn what_was_evicted_is_freed_soon() {
    let ring = Ring::new(keep(4), 0);
    let note = Note::new(0, 1);
    for _ in 0..1_000 {
        ring.push(Arc::clone(&note), nobody).unwrap();
    }
    collect_until(&note, 5);
}

#[test]
fn what_a_thread_retired_is_freed_after_its_end() {
    let note = Note::new(0, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ring = Ring::new(keep(0), 0);
            ring.push(Arc::clone(&note), nobody).unwrap();
        });
    });
    collect_until(&note, 1);
}

#[test]
fn bytes_counted_late_do_not_show_as_a_huge_number() {
    let ring = Ring::<Note>::new(KEEP_ALL, 0);
    ring.ends.bytes.fetch_sub(1, Relaxed);
    assert_eq!(ring.retained_bytes(), 0);
    ring.ends.bytes.fetch_add(1, Relaxed);
}
