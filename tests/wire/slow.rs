//! Clients that do not read, or not fast enough (the contract's section 4).

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{ANY, Client};
use crate::http::metric;
use crate::raw::{Raw, TEXT, frame};
use crate::server::Server;

#[test]
fn a_client_that_sends_and_never_reads_is_not_read_from_any_more() {
    const MOST: usize = 256 * 1024 * 1024;
    let server = Server::start();
    let mut other = Client::json(&server);
    other.subscribe("a");
    let mut deaf = Raw::connect(&server);
    deaf.stream().set_write_timeout(Some(Duration::from_secs(1))).expect("a socket takes a time limit");
    // Each ping is answered with as many bytes as it has; the kernel takes some megabytes on both sides.
    let pings = frame(TEXT, br#"{"type":"ping","id":"0123456789012345678901234567890123456789"}"#).repeat(1000);
    let mut sent = 0;
    loop {
        match deaf.stream().write(&pings) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("the server should wait, not hang up: {error}"),
        }
        assert!(sent < MOST, "the server takes everything from a client that reads nothing");
        // Frames need not be whole for this: what is cut off is never read.
    }
    // Others do not notice, and the memory that it holds is bounded.
    for number in 1..=100 {
        other.send(json!({"type": "publish", "topic": "a", "data": number}));
        assert_eq!(other.recv()["data"], number);
    }
    let memory = metric(&server, "fanfare_memory_bytes");
    assert!(memory < 128 * 1024 * 1024, "{memory} bytes are resident");
    assert!(metric(&server, "fanfare_limited_lanes_total") > 0);
}

#[test]
fn a_subscriber_that_falls_behind_gets_a_gap_that_accounts_for_all() {
    const COUNT: u64 = 3000;
    let server = Server::with(&[("history.entries", "64"), ("history.bytes", "4000000")]);
    let mut slow = Client::json(&server);
    let mut fast = Client::json(&server);
    let epoch = slow.subscribe("a");
    fast.subscribe("a");
    let mut publisher = Client::json(&server);
    // Far more than both kernels buffer; somebody who keeps up sees all of it.
    let data = "x".repeat(10_000);
    for number in 1..=COUNT {
        publisher.send(json!({"type": "publish", "topic": "a", "data": data}));
        assert_eq!(fast.recv()["offset"], number);
    }
    // From here it reads: what is left, then a gap for what is not, then the rest.
    let mut at = 0;
    let mut gaps = 0;
    while at < COUNT {
        let event = slow.recv();
        match event["type"].as_str() {
            Some("message") => {
                assert_eq!(event["offset"], at + 1, "{}", event["type"]);
                at += 1;
            }
            Some("gap") => {
                assert_eq!((&event["epoch"], &event["reason"], &event["topic"]), (&epoch, &json!("slow"), &json!("a")));
                assert_eq!(event["from"], at + 1, "{event}");
                at = event["to"].as_u64().expect("an offset");
                gaps += 1;
            }
            _ => panic!("{event}"),
        }
    }
    assert!(gaps >= 1, "the sockets hold more than this test sends");
    assert_eq!(at, COUNT);
    publisher.send(json!({"type": "publish", "topic": "a", "data": "live"}));
    slow.expect(json!({"type": "message", "topic": "a", "offset": COUNT + 1, "data": "live"}));
}

#[test]
fn a_subscriber_that_falls_behind_by_a_pattern_gets_gaps_as_well() {
    const TOPICS: u64 = 5;
    const EACH: u64 = 600;
    let server = Server::with(&[("history.entries", "64"), ("history.bytes", "4000000")]);
    let mut slow = Client::msgpack(&server);
    slow.subscribe("many.*");
    let mut publisher = Client::json(&server);
    let data = "x".repeat(10_000);
    for _ in 0..EACH {
        for topic in 0..TOPICS {
            publisher.send(json!({"type": "publish", "topic": format!("many.{topic}"), "data": data}));
        }
    }
    publisher.expect_quiet();
    let mut at = vec![0; TOPICS as usize];
    let mut gaps = 0;
    while at.iter().any(|&at| at < EACH) {
        let event = slow.recv();
        let topic: usize = event["topic"].as_str().and_then(|topic| topic[5..].parse().ok()).expect("a topic");
        let (from, to) = match event["type"].as_str() {
            Some("message") => (&event["offset"], &event["offset"]),
            Some("gap") => {
                gaps += 1;
                (&event["from"], &event["to"])
            }
            _ => panic!("{event}"),
        };
        assert_eq!(*from, Value::from(at[topic] + 1), "{}", event["type"]);
        at[topic] = to.as_u64().expect("an offset");
    }
    assert!(gaps >= 1, "the sockets hold more than this test sends");
    publisher.send(json!({"type": "publish", "topic": "many.new", "data": 1}));
    slow.expect(json!({"type": "message", "topic": "many.new", "epoch": ANY, "offset": 1, "data": 1}));
}

#[test]
fn a_subscriber_that_never_reads_disturbs_nobody() {
    let server = Server::with(&[("history.entries", "64")]);
    let mut deaf: Vec<_> = (0..5).map(|_| Client::json(&server)).collect();
    for client in &mut deaf {
        client.subscribe("a");
    }
    let mut fast = Client::msgpack(&server);
    fast.subscribe("a");
    let mut publisher = Client::json(&server);
    let data = "x".repeat(20_000);
    for number in 1..=1000_u64 {
        publisher.send(json!({"type": "publish", "topic": "a", "data": data}));
        assert_eq!(fast.recv()["offset"], number);
    }
    // They may still leave in order, as soon as they read.
    deaf[0].socket().close(None).expect("a close can be sent");
}

#[test]
fn a_subscription_with_a_rate_gets_no_more_than_it_asked_for() {
    const RATE: u64 = 5;
    // All of it is held, so that nothing is lost but what is newer of the same key.
    let server = Server::with(&[("history.entries", "1000"), ("history.bytes", "4000000")]);
    let mut calm = Client::json(&server);
    calm.send(json!({"type": "subscribe", "id": 1, "topic": "a", "max_rate": RATE}));
    calm.expect(json!({"type": "subscribed", "id": 1, "topic": "a", "epoch": ANY, "offset": 0}));
    calm.send(json!({"type": "subscribe", "id": 2, "topic": "a.*", "max_rate": RATE}));
    calm.expect_error("bad_request");
    let mut publisher = Client::json(&server);
    let begun = Instant::now();
    let mut publish = |number: u64| {
        publisher.send(json!({"type": "publish", "topic": "a", "key": "x", "data": number}));
    };
    // The first comes at once, before there is a newer one.
    publish(1);
    calm.expect(json!({"type": "message", "topic": "a", "epoch": ANY, "offset": 1, "data": 1}));
    (2..=500).for_each(&mut publish);
    // However long it takes, the newest comes in the end, and everything is accounted for on the way.
    let (mut at, mut messages) = (1, 1);
    while at < 500 {
        let event = calm.recv();
        if event["type"] == "gap" {
            assert_eq!((&event["from"], &event["reason"]), (&json!(at + 1), &json!("latest")), "{event}");
            at = event["to"].as_u64().expect("an offset");
        } else {
            assert_eq!((&event["offset"], &event["data"]), (&json!(at + 1), &json!(at + 1)), "{event}");
            at += 1;
            messages += 1;
        }
    }
    // The server goes by whole milliseconds, so from one to the next it may be one less.
    let most = 1 + begun.elapsed().as_millis() as u64 / (1_000 / RATE - 1);
    assert!(messages <= most, "{messages} messages where {most} may come");
}
