//! The broadcast ring beside `tokio::sync::broadcast`: the same shapes with 1, 2, 8 and 64 receivers and 1
//! and 4 publishers. An entry is an `Arc` with 256 bytes, made for each publish and cloned for each receipt.
//!
//! "alone" is one thread that does nothing else. "contended" is publishers and receivers at once: what is
//! measured of publishing is the time until all publishers are through, divided by what they published; of
//! receiving, the time in which what had piled up is taken, so that waiting for publishers does not count.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::internals::ring::{Cursor, Entry, Lagged, Retention, Ring, Seq};
use tokio::sync::broadcast::{self, error::TryRecvError};

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
    const NAME: &'static str;
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
    const NAME: &'static str = "tokio";
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
    const NAME: &'static str = "ring";
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
    const NAME: &'static str = "ring, batched";
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

/// Publishes `count` entries to `receivers` that take nothing meanwhile.
fn publish_alone<C: Channel>(receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| channel.receiver()).collect();
    let start = Instant::now();
    for _ in 0..count {
        channel.publish();
    }
    let took = start.elapsed();
    for receiver in &mut receivers {
        let Taken { got, missed } = C::take(receiver, u64::MAX);
        assert_eq!(got, count.min(HELD as u64));
        assert_eq!(got + missed, count);
    }
    took
}

/// Has each of `receivers` take `count` entries that are there already.
fn receive_alone<C: Channel>(receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| channel.receiver()).collect();
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let turn = left.min(TURN);
        for _ in 0..turn {
            channel.publish();
        }
        let start = Instant::now();
        for receiver in &mut receivers {
            let Taken { got, missed } = C::take(receiver, u64::MAX);
            assert_eq!((got, missed), (turn, 0));
        }
        took += start.elapsed();
        left -= turn;
    }
    took
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
                for (receiver, sum) in &mut receivers {
                    add(sum, C::take(receiver, TURN));
                }
            }
        });
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..publishers {
                scope.spawn(|| (0..each).for_each(|_| channel.publish()));
            }
        });
        let took = start.elapsed();
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

/// Has each of `receivers` take `count` entries while `publishers` threads go on publishing.
fn receive_contended<C: Channel>(publishers: usize, receivers: usize, count: u64) -> Duration {
    let channel = C::new();
    let mut receivers: Vec<_> = (0..receivers).map(|_| (channel.receiver(), Taken::default())).collect();
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
        let mut left = count;
        while left > 0 {
            let turn = left.min(TURN);
            for (receiver, sum) in &mut receivers {
                while channel.waiting(receiver) < turn {
                    std::hint::spin_loop();
                }
                let start = Instant::now();
                let taken = C::take(receiver, turn);
                took += start.elapsed();
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
    took
}

fn add(sum: &mut Taken, taken: Taken) {
    sum.got += taken.got;
    sum.missed += taken.missed;
}

fn benches<C: Channel>(criterion: &mut Criterion) {
    for receivers in RECEIVERS {
        let mut group = criterion.benchmark_group("publish alone");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(C::NAME, receivers), |bencher| {
            bencher.iter_custom(|count| publish_alone::<C>(receivers, count));
        });
        group.finish();
        let mut group = criterion.benchmark_group("receive alone");
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::new(C::NAME, receivers), |bencher| {
            bencher.iter_custom(|count| receive_alone::<C>(receivers, count));
        });
        group.finish();
        for publishers in PUBLISHERS {
            let mut group = criterion.benchmark_group(format!("publish contended by {publishers}"));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(C::NAME, receivers), |bencher| {
                bencher.iter_custom(|count| publish_contended::<C>(publishers, receivers, count));
            });
            group.finish();
            let mut group = criterion.benchmark_group(format!("receive contended by {publishers}"));
            group.throughput(Throughput::Elements(receivers as u64));
            group.bench_function(BenchmarkId::new(C::NAME, receivers), |bencher| {
                bencher.iter_custom(|count| receive_contended::<C>(publishers, receivers, count));
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = benches::<Tokio>, benches::<Single>, benches::<Batched>
}
criterion_main!(all);
