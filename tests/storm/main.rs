//! The real server behind a proxy that cuts, stalls and throttles, killed and started again in between; guests
//! that come back and hold it to what they must see.
//!
//! What a guest must see is the simulation's model. `FANFARE_STORM_SECONDS` makes it longer than the few
//! seconds that it takes by default; `FANFARE_STORM_SEED` has everybody begin with the same intentions, though
//! not the kernel.

#![cfg(feature = "server")]
#![expect(clippy::print_stdout, reason = "what a run was about, and its seed")]

#[path = "../support/frames.rs"]
mod frames;
mod guest;
#[path = "../../src/simulation/ledger.rs"]
#[expect(dead_code, reason = "the simulation asks for more")]
mod ledger;
mod line;
#[path = "../../src/simulation/model/mod.rs"]
#[expect(dead_code, reason = "the simulation asks for more")]
mod model;
mod outside;
mod proxy;
#[path = "../../src/simulation/random.rs"]
mod random;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "others need no configuration")]
mod server;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use guest::{Guest, House};
use ledger::{Ledger, Place, Sent, data};
use line::{Line, lock};
use outside::{CONFIGURATION, Outside, TOPICS, Truth, ask};
use proxy::Proxy;
use random::Random;
use server::Server;

const GUESTS: u64 = 24;

/// How long it takes, at most, until everybody has been told everything.
const QUIET_TIME: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_silence_when_the_server_is_killed() {
    storm("killed", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_silence_when_the_server_is_killed_and_has_its_histories_on_disk() {
    storm("stored", true).await;
}

async fn storm(name: &str, keeps: bool) {
    let seconds = variable("FANFARE_STORM_SECONDS").unwrap_or(8);
    let seed = variable("FANFARE_STORM_SEED").unwrap_or(1);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("storm-{name}"));
    // Left by a run before.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("fanfare.toml"), CONFIGURATION).expect("a file");
    let start = || {
        let mut command = server::command(&[]);
        command.arg("--config").arg(folder.join("fanfare.toml"));
        if keeps {
            command.env("FANFARE_HISTORY__DATA_DIR", folder.join("data"));
        }
        Server::run(command)
    };
    let mut running = start();
    let (proxy, address) = Proxy::start(seed).await;
    proxy.lead_to(Some(running.address()));
    let ledger = Arc::new(Mutex::new(Ledger::of_restarts()));
    let outside = Arc::<Outside>::default();
    let house = Arc::new(House {
        proxy: address,
        ledger: Arc::clone(&ledger),
        outside: Arc::clone(&outside),
        lines: AtomicU64::new(0),
    });

    let end = Instant::now() + Duration::from_secs(seconds);
    let (said, truth) = watch::channel((0, None));
    let level: Arc<Vec<AtomicU64>> = Arc::new((0..GUESTS).map(|_| AtomicU64::new(0)).collect());
    let reading = Arc::<AtomicU64>::default();
    let mut guests = JoinSet::new();
    for number in 0..GUESTS {
        let guest = Guest::new(Arc::clone(&house), number, Random::new(seed.wrapping_mul(1_000_003) + number));
        let (truth, level, reading) = (truth.clone(), Arc::clone(&level), Arc::clone(&reading));
        guests.spawn(async move {
            let line = guest.visit_until(end).await;
            reading.fetch_add(1, Ordering::Relaxed);
            read_on(line, &truth, &level[usize::try_from(number).expect("few")]).await
        });
    }

    let mut restarts = 0;
    while Instant::now() + Duration::from_secs(2) < end {
        sleep(Duration::from_millis(1_500 + seconds * 60)).await;
        restarts += 1;
        if restarts % 3 == 0 {
            let pid = Pid::from_child(&running.child);
            kill_process(pid, Signal::TERM).expect("it runs");
        } else {
            running.child.kill().expect("it runs");
        }
        running.child.wait().expect("it ends");
        running = start();
        proxy.lead_to(Some(running.address()));
    }
    sleep(end.saturating_duration_since(Instant::now())).await;
    proxy.calm_down();
    let server = running.address();
    let deadline = Instant::now() + QUIET_TIME;
    while reading.load(Ordering::Relaxed) < GUESTS {
        if let Some(failed) = guests.try_join_next() {
            failed.expect("a guest sees what it must");
        }
        assert!(Instant::now() < deadline, "not everybody has come back");
        sleep(Duration::from_millis(50)).await;
    }
    // Behind all that the guests have published.
    for topic in TOPICS {
        let number = lock(&ledger).compose(Sent { topic: topic.to_owned(), key: None, skip: None });
        let message = json!({"topic": topic, "data": data(number, 0)});
        let placed = ask(server, "POST", "/v1/publish", &message.to_string()).await;
        let epoch = placed["epoch"].as_str().unwrap_or_else(|| panic!("not published: {placed}")).to_owned();
        let offset = placed["offset"].as_u64().expect("an offset");
        lock(&ledger).see(&Place { topic: topic.to_owned(), epoch, offset }, number);
    }
    let heads = Truth::of(server).await.heads;
    let mut turn = 0;
    let mut last = Truth::default();
    while Instant::now() < deadline {
        let now = Truth { heads: heads.clone(), ..Truth::of(server).await };
        if now != last {
            turn += 1;
            last = now.clone();
            said.send_replace((turn, Some(now)));
        }
        sleep(Duration::from_millis(100)).await;
        if let Some(failed) = guests.try_join_next() {
            failed.expect("a guest sees what it must");
        }
        if level.iter().all(|level| level.load(Ordering::Relaxed) == turn) {
            break;
        }
    }
    outside.know(heads);
    said.send_replace((u64::MAX, None));
    let mut open = 0;
    while let Some(line) = guests.join_next().await {
        let line = line.expect("a guest sees what it must");
        if line.is_open {
            open += 1;
            let mut ledger = lock(&ledger);
            line.model.finish(&mut ledger);
            line.model.check_quiet(&ledger, &*outside);
            for (topic, view) in line.model.views() {
                assert_eq!(view.as_ref(), last.there.get(topic), "connection {} in {topic}", line.model.number);
            }
        }
    }
    let ledger = lock(&ledger);
    ledger.check_conflated();
    println!("seed {seed}, {restarts} restarts, {open} of {GUESTS} to the end: {:?}", ledger.tally);
    assert!(open > GUESTS / 2, "only {open} were there in the end");
}

/// Reads until it is told that all is done, and says how far it is.
async fn read_on(mut line: Line, truth: &watch::Receiver<(u64, Option<Truth>)>, level: &AtomicU64) -> Line {
    loop {
        let (turn, known) = truth.borrow().clone();
        if turn == u64::MAX {
            return line;
        }
        let is_level = known.is_some_and(|Truth { heads, there }| line.model.is_level(&heads, &there));
        // Who has been closed for being too slow has nothing to wait for.
        level.store(if is_level || !line.is_open { turn } else { 0 }, Ordering::Relaxed);
        let soon = Instant::now() + Duration::from_millis(50);
        line.listen(soon).await;
        tokio::time::sleep_until(soon).await;
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
