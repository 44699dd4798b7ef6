//! The real server behind a proxy that cuts, stalls and throttles, killed and started again in between; guests
//! that come back and hold it to what they must see.
//!
//! What a guest must see is the simulation's model. `FANFARE_STORM_SECONDS` makes it longer than the few
//! seconds that it takes by default; `FANFARE_STORM_SEED` has everybody begin with the same intentions, though
//! not the kernel.

#![cfg(feature = "server")]
#![expect(clippy::print_stdout, reason = "what a run was about, and its seed")]

#[path = "../../src/simulation/audience.rs"]
#[expect(dead_code, reason = "the simulation asks for more")]
mod audience;
#[path = "../../src/simulation/frames.rs"]
mod frames;
mod guest;
#[path = "../../src/simulation/ledger.rs"]
#[expect(dead_code, reason = "the simulation asks for more")]
mod ledger;
mod line;
#[path = "../../src/simulation/model/mod.rs"]
mod model;
mod outside;
mod proxy;
#[path = "../../src/simulation/random.rs"]
mod random;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "others need no configuration")]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
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
use model::{Witness, matches};
use outside::{CONFIGURATION, Outside, TOPICS, Truth, ask};
use proxy::Proxy;
use random::Random;
use server::Server;

const GUESTS: u64 = 24;

/// A run of this length has been about everything.
const LONG_SECONDS: u64 = 300;

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
    let seconds = variable("FANFARE_STORM_SECONDS").unwrap_or(6);
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
    let outside = Arc::new(Outside::new());
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

    // How often it ended, and how often without a word: then it begins anew even with its histories on disk.
    let (mut restarts, mut kills) = (0, 0);
    let lifetime = Duration::from_millis(1_500 + seconds * 60);
    // Not after the end: whoever has come back by then stays, and somebody has to publish so that topics stay.
    while Instant::now() + lifetime < end {
        sleep(lifetime).await;
        restarts += 1;
        if restarts % 3 == 0 {
            let pid = Pid::from_child(&running.child);
            kill_process(pid, Signal::TERM).expect("it runs");
        } else {
            running.child.kill().expect("it runs");
            kills += 1;
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
        let at_min = *outside.clock_ms().start();
        let sent = Sent { topic: topic.to_owned(), key: None, skip: None, from: None, at_min };
        let number = lock(&ledger).compose(sent);
        let message = json!({"topic": topic, "data": data(number, 0)});
        let placed = ask(server, "POST", "/v1/publish", &message.to_string()).await;
        let epoch = placed["epoch"].as_str().unwrap_or_else(|| panic!("not published: {placed}")).to_owned();
        let offset = placed["offset"].as_u64().expect("an offset");
        lock(&ledger).see(&Place { topic: topic.to_owned(), epoch, offset }, number);
    }
    lock(&ledger).audience.settle();
    while !is_counted_exactly(server, &ledger, &outside).await {
        assert!(Instant::now() < deadline, "what a publish says of its receivers is not who is there");
        sleep(Duration::from_millis(100)).await;
    }
    // Until everybody is level with what the server says, and that has not changed meanwhile: what connections had
    // sent that are cut by now may still be carried out.
    let mut turn = 0;
    let mut last = Truth::default();
    while Instant::now() < deadline {
        let now = Truth::of(server).await;
        if now != last {
            turn += 1;
            last = now.clone();
            said.send_replace((turn, Some(now)));
        } else if level.iter().all(|level| level.load(Ordering::Relaxed) == turn) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
        if let Some(failed) = guests.try_join_next() {
            failed.expect("a guest sees what it must");
        }
    }
    outside.know(last.heads.clone());
    said.send_replace((u64::MAX, None));
    let mut open = BTreeSet::new();
    while let Some(line) = guests.join_next().await {
        let line = line.expect("a guest sees what it must");
        if line.is_open {
            open.insert(line.model.number);
            let mut ledger = lock(&ledger);
            line.model.finish(&mut ledger);
            line.model.check_quiet(&ledger, &*outside);
            for (topic, view) in line.model.views() {
                assert_eq!(view.as_ref(), last.there.get(topic), "connection {} in {topic}", line.model.number);
            }
        }
    }
    let mut ledger = lock(&ledger).clone();
    let (counted, exact) = ledger.audience.check(&open);
    ledger.tally.count_many("receivers counted", counted);
    ledger.tally.count_many("receivers known exactly", exact);
    let open = open.len() as u64;
    println!("seed {seed}, {restarts} restarts, {kills} kills, {open} of {GUESTS} to the end: {:?}", ledger.tally);
    ledger.check_conflated();
    for topic in TOPICS.into_iter().filter(|topic| !matches("brief.*", topic)) {
        let ends = if keeps { kills } else { restarts };
        assert!(ledger.numberings(topic) <= 1 + ends, "{topic} began anew without a reason");
    }
    assert!(open > GUESTS / 2, "only {open} were there in the end");
    let mut missing = ledger.tally.missing();
    // Here somebody always follows them, and nobody has a name.
    missing.retain(|what| !["topics born anew", "named their publisher"].contains(what));
    assert!(seconds < LONG_SECONDS || missing.is_empty(), "it never came to {missing:?}");
    wait_until_nobody_is_there(server).await;
}

/// Publishes to a topic, and says whether that is for everybody who follows it and nobody else.
async fn is_counted_exactly(server: SocketAddr, ledger: &Mutex<Ledger>, outside: &Outside) -> bool {
    let (topic, at_min) = (TOPICS[0].to_owned(), *outside.clock_ms().start());
    let number = lock(ledger).compose(Sent { topic: topic.clone(), key: None, skip: None, from: None, at_min });
    let message = json!({"topic": topic, "data": data(number, 0), "receivers": true});
    let placed = ask(server, "POST", "/v1/publish", &message.to_string()).await;
    let receivers = placed["receivers"].as_u64().unwrap_or_else(|| panic!("not counted: {placed}"));
    let mut ledger = lock(ledger);
    let is_exact = ledger.audience.exactly(&topic) == Some(receivers);
    ledger.tally.count_many("receivers known exactly", u64::from(is_exact));
    is_exact
}

/// Everybody has gone, and the server holds nothing for them any more.
async fn wait_until_nobody_is_there(server: SocketAddr) {
    let deadline = Instant::now() + QUIET_TIME;
    loop {
        let metrics = outside::read(server, "GET", "/metrics", "").await;
        let held = ["connections", "subscriptions", "stalled_connections"].map(|name| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("fanfare_{name} ")));
            (name, line.and_then(|figure| figure.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}")))
        });
        if held.iter().all(|(_, count)| *count == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "still held: {held:?}");
        sleep(Duration::from_millis(50)).await;
    }
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
