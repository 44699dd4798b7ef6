//! A whole server and its clients in one thread, on a clock and a network that a seed determines.
//!
//! Real sessions, shards and broker; clients that keep a model of what they must see; connections that are
//! delayed, split, stalled and cut. `FANFARE_SIMULATION_SEEDS` says how many seeds are tried, and
//! `FANFARE_SIMULATION_SEED` tries one again: it does the same each time.

#![expect(clippy::print_stdout, reason = "the seed of a failure, and what a run was about")]

#[expect(dead_code, reason = "the storm asks for more")]
mod audience;
mod client;
mod dead;
mod frames;
#[expect(dead_code, reason = "the storm asks for more")]
mod ledger;
mod line;
#[expect(dead_code, reason = "the storm asks for more")]
mod model;
mod network;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::broker::{Delivery, PublishOptions, Subscription};
use crate::protocol::Data;
use client::Client;
use ledger::{Place, Sent, Tally, data};
use line::Line;
use model::Witness;
use random::Random;
use world::{TOPICS, World};

/// How many seeds are tried unless it is said: some ten seconds' worth.
const SEEDS: u64 = 40;

/// How long it takes, at most, until everybody has been told everything: the dead are noticed by then.
const QUIET_TIME: Duration = Duration::from_secs(200);

/// How long it takes, at most, until the server has noticed who has gone: who sleeps until after the end may yet be
/// cut off then.
const NOTICE_TIME: Duration = Duration::from_secs(140);

/// How long it takes, at most, until nothing is held for those who have gone.
const FORGET_TIME: Duration = Duration::from_secs(180);

#[test]
fn every_client_sees_what_it_must_whatever_becomes_of_its_connections() {
    let number = |name: &str| -> Option<u64> {
        std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let seeds = match number("FANFARE_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FANFARE_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let mut all = Tally::default();
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok((_, tally)) => all.add(&tally),
            Err(failure) => {
                println!("FANFARE_SIMULATION_SEED={seed} repeats this");
                resume_unwind(failure);
            }
        }
    }
    println!("{seeds:?}: {all:?}");
    if seeds.end - seeds.start >= SEEDS {
        assert_eq!(all.missing(), Vec::<&str>::new(), "no seed came to it");
    }
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).0, run(2).0);
}

/// What was heard, by a digest, and what it was about.
fn run(seed: u64) -> (u64, Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(live(seed));
    assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks that nobody ended");
    done
}

async fn live(seed: u64) -> (u64, Tally) {
    let mut random = Random::new(seed);
    let world = Arc::new(World::new(seed, &mut random));
    let end = Instant::now() + Duration::from_millis(10_000 + random.below(20_000));
    let mut clients = JoinSet::new();
    for number in 0..2 + random.below(5) {
        let mut client = Client::new(Arc::clone(&world), number, Random::new(random.next()));
        let world = Arc::clone(&world);
        clients.spawn(async move {
            let mut line = client.live_until(end).await;
            line.listen(end + NOTICE_TIME, usize::MAX).await;
            sleep_until(end + NOTICE_TIME).await;
            world.ledger().audience.settle();
            if line.is_open {
                client.probe(&mut line);
            }
            line.listen(end + QUIET_TIME, usize::MAX).await;
            line
        });
    }
    let mut others = JoinSet::new();
    others.spawn(publish(Arc::clone(&world), Random::new(random.next()), end));
    let subscription = world.broker.subscribe(">").expect("a pattern");
    world.ledger().audience.add_others(1);
    others.spawn(follow(subscription, Arc::clone(&world), end + QUIET_TIME));
    if random.one_in(8) {
        let world = Arc::clone(&world);
        let at = end - Duration::from_millis(random.below(5_000));
        others.spawn(async move {
            sleep_until(at).await;
            world.drain();
        });
    }
    let mut lines = Vec::new();
    while let Some(line) = clients.join_next().await {
        lines.push(line.unwrap_or_else(fail));
    }
    while let Some(other) = others.join_next().await {
        other.unwrap_or_else(fail);
    }
    check(&world, &lines);
    drop(lines);
    forget(world).await
}

fn fail<T>(error: JoinError) -> T {
    resume_unwind(error.into_panic())
}

/// All is quiet, and everybody has been told everything.
fn check(world: &World, lines: &[Line]) {
    let open: Vec<_> = lines.iter().filter(|line| line.is_open).map(|line| &line.model).collect();
    let mut ledger = world.ledger();
    let lasting = open.iter().map(|model| model.number).collect();
    let (counted, exact) = ledger.audience.check(&lasting);
    ledger.tally.count_many("receivers counted", counted);
    ledger.tally.count_many("receivers known exactly", exact);
    for model in &open {
        model.finish(&mut ledger);
        model.check_quiet(&ledger, world);
    }
    ledger.check_conflated();
    drop(ledger);
    world.check_presence(&open);
}

/// Everybody has gone: nothing of them stays.
async fn forget(world: Arc<World>) -> (u64, Tally) {
    let deadline = Instant::now() + FORGET_TIME;
    while !world.held().is_empty() {
        assert!(Instant::now() < deadline, "still held: {:?}", world.held());
        // With nobody connected who looks is what time goes by.
        let _ = world.broker.history(TOPICS[0], 0).expect("a name");
        sleep(Duration::from_millis(500)).await;
    }
    let done = (world.digest(), world.ledger().tally.clone());
    assert_eq!(Arc::strong_count(&world), 1, "nobody else has the world");
    drop(world);
    // The shards end with their pool.
    sleep(Duration::from_secs(60)).await;
    done
}

/// A backend within the process, that publishes in bursts.
async fn publish(world: Arc<World>, mut random: Random, end: Instant) {
    while Instant::now() < end {
        sleep(Duration::from_millis(random.below(1_500))).await;
        let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
        for _ in 0..1 + random.below(40) {
            let key = random.one_in(2).then(|| format!("k{}", random.below(3)));
            let at_min = *world.clock_ms().start();
            let sent = Sent { topic: topic.to_owned(), key: key.clone(), skip: None, from: None, at_min };
            let number = world.ledger().compose(sent);
            let filler = [0, 50, 700][random.below(3) as usize];
            let counting = random.one_in(4).then(|| world.ledger().audience.begin(topic, None));
            let published = if key.is_some() || counting.is_some() {
                let receivers = counting.is_some();
                let options = PublishOptions { key: key.as_deref(), receivers, ..PublishOptions::default() };
                world.broker.publish_with(topic, &data(number, filler), options).await
            } else {
                let data = Data::try_from(data(number, filler).to_string().as_str()).expect("JSON");
                world.broker.publish_data(topic, data).await
            };
            let published = published.expect("there is room");
            assert_eq!(published.receivers.is_some(), counting.is_some());
            if let (Some(counting), Some(receivers)) = (counting, published.receivers) {
                world.ledger().audience.counted(counting, receivers);
            }
            let place = Place { topic: topic.to_owned(), epoch: published.epoch.to_string(), offset: published.offset };
            world.ledger().see(&place, number);
        }
    }
}

/// Follows all topics within the process, for the ledger.
async fn follow(mut subscription: Subscription, world: Arc<World>, end: Instant) {
    let mut next = std::collections::BTreeMap::new();
    let mut step = |topic: &str, epoch: String, from: u64, to: u64| {
        let next = next.entry((topic.to_owned(), epoch)).or_insert(from);
        assert_eq!(*next, from, "{topic}");
        *next = to + 1;
    };
    while let Ok(delivery) = tokio::time::timeout_at(end, subscription.next()).await {
        match delivery {
            Delivery::Message(message) => {
                let (epoch, offset) = (message.epoch().to_string(), message.offset());
                step(message.topic(), epoch.clone(), offset, offset);
                let number = ledger::number(&message.decode().expect("data of this test"));
                world.ledger().see(&Place { topic: message.topic().to_owned(), epoch, offset }, number);
            }
            Delivery::Gap(gap) => step(&gap.topic, gap.epoch.to_string(), gap.from, gap.to),
        }
    }
}
