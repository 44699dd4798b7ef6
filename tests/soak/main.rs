//! A thousand connections come, follow, publish and vanish at random, and everything adds up.
//!
//! The service runs in this process, behind axum, so that what it holds can be asked for afterwards. Random
//! numbers come from a seed, which a failure shows; `FANFARE_SOAK_SECONDS` makes it longer than the few
//! seconds that it takes by default, `FANFARE_SOAK_SEED` repeats one.

#![expect(clippy::print_stdout, reason = "the figures of a run, and the seed that repeats it")]

#[path = "../../src/simulation/frames.rs"]
#[expect(dead_code, reason = "these guests speak JSON alone")]
mod frames;
mod guest;
mod ledger;
#[path = "../../src/simulation/random.rs"]
mod random;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use fanfare::{Broker, Delivery, Epoch, History, Service};
use http::Request;
use http_body_util::{BodyExt, Empty};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use guest::Guest;
use ledger::Ledger;
use random::Random;

const GUESTS: u64 = 1000;

/// How long it takes, at most, until everything that vanished has been noticed and forgotten.
const SETTLE_TIME: Duration = Duration::from_secs(60);

/// What may stay: freed memory that the allocator keeps, and the test's own.
const GROWTH_BYTES_MAX: u64 = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_repeated_or_kept_while_a_thousand_come_and_go() {
    let seconds: u64 = variable("FANFARE_SOAK_SECONDS").unwrap_or(10);
    let seed: u64 = variable("FANFARE_SOAK_SEED").unwrap_or(7);
    println!("{seconds} seconds with seed {seed}");
    raise_descriptors();
    let broker =
        Broker::builder().history(History { entries: 64, age_ms: 500, ..History::default() }).linger_ms(100).build();
    // Guests send as fast as they can.
    let service = Service::builder(broker.clone())
        .commands_per_connection(None)
        .publishes_per_connection(None)
        .bytes_per_connection(None)
        .publishes_per_topic(None)
        .build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().fallback_service(service.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    // Whatever is allocated once and kept is there after a first, shorter round.
    round(&broker, address, seed, Duration::from_secs(seconds.div_ceil(4))).await;
    settle(&service).await;
    let before = resident_bytes();
    round(&broker, address, seed + 1, Duration::from_secs(seconds)).await;
    settle(&service).await;
    let after = resident_bytes();
    println!("{before} bytes were resident after the first round, {after} after the second");
    assert!(after < before + GROWTH_BYTES_MAX, "memory grows: {before} bytes, then {after}");
}

/// Everybody comes and goes for so long.
async fn round(broker: &Broker, address: SocketAddr, seed: u64, time: Duration) {
    let ledger = Arc::new(Ledger::default());
    let oracle = tokio::spawn(follow(broker.clone(), Arc::clone(&ledger)));
    let end = Instant::now() + time;
    let mut guests = JoinSet::new();
    for number in 0..GUESTS {
        let random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        guests.spawn(Guest::new(address, Arc::clone(&ledger), random).visit_until(end));
    }
    while let Some(guest) = guests.join_next().await {
        guest.expect("a guest sees what it must");
    }
    assert!(!oracle.is_finished(), "the oracle sees what it must");
    oracle.abort();
    let _ = oracle.await;
    let totals = ledger.totals();
    println!("{totals:?}");
    assert!(totals.published > 0 && totals.seen > totals.published && totals.visits >= GUESTS / 2, "{totals:?}");
}

/// Follows many of the topics within the process.
async fn follow(broker: Broker, ledger: Arc<Ledger>) {
    let mut subscription = broker.subscribe("busy.*").expect("a good pattern");
    let mut positions = HashMap::new();
    // From an offset to an offset of a topic, whose numbering may have begun anew.
    let mut step = |topic: &str, epoch: Epoch, from: u64, to: u64| {
        let (known, at) = positions.entry(topic.to_owned()).or_insert((epoch, from - 1));
        if *known != epoch {
            (*known, *at) = (epoch, 0);
        }
        assert_eq!((from, from <= to), (*at + 1, true), "{topic} {epoch}");
        *at = to;
    };
    loop {
        match subscription.next().await {
            Delivery::Message(message) => {
                step(message.topic(), message.epoch(), message.offset(), message.offset());
                let data = message.decode().expect("data of this test");
                ledger.place(message.topic(), &message.epoch().to_string(), message.offset(), &data);
            }
            Delivery::Gap(gap) => step(&gap.topic, gap.epoch, gap.from, gap.to),
        }
    }
}

/// Waits until the service holds nothing any more.
async fn settle(service: &Service) {
    let deadline = Instant::now() + SETTLE_TIME;
    loop {
        let metrics = ask(service, "/metrics").await;
        let held: Vec<_> = ["connections", "subscriptions", "topics", "stalled_connections", "retained_bytes"]
            .iter()
            .map(|name| (*name, figure(&metrics, name)))
            .filter(|(_, count)| *count != 0)
            .collect();
        if held.is_empty() {
            assert_eq!(service.connections(), 0);
            return;
        }
        let topics = ask(service, "/v1/topics?limit=5").await;
        assert!(Instant::now() < deadline, "still held: {held:?}, {topics}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(service: &Service, path: &str) -> String {
    let request = Request::get(path).header("Host", "localhost").body(Empty::new()).expect("a request");
    let response = service.handle(request as Request<Empty<bytes::Bytes>>).await;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("a body of text")
}

fn figure(metrics: &str, name: &str) -> u64 {
    let prefix = format!("fanfare_{name} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no figure {name} in {metrics}"))
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("a size");
    kib * 1024
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Both ends of every connection are in this process.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a soft limit may rise");
}
