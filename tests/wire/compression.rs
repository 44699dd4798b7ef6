//! permessage-deflate, as the server agrees on it and uses it (RFC 7692).

use std::thread;
use std::time::{Duration, Instant};

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::client::Client;
use crate::http::{Reply, get};
use crate::raw::{BINARY, HANDSHAKE, Raw, TEXT};
use crate::server::Server;

const RSV1: u8 = 0x40;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate";

/// A connection whose handshake asks for `target` and has these lines beside the others.
fn upgrade(server: &Server, target: &str, lines: &str) -> (Raw, Reply) {
    let mut raw = Raw::dial(server);
    let handshake = HANDSHAKE.replace("/ws", target);
    raw.write(format!("{}\r\n{lines}\r\n\r\n", handshake.trim_end()).as_bytes());
    let reply = raw.reply();
    assert_eq!(reply.status, 101, "{lines}");
    let (first, _) = raw.frame().expect("a welcome");
    assert_eq!(first & !RSV1, TEXT);
    (raw, reply)
}

fn extensions(server: &Server, target: &str, lines: &str) -> Option<String> {
    upgrade(server, target, lines).1.header("sec-websocket-extensions").map(str::to_owned)
}

/// The next event and whether it came compressed.
fn event(raw: &mut Raw) -> (Value, bool) {
    let (first, payload) = raw.frame().expect("an event");
    let is_deflated = first & RSV1 != 0;
    let text = if is_deflated { inflate(&payload) } else { payload };
    (serde_json::from_slice(&text).expect("the server writes JSON"), is_deflated)
}

/// By another implementation than the server's.
fn inflate(payload: &[u8]) -> Vec<u8> {
    // The end of the block that is not sent, and one that says it is the last.
    decompress_to_vec(&[payload, &[0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF]].concat()).expect("it is DEFLATE")
}

fn deflate(text: &str) -> Vec<u8> {
    // RFC 7692, 7.2.3.4: a last block, and an empty one.
    let mut deflated = compress_to_vec(text.as_bytes(), 6);
    deflated.push(0);
    deflated
}

fn subscribe(raw: &mut Raw, topic: &str) {
    raw.send(TEXT, json!({"type": "subscribe", "id": 1, "topic": topic}).to_string().as_bytes());
    assert_eq!(event(raw).0["type"], "subscribed");
}

fn metric(server: &Server, name: &str) -> u64 {
    let reply = get(server, "/metrics");
    let line = reply.text().lines().find_map(|line| line.strip_prefix(&format!("fanfare_{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
}

#[test]
fn rfc7692_7_1_the_first_offer_that_can_be_met_is_accepted() {
    let server = Server::start();
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offer, answer) in [
        ("permessage-deflate", Some(plain.to_owned())),
        ("permessage-deflate; client_max_window_bits", Some(plain.to_owned())),
        ("permessage-deflate; server_max_window_bits=11", Some(format!("{plain}; server_max_window_bits=11"))),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some(plain.to_owned())),
        ("permessage-deflate; mystery, x-webkit-deflate-frame", None),
    ] {
        let line = format!("Sec-WebSocket-Extensions: {offer}");
        assert_eq!(extensions(&server, "/ws", &line), answer, "{offer}");
    }
}

#[test]
fn compression_can_be_declined_by_either_side() {
    let server = Server::start();
    assert!(extensions(&server, "/ws?x=1", OFFER).is_some());
    for target in ["/ws?deflate=off", "/ws?x=1&deflate=off"] {
        assert_eq!(extensions(&server, target, OFFER), None, "{target}");
    }
    let safari = "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                  Version/15.2 Safari/605.1.15";
    assert_eq!(extensions(&server, "/ws", &format!("{OFFER}\r\n{safari}")), None);
    let server = Server::with(&[("compression.enabled", "false")]);
    assert_eq!(extensions(&server, "/ws", OFFER), None);
}

#[test]
fn a_message_is_compressed_once_for_all_subscribers_of_all_threads() {
    const MESSAGES: u64 = 50;
    let server = Server::with(&[("server.threads", "4")]);
    let mut wide: Vec<Raw> = (0..12).map(|_| upgrade(&server, "/ws", OFFER).0).collect();
    let narrow = format!("{OFFER}; server_max_window_bits=9");
    let mut narrow: Vec<Raw> = (0..4).map(|_| upgrade(&server, "/ws", &narrow).0).collect();
    let mut plain: Vec<Raw> = (0..4).map(|_| Raw::connect(&server)).collect();
    for raw in wide.iter_mut().chain(&mut narrow).chain(&mut plain) {
        subscribe(raw, "orders");
    }
    let mut publisher = Client::json(&server);
    let data = json!({"lines": vec![json!({"item": "a bolt of cloth", "price": 12.5}); 30]});
    for _ in 0..MESSAGES {
        publisher.send(json!({"type": "publish", "topic": "orders", "data": data}));
    }
    for (raw, compressed) in wide
        .iter_mut()
        .map(|raw| (raw, true))
        .chain(narrow.iter_mut().map(|raw| (raw, true)))
        .chain(plain.iter_mut().map(|raw| (raw, false)))
    {
        for offset in 1..=MESSAGES {
            let (message, is_deflated) = event(raw);
            assert_eq!((&message["offset"], &message["data"]), (&json!(offset), &data));
            assert_eq!(is_deflated, compressed);
        }
    }
    assert_eq!(metric(&server, "deflated_total"), 2 * MESSAGES, "once for each window in use");
    let (from, to) = (metric(&server, "deflated_from_bytes_total"), metric(&server, "deflated_to_bytes_total"));
    assert!(to * 5 < from, "{from} bytes became {to}");
}

#[test]
fn short_messages_and_replies_go_as_they_are() {
    let server = Server::with(&[("compression.min_bytes", "500")]);
    let (mut raw, _) = upgrade(&server, "/ws", OFFER);
    subscribe(&mut raw, "a");
    let mut publisher = Client::json(&server);
    for (length, deflated) in [(100, false), (1_000, true), (0, false)] {
        publisher.send(json!({"type": "publish", "topic": "a", "data": "x".repeat(length)}));
        let (message, is_deflated) = event(&mut raw);
        assert_eq!((message["data"].as_str().map(str::len), is_deflated), (Some(length), deflated));
    }
    raw.send(
        TEXT,
        json!({"type": "nonsense", "id": "y".repeat(60), "topic": "z".repeat(2_000)}).to_string().as_bytes(),
    );
    assert_eq!(event(&mut raw).0["code"], "unknown_type");
}

#[test]
fn clients_may_compress_what_they_send() {
    let server = Server::start();
    let (mut raw, _) = upgrade(&server, "/ws", OFFER);
    subscribe(&mut raw, "a");
    let publish = json!({"type": "publish", "id": 2, "topic": "a", "data": "x".repeat(150)}).to_string();
    let deflated = deflate(&publish);
    raw.send(TEXT | RSV1, &deflated);
    // The message and its answer, in either order.
    let events = [event(&mut raw).0, event(&mut raw).0];
    assert!(events.iter().any(|event| event["type"] == "message" && event["data"] == "x".repeat(150)), "{events:?}");
    assert!(events.iter().any(|event| event["type"] == "published" && event["id"] == 2), "{events:?}");
    // In fragments, with a ping between, and as MessagePack in a binary message.
    raw.send(0x41, &deflated[..5]);
    raw.send(0x89, b"between");
    raw.send(0x80, &deflated[5..]);
    let (first, payload) = raw.frame().expect("a pong");
    assert_eq!((first, &payload[..]), (0x8A, &b"between"[..]));
    let events = [event(&mut raw).0, event(&mut raw).0];
    assert!(events.iter().any(|event| event["type"] == "message" && event["offset"] == 2), "{events:?}");
    let ping = rmp_serde::to_vec_named(&json!({"type": "ping", "id": 9})).expect("JSON fits MessagePack");
    let mut ping = compress_to_vec(&ping, 6);
    ping.push(0);
    raw.send(BINARY | RSV1, &ping);
    assert_eq!(event(&mut raw).0, json!({"type": "pong", "id": 9}));
    assert_eq!(metric(&server, "inflated_total"), 3);
}

#[test]
fn what_cannot_be_inflated_or_becomes_too_long_closes_its_sender_alone() {
    let server = Server::start();
    let mut other = Client::json(&server);
    let (mut raw, _) = upgrade(&server, "/ws", OFFER);
    raw.send(TEXT | RSV1, b"this is not DEFLATE");
    raw.expect_close(1007);
    let (mut raw, _) = upgrade(&server, "/ws", OFFER);
    let bomb = deflate(&" ".repeat(10_000_000));
    assert!(bomb.len() < 60_000);
    raw.send(TEXT | RSV1, &bomb);
    raw.expect_close(1009);
    let (mut raw, _) = upgrade(&server, "/ws", OFFER);
    raw.send(0x8A | RSV1, b"");
    raw.expect_close(1002);
    let mut raw = Raw::connect(&server);
    raw.send(TEXT | RSV1, &deflate("{}"));
    raw.expect_close(1002);
    other.send(json!({"type": "ping", "id": 1}));
    assert_eq!(other.recv(), json!({"type": "pong", "id": 1}));
}

#[test]
fn what_is_pipelined_behind_the_handshake_is_read() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    let mut bytes = format!("{}\r\n{OFFER}\r\n\r\n", HANDSHAKE.trim_end()).into_bytes();
    bytes.extend(crate::raw::frame(TEXT | RSV1, &deflate(r#"{"type":"ping","id":"early"}"#)));
    raw.write(&bytes);
    assert_eq!(raw.reply().status, 101);
    assert_eq!(event(&mut raw).0["type"], "welcome");
    assert_eq!(event(&mut raw).0, json!({"type": "pong", "id": "early"}));
}

#[test]
fn memory_returns_when_many_who_compress_leave_in_the_middle_of_a_burst() {
    const CLIENTS: usize = 5_000;
    // Of this process; the server raises its own.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).expect("a soft limit can be raised");
    let room = limit.maximum.map_or(CLIENTS, |limit| (limit as usize).saturating_sub(1_000));
    // On a busy machine so many take longer to come than a heartbeat lasts.
    let server = Server::with(&[("keep_alive.heartbeat_ms", "600000")]);
    let round = |clients: usize| {
        let mut raws: Vec<Raw> = (0..clients).map(|_| upgrade(&server, "/ws", OFFER).0).collect();
        for raw in &mut raws {
            raw.send(TEXT, br#"{"type":"subscribe","id":1,"topic":"burst"}"#);
        }
        for raw in &mut raws {
            assert_eq!(event(raw).0["type"], "subscribed");
        }
        let mut publisher = Client::json(&server);
        for number in 0..200 {
            let data = json!({"number": number, "text": "a burst of messages ".repeat(100)});
            publisher.send(json!({"type": "publish", "topic": "burst", "data": data}));
        }
        // Each leaves with most of it unread, some in the middle of a message of their own.
        for (nth, raw) in raws.iter_mut().enumerate() {
            if nth % 2 == 0 {
                raw.try_write(&crate::raw::frame(0x41, b"half a compressed message"));
            }
        }
        drop(raws);
    };
    // What a server keeps of its first round, it has for the second.
    round(CLIENTS.min(room) / 10);
    wait_until(&server, "connections", 0);
    let before = metric(&server, "memory_bytes");
    round(CLIENTS.min(room));
    wait_until(&server, "connections", 0);
    // 5,000 inflaters or compressors would be 240 MB or 800 MB. The allocator gives back to the system
    // as it goes on working, so a few clients more come and go.
    let deadline = Instant::now() + PATIENCE;
    while metric(&server, "memory_bytes") > before + 12_000_000 {
        let now = metric(&server, "memory_bytes");
        assert!(Instant::now() < deadline, "{before} bytes before, {now} after");
        round(50);
        wait_until(&server, "connections", 0);
    }
}

/// Waits until a gauge has come down to `value`.
fn wait_until(server: &Server, name: &str, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    while metric(server, name) != value {
        assert!(Instant::now() < deadline, "{name} never becomes {value}");
        thread::sleep(Duration::from_millis(20));
    }
}
