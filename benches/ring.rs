//! The broadcast ring beside `tokio::sync::broadcast`: the same shapes with 1, 2, 8 and 64 receivers and 1
//! and 4 publishers. An entry is an `Arc` with 256 bytes, made for each publish and cloned for each receipt.
//!
//! "alone" is one thread that does nothing else; "contended" is publishers at work while another thread takes
//! for all receivers. Times are the CPU time of the threads in question, so that neither another load nor
//! more threads than cores counts. Time blocked on a lock does not count either, which favours tokio. Of
//! receiving, only taking what had piled up is measured, not the wait for it.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fanfare::internals::ring::{Cursor, Entry, Lagged, Retention, Ring, Seq};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::broadcast::{self, error::TryRecvError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELD: usize = 1024;
const RECEIVERS: [usize; 4] = [1, 2, 8, 64];
const PUBLISHERS: [usize; 2] = [1, 4];

/// Receivers take this many at a time, of at least as many that wait.
const TURN: u64 = 256;

struct Note(Bytes);

impl Note {
    fn new() -> Arc<Self> {
        static BODY: [u8; 256] = [7; 256];
        Arc::new(Self(Bytes::copy_from_slice(&BODY)))
    }
}

impl Entry for Note {
    fn weight(&self) -> usize {
        self.0.len()
    }

    fn at_ms(&self) -> u64 {
        0
    }
}

/// What a receiver got, and what it heard that it missed.
#[derive(Clone, Copy, Default)]
struct Taken {
    got: u64,
    missed: u64,
}

/// What all shapes need of a channel.
trait Channel: Sync {
    type Receiver: Send;

    fn new() -> Self;
    fn publish(&self);
    /// A receiver that begins with what is published next.
    fn receiver(&self) -> Self::Receiver;
    /// Takes what there is, but no more than `max`.
    fn take(receiver: &mut Self::Receiver, max: u64) -> Taken;
    /// How many entries wait.
    fn waiting(&self, receiver: &Self::Receiver) -> u64;
}

struct Tokio(broadcast::Sender<Arc<Note>>);

impl Channel for Tokio {
    type Receiver = broadcast::Receiver<Arc<Note>>;

    fn new() -> Self {
        Self(broadcast::Sender::new(HELD))
    }

    fn publish(&self) {
        // Fails only when there is no receiver, after the entry was made.
        let _ = black_box(self.0.send(Note::new()));
    }

    fn receiver(&self) -> Self::Receiver {
        self.0.subscribe()
    }

    fn take(receiver: &mut Self::Receiver, max: u64) -> Taken {
        let mut taken = Taken::default();
        while taken.got < max {
            match receiver.try_recv() {
                Ok(note) => {
                    black_box(&note);
                    taken.got += 1;
                }
                Err(TryRecvError::Lagged(missed)) => taken.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        taken
    }

    fn waiting(&self, receiver: &Self::Receiver) -> u64 {
        receiver.len() as u64
    }
}

fn ring() -> Arc<Ring<Note>> {
    let retention = Retention { entries_max: HELD, bytes_max: usize::MAX, age_ms_max: u64::MAX };
    Arc::new(Ring::new(retention, 0))
}

fn publish(ring: &Ring<Note>) {
    let pushed = ring.push(Note::new(), || Seq::MAX);
    black_box(pushed.expect("nobody holds publishers back"));
}

fn waiting(ring: &Ring<Note>, at: Seq) -> u64 {
    (ring.newest().0 + 1).saturating_sub(at.0)
}

/// The ring, read an entry at a time.
struct Single(Arc<Ring<Note>>);

impl Channel for Single {
    type Receiver = Cursor<Note>;

    fn new() -> Self {
        Self(ring())
    }

    fn publish(&self) {
        publish(&self.0);
    }

    fn receiver(&self) -> Self::Receiver {
        Cursor::new(Arc::clone(&self.0), self.0.newest().next())
    }

    fn take(receiver: &mut Self::Receiver, max: u64) -> Taken {
        let mut taken = Taken::default();
        while taken.got < max {
            match receiver.next() {
                Ok(Some(note)) => {
                    black_box(&note);
                    taken.got += 1;
                }
                Ok(None) => break,
                Err(Lagged { missed, .. }) => taken.missed += missed,
            }
        }
        taken
    }

    fn waiting(&self, receiver: &Self::Receiver) -> u64 {
        waiting(&self.0, receiver.at())
    }
}

/// The ring, read as a shard does.
struct Batched(Arc<Ring<Note>>);

impl Channel for Batched {
    type Receiver = (Arc<Ring<Note>>, Seq);

    fn new() -> Self {
        Self(ring())
    }

    fn publish(&self) {
        publish(&self.0);
    }

    fn receiver(&self) -> Self::Receiver {
        (Arc::clone(&self.0), self.0.newest().next())
    }

    fn take((ring, at): &mut Self::Receiver, max: u64) -> Taken {
        let mut taken = Taken::default();
        while taken.got < max {
            let before = taken.got;
            let read = ring.read(*at, |_, note| {
                black_box(Arc::clone(note));
                taken.got += 1;
                if taken.got == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match read {
                Ok(next) => *at = next,
                Err(lagged) => {
                    taken.missed += lagged.missed;
                    *at = lagged.resume;
                    continue;
                }
            }
            if taken.got == before {
                break;
            }
        }
        taken
    }

    fn waiting(&self, (ring, at): &Self::Receiver) -> u64 {
        waiting(ring, *at)
    }
}

/// The CPU time that this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}

/// Publishes `count` entries to `receivers` that take nothing meanwhile.
fn publish_alone<C: Channel>(_: usize, receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| channel.receiver()).collect();
    let start = cpu_time();
    for _ in 0..count {
        channel.publish();
    }
    let took = cpu_time() - start;
    for receiver in &mut receivers {
        let Taken { got, missed } = C::take(receiver, u64::MAX);
        assert_eq!(got, count.min(HELD as u64));
        assert_eq!(got + missed, count);
    }
    took
}

/// Has `receivers` take `count` entries in all, that are there already.
fn receive_alone<C: Channel>(_: usize, receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| channel.receiver()).collect();
    let mut took = Duration::ZERO;
    let each = count.div_ceil(receivers.len() as u64);
    let mut left = each;
    while left > 0 {
        let turn = left.min(TURN);
        for _ in 0..turn {
            channel.publish();
        }
        let start = cpu_time();
        for receiver in &mut receivers {
            let Taken { got, missed } = C::take(receiver, u64::MAX);
            assert_eq!((got, missed), (turn, 0));
        }
        took += cpu_time() - start;
        left -= turn;
    }
    took.mul_f64(count as f64 / (each * receivers.len() as u64) as f64)
}

/// Publishes `count` entries from `publishers` threads while another one takes them for all `receivers`.
fn publish_contended<C: Channel>(publishers: usize, receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let each = count.div_ceil(publishers as u64);
    let mut receivers: Vec<_> = (0..receivers).map(|_| (channel.receiver(), Taken::default())).collect();
    let done = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let mut got = 0;
                for (receiver, sum) in &mut receivers {
                    let taken = C::take(receiver, TURN);
                    got += taken.got;
                    add(sum, taken);
                }
                if got == 0 {
                    thread::yield_now();
                }
            }
        });
        let publishers: Vec<_> = (0..publishers)
            .map(|_| {
                scope.spawn(|| {
                    let start = cpu_time();
                    (0..each).for_each(|_| channel.publish());
                    cpu_time() - start
                })
            })
            .collect();
        let took = publishers.into_iter().map(|publisher| publisher.join().expect("it only publishes")).sum();
        done.store(true, Relaxed);
        took
    });
    for (receiver, mut sum) in receivers {
        let mut receiver = receiver;
        add(&mut sum, C::take(&mut receiver, u64::MAX));
        assert_eq!(sum.got + sum.missed, each * publishers as u64);
    }
    took
}

/// Has `receivers` take `count` entries in all while `publishers` threads go on publishing.
fn receive_contended<C: Channel>(publishers: usize, receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| (channel.receiver(), Taken::default())).collect();
    let (each, all) = (count.div_ceil(receivers.len() as u64), receivers.len() as u64);
    let done = AtomicBool::new(false);
    let (took, published) = thread::scope(|scope| {
        let publish = || {
            let mut published = 0;
            while !done.load(Relaxed) {
                channel.publish();
                published += 1;
            }
            published
        };
        let publishers: Vec<_> = (0..publishers).map(|_| scope.spawn(publish)).collect();
        let mut took = Duration::ZERO;
        let mut left = each;
        while left > 0 {
            let turn = left.min(TURN);
            for (receiver, sum) in &mut receivers {
                while channel.waiting(receiver) < turn {
                    thread::yield_now();
                }
                let start = cpu_time();
                let taken = C::take(receiver, turn);
                took += cpu_time() - start;
                assert_eq!(taken.got, turn);
                add(sum, taken);
            }
            left -= turn;
        }
        done.store(true, Relaxed);
        let published: u64 = publishers.into_iter().map(|publisher| publisher.join().expect("it only publishes")).sum();
        (took, published)
    });
    for (receiver, mut sum) in receivers {
        let mut receiver = receiver;
        add(&mut sum, C::take(&mut receiver, u64::MAX));
        assert_eq!(sum.got + sum.missed, published);
    }
    took.mul_f64(count as f64 / (each * all) as f64)
}

fn add(sum: &mut Taken, taken: Taken) {
    sum.got += taken.got;
    sum.missed += taken.missed;
}

/// A shape to measure: how many publishers, receivers and entries.
type Shape = fn(usize, usize, u64) -> Duration;

fn measure(criterion: &mut Criterion, name: &str, publishers: &[usize], contestants: &[(&str, Shape)]) {
    for publishers in publishers {
        let mut group = criterion.benchmark_group(format!("{name}, publishers: {publishers}"));
        for receivers in RECEIVERS {
            for (contestant, shape) in contestants {
                group.bench_function(BenchmarkId::new(*contestant, receivers), |bencher| {
                    bencher.iter_custom(|count| shape(*publishers, receivers, count));
                });
            }
        }
        group.finish();
    }
}

fn publish_benches(criterion: &mut Criterion) {
    let contestants: [(&str, Shape); 2] = [("tokio", publish_alone::<Tokio>), ("ring", publish_alone::<Single>)];
    measure(criterion, "publish alone", &[1], &contestants);
    let contestants: [(&str, Shape); 2] =
        [("tokio", publish_contended::<Tokio>), ("ring", publish_contended::<Single>)];
    measure(criterion, "publish contended", &PUBLISHERS, &contestants);
}

fn receive_benches(criterion: &mut Criterion) {
    let contestants: [(&str, Shape); 3] = [
        ("tokio", receive_alone::<Tokio>),
        ("ring", receive_alone::<Single>),
        ("ring, batched", receive_alone::<Batched>),
    ];
    measure(criterion, "receive alone", &[1], &contestants);
    let contestants: [(&str, Shape); 3] = [
        ("tokio", receive_contended::<Tokio>),
        ("ring", receive_contended::<Single>),
        ("ring, batched", receive_contended::<Batched>),
    ];
    measure(criterion, "receive contended", &PUBLISHERS, &contestants);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = publish_benches, receive_benches
}
criterion_main!(benches);
