//! What it costs to keep histories on disk: to write them, to read them back, and for those who publish
//! meanwhile. Processor time, as disks differ; beside it what the clock says, which has the disk in it.
//!
//! `cargo bench --bench store` measures 10,000 topics of 26 messages; `-- --topics N` that many. What publishers pay is
//! measured with 1,000 topics.

#![allow(clippy::print_stdout, reason = "a bench talks to a terminal")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::{Broker, Data, Publisher, Store};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const MESSAGES: usize = 26;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number_after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let topics = number_after("--topics").unwrap_or(if is_test { 100 } else { 10_000 });
    let dir = Dir(std::env::temp_dir().join(format!("fanfare-bench-store-{}", std::process::id())));
    let retained = written_and_read(&dir, topics);
    grown(&dir, topics, if is_test { 3 } else { 20 }, retained);
    disturbed(if is_test { 1_000 } else { 1_000_000 });
}

/// A directory that is gone when this is dropped.
struct Dir(PathBuf);

impl Dir {
    fn file_bytes(&self) -> u64 {
        std::fs::metadata(self.0.join("history.redb")).expect("it is there").len()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the directory is ours");
    }
}

fn payload() -> Data {
    Data::from_serialize(&json!({"text": "x".repeat(115)})).expect("it is JSON")
}

fn broker() -> Broker {
    Broker::builder().retained_bytes_max(4 << 30).build()
}

fn publishers(broker: &Broker, topics: usize) -> Vec<Publisher> {
    (0..topics).map(|number| broker.publisher(&format!("bench.{number}")).expect("a name")).collect()
}

fn publish(publishers: &[Publisher], times: usize) {
    let data = payload();
    for _ in 0..times {
        for publisher in publishers {
            // It is full while what has left the rings waits to be freed.
            while publisher.try_publish(data.clone()).is_err() {
                thread::yield_now();
            }
        }
    }
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (began, before) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    let done = work();
    let (spent, elapsed) = (cpu(ClockId::ProcessCPUTime) - before, began.elapsed());
    println!("{what:<44} {:>9.1} ms of processor time, {:>9.1} ms", millis(spent), millis(elapsed));
    done
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Gives what the file had in bytes.
fn written_and_read(dir: &Dir, topics: usize) -> u64 {
    let all = broker();
    let mut store = Store::open(&dir.0, &all).expect("an empty directory");
    let publishers = publishers(&all, topics);
    publish(&publishers, MESSAGES);
    println!("{topics} topics of {MESSAGES} messages of {} bytes", payload().bytes().len());
    let mut write = |what: &str| timed(what, || store.write().expect("room on the disk"));
    write("written for the first time");
    write("written again, nothing has changed");
    publish(&publishers[..topics / 10], 1);
    write("written again, a tenth has one more message");
    publish(&publishers, 1);
    write("written again, each has one more message");
    timed("closed", || store.close().expect("room on the disk"));

    let bytes = dir.file_bytes();
    println!("the file has {bytes} bytes");
    let next = broker();
    let store = timed("opened and read", || Store::open(&dir.0, &next).expect("it was closed in order"));
    let restored = store.restored();
    let expected = topics * (MESSAGES + 1) + topics / 10;
    assert!(restored.clean && restored.topics == topics && restored.messages == expected, "{restored:?}");
    bytes
}

/// What the file grows to when everything in it is replaced time and again.
fn grown(dir: &Dir, topics: usize, rounds: usize, before: u64) {
    let broker = broker();
    let mut store = Store::open(&dir.0, &broker).expect("nobody has it open");
    let publishers = publishers(&broker, topics);
    let mut most = 0;
    for _ in 0..rounds {
        publish(&publishers, MESSAGES);
        store.write().expect("room on the disk");
        most = most.max(dir.file_bytes());
    }
    store.close().expect("room on the disk");
    let history = broker.history("bench.0", usize::MAX).expect("a name");
    let payloads = topics * history.iter().map(|message| message.data().bytes().len()).sum::<usize>();
    println!(
        "written {rounds} times, {MESSAGES} messages more each time: from {before} bytes to {most}, {} at the end, for {payloads} \
         bytes of payload",
        dir.file_bytes()
    );
}

/// What a publish costs its thread while another one writes all the time, and while none does.
fn disturbed(messages: usize) {
    const TOPICS: usize = 1_000;
    const ROUNDS: usize = 5;
    let dir = Dir(std::env::temp_dir().join(format!("fanfare-bench-disturbed-{}", std::process::id())));
    let broker = broker();
    let mut store = Store::open(&dir.0, &broker).expect("an empty directory");
    let publishers = publishers(&broker, TOPICS);
    publish(&publishers, 256);
    let round = || {
        let before = cpu(ClockId::ThreadCPUTime);
        publish(&publishers, messages / TOPICS);
        (cpu(ClockId::ThreadCPUTime) - before).as_nanos() as f64 / messages as f64
    };
    let mut costs = [Vec::new(), Vec::new()];
    let mut writes = 0;
    for _ in 0..ROUNDS {
        costs[0].push(round());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut writes = 0;
                while !over.load(Ordering::Relaxed) {
                    store.write().expect("room on the disk");
                    writes += 1;
                }
                writes
            });
            costs[1].push(round());
            over.store(true, Ordering::Relaxed);
            writes += writer.join().expect("it does not panic");
        });
    }
    let [alone, beside] = costs.map(|mut costs| {
        costs.sort_by(f64::total_cmp);
        costs[ROUNDS / 2]
    });
    println!(
        "a publish takes {alone:.0} ns of processor time, {beside:.0} ns while another thread writes without a pause ({:.2} \
         times; {writes} writes; medians of {ROUNDS} rounds)",
        beside / alone
    );
}
