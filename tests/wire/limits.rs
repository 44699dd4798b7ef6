//! Limits per connection and address, and whose address counts. The defaults exempt this machine, so each
//! server here is told not to, or the address comes from a header.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::PATIENCE;
use crate::client::Client;
use crate::http::{Reply, get, metric, publish, request};
use crate::raw::{CLOSE, HANDSHAKE, PING, PONG, Raw, TEXT, frame};
use crate::server::Server;

/// A server that exempts nobody, with settings.
fn strict(settings: &[(&str, &str)]) -> Server {
    Server::with(&[settings, &[("limits.exempt", "")]].concat())
}

/// Asks for a WebSocket with these header lines, and gives the answer's head.
fn knock(server: &Server, lines: &str) -> (Raw, Reply) {
    let mut raw = Raw::dial(server);
    raw.write(HANDSHAKE.replace("Host: localhost\r\n", &format!("Host: localhost\r\n{lines}")).as_bytes());
    let reply = raw.reply();
    (raw, reply)
}

/// The handshake is refused with 429, to come back after so many seconds at most.
#[track_caller]
fn expect_too_many(server: &Server, lines: &str, seconds_max: u64) {
    let (mut raw, reply) = knock(server, lines);
    assert_eq!(reply.status, 429);
    let seconds: u64 = reply.header("retry-after").and_then(|value| value.parse().ok()).expect("whole seconds");
    assert!((1..=seconds_max).contains(&seconds), "{seconds}");
    let body: serde_json::Value = serde_json::from_slice(&raw.expect_end()).expect("a body of JSON");
    assert_eq!(body["error"]["code"], "rate_limited");
    assert!(body["error"]["retry_after_ms"].as_u64().is_some_and(|ms| ms.div_ceil(1_000) == seconds), "{body}");
}

#[test]
fn an_address_has_so_many_connections() {
    let server = strict(&[("limits.connections_per_address", "2")]);
    let (first, _second) = (Client::json(&server), Client::json(&server));
    expect_too_many(&server, "", 60);
    assert_eq!(metric(&server, "fanfare_limited_connections_total"), 1);
    // A place that is given up is free soon after.
    drop(first);
    let begin = Instant::now();
    while knock(&server, "").1.status != 101 {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(200));
    }
}

#[test]
fn an_address_may_try_so_often() {
    let server = strict(&[("limits.attempts_per_address", "1/s burst 3")]);
    let connected: Vec<Raw> = (0..3).map(|_| Raw::connect(&server)).collect();
    expect_too_many(&server, "", 1);
    // Another one may, and whoever is connected stays so.
    assert_eq!(connected.len(), 3);
    sleep(Duration::from_millis(1_100));
    assert_eq!(knock(&server, "").1.status, 101);
}

#[test]
fn commands_publishes_and_bytes_have_rates() {
    let cases = [
        ("limits.commands_per_connection", "1/s burst 2", "fanfare_limited_commands_total"),
        ("limits.commands_per_address", "1/s burst 2", "fanfare_limited_commands_total"),
        ("limits.publishes_per_connection", "1/s burst 2", "fanfare_limited_publishes_total"),
        ("limits.publishes_per_address", "1/s burst 2", "fanfare_limited_publishes_total"),
        ("limits.publishes_per_topic", "1/s burst 2", "fanfare_limited_topics_total"),
        ("limits.bytes_per_connection", "60/s burst 120", "fanfare_limited_bytes_total"),
        ("limits.bytes_per_address", "60/s burst 120", "fanfare_limited_bytes_total"),
    ];
    for (setting, rate, counter) in cases {
        let server = strict(&[(setting, rate)]);
        let mut client = Client::json(&server);
        let command = json!({"type": "publish", "id": 1, "topic": "a", "data": 1});
        assert!((40..=60).contains(&command.to_string().len()));
        for _ in 0..2 {
            client.send(command.clone());
            assert_eq!(client.recv()["type"], "published", "{setting}");
        }
        // Sent at once, so that at most one more has become due.
        (0..2).for_each(|_| client.send(command.clone()));
        client.recv();
        let error = client.recv();
        assert_eq!(
            (&error["code"], &error["id"], &error["topic"]),
            (&json!("rate_limited"), &json!(1), &json!("a")),
            "{setting}"
        );
        let ms = error["retry_after_ms"].as_u64().expect("a time to come back");
        assert!((1..=1_000).contains(&ms), "{setting}: {ms}");
        // Who waits as long as it was told gets through.
        sleep(Duration::from_millis(ms));
        client.send(command.clone());
        assert_eq!(client.recv()["type"], "published", "{setting}");
        assert!(metric(&server, counter) >= 1, "{setting}");
    }
}

#[test]
fn whoever_goes_on_and_on_is_closed_with_4429() {
    let server = strict(&[
        ("limits.commands_per_connection", "1/s burst 1"),
        ("limits.refusals_per_connection", "1/s burst 5"),
        // Its address is barred for a hundred of these.
        ("limits.attempts_per_address", "1000/s burst 1000"),
    ]);
    let mut raw = Raw::connect(&server);
    let mut honest = Client::json(&server);
    for _ in 0..50 {
        raw.try_write(&frame(TEXT, br#"{"type":"ping"}"#));
    }
    let mut refused = 0;
    let code = loop {
        match raw.frame() {
            Some((TEXT, event)) => refused += u32::from(String::from_utf8_lossy(&event).contains("rate_limited")),
            Some((CLOSE, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
            other => panic!("a close was expected, not {other:?}"),
        }
    };
    assert_eq!(code, 4429);
    assert!((5..50).contains(&refused), "{refused}");
    assert_eq!(metric(&server, "fanfare_closed_limited_total"), 1);
    honest.send(json!({"type": "ping", "id": 1}));
    assert_eq!(honest.recv()["type"], "pong");
}

#[test]
fn whoever_is_closed_for_malformed_commands_stays_away_for_a_while() {
    // A hundred attempts are as long as a test may take.
    let server = strict(&[("limits.attempts_per_address", "1/s burst 1000")]);
    let mut raw = Raw::connect(&server);
    (0..17).for_each(|_| raw.try_write(&frame(TEXT, b"{")));
    let code = loop {
        match raw.frame() {
            Some((TEXT, _)) => {}
            Some((CLOSE, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
            other => panic!("a close was expected, not {other:?}"),
        }
    };
    assert_eq!(code, 4400);
    let mut next = Raw::dial(&server);
    next.write(HANDSHAKE.as_bytes());
    assert_eq!(next.reply().status, 429);
}

#[test]
fn publishes_over_http_count_like_others() {
    let server = strict(&[("limits.publishes_per_address", "1/s burst 3")]);
    let mut client = Client::json(&server);
    assert_eq!(client.publish("a", json!(1)), 1);
    let body = json!({"topic": "a", "data": 1});
    assert_eq!(publish(&server, &body).status, 200);
    let messages = json!({"messages": [body, body, body]});
    let results = publish(&server, &messages).json();
    let codes: Vec<_> =
        results["results"].as_array().expect("results").iter().map(|result| result["error"]["code"].as_str()).collect();
    assert_eq!((codes[0], codes[2]), (None, Some("rate_limited")), "{results}");
    let refused = publish(&server, &body);
    refused.expect_error(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["error"]["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)));
}

#[test]
fn calls_of_the_api_count_as_commands() {
    let server = strict(&[("limits.commands_per_address", "1/s burst 250")]);
    // Twenty-five each, and two hundred where all there is has to be gone through.
    let statuses = ["/nothing", "/v1/topics", "/"].map(|path| get(&server, path).status);
    assert_eq!(statuses, [404, 200, 200]);
    for path in ["/v1/topics", "/nothing", "/", "/metrics"] {
        let refused = get(&server, path);
        refused.expect_error(429, "rate_limited");
        assert_eq!(refused.header("connection"), Some("close"), "{path}");
    }
    // Whoever looks after the server is answered, and has to connect again.
    let probed = get(&server, "/healthz");
    assert_eq!((probed.status, probed.header("connection")), (200, Some("close")));
}

#[test]
fn what_is_no_websockets_takes_ten_attempts() {
    let server = strict(&[("limits.attempts_per_address", "1/s burst 25")]);
    let too_long = [&[PING, 0x80 | 126][..], &126_u16.to_be_bytes(), &[0; 4 + 126]].concat();
    for _ in 0..3 {
        let mut raw = Raw::connect(&server);
        raw.write(&too_long);
        raw.expect_close(1002);
    }
    expect_too_many(&server, "", 10);
}

#[test]
fn control_frames_and_fragments_count() {
    let server =
        strict(&[("limits.commands_per_connection", "1/s burst 3"), ("limits.refusals_per_connection", "1/s burst 2")]);
    let mut raw = Raw::connect(&server);
    for first in [PING, PONG] {
        raw.try_write(&frame(first, b"").repeat(5));
    }
    loop {
        match raw.frame() {
            Some((PONG | TEXT, _)) => {}
            Some((CLOSE, payload)) => break assert_eq!(payload[..2], 4429_u16.to_be_bytes()),
            other => panic!("a close was expected, not {other:?}"),
        }
    }
    let server = strict(&[("limits.bytes_per_connection", "1/s burst 2000")]);
    let mut client = Client::json(&server);
    // A message of no more bytes than that, after fifty pieces of nothing.
    let message = format!("{:200}", r#"{"type":"ping"}"#);
    let mut parts = vec![&b""[..]; 50];
    parts.push(message.as_bytes());
    client.fragments(&parts);
    client.expect_error("rate_limited");
}

#[test]
fn a_long_answer_counts_with_what_is_sent() {
    let server = strict(&[("limits.bytes_per_connection", "1/s burst 20000")]);
    let mut client = Client::json(&server);
    client.publish("a", json!("x".repeat(15_000)));
    client.send(json!({"type": "history", "id": 1, "topic": "a"}));
    let error = client.expect_error("rate_limited");
    assert_eq!((&error["id"], &error["topic"]), (&json!(1), &json!("a")));
}

#[test]
fn what_all_are_owed_is_bounded() {
    let server = Server::with(&[("limits.backlog_bytes", "10000"), ("keep_alive.heartbeat_ms", "400")]);
    let mut stays = Client::json(&server);
    let mut deaf = Raw::connect(&server);
    let pings = frame(TEXT, br#"{"type":"ping","id":"0123456789012345678901234567890123456789"}"#).repeat(1_000);
    // Until the server hangs up on it, far beyond what the kernel takes.
    let written = (0..4_000).take_while(|_| deaf.stream().write_all(&pings).is_ok()).count();
    assert!(written < 4_000, "it is served without end");
    assert_eq!(metric(&server, "fanfare_limited_backlogs_total"), 1);
    stays.send(json!({"type": "ping"}));
    assert_eq!(stays.recv()["type"], "pong");
}

#[test]
fn what_is_too_much_is_counted() {
    let settings = [
        ("limits.subscriptions_per_connection", "1"),
        ("limits.members_per_topic", "1"),
        ("limits.topics", "2"),
        ("limits.batch_items", "2"),
        ("limits.http_body_bytes", "100"),
        ("limits.header_ms", "200"),
        ("limits.malformed_in_a_row", "1"),
    ];
    let server = Server::with(&settings);
    let mut client = Client::json(&server);
    client.send(json!({"type": "subscribe", "topics": ["a", "b"]}));
    client.recv();
    client.expect_error("too_many_subscriptions");
    let join = json!({"type": "subscribe", "topic": "m", "presence": true});
    let mut clients = [Client::json(&server), Client::json(&server), Client::json(&server)];
    clients[0].send(join.clone());
    clients[0].recv();
    clients[0].recv();
    clients[1].send(join);
    clients[1].expect_error("overloaded");
    clients[1].send(json!({"type": "publish", "id": 1, "topic": "new", "data": 1}));
    clients[1].expect_error("overloaded");
    clients[1].send(json!([{"type": "ping"}, {"type": "ping"}, {"type": "ping"}]));
    clients[1].expect_error("too_large");
    clients[1].text(&" ".repeat(70_000));
    clients[1].expect_goodbye(1009);
    for _ in 0..2 {
        clients[2].text("{");
        clients[2].expect_error("bad_request");
    }
    clients[2].expect_goodbye(4400);
    assert_eq!(publish(&server, &json!({"topic": "a", "data": "x".repeat(200)})).status, 413);
    assert!(Raw::dial(&server).expect_end().is_empty());
    for (name, count) in [("subscriptions", 1), ("members", 1), ("new_topics", 1), ("sizes", 3), ("time", 1)] {
        assert_eq!(metric(&server, &format!("fanfare_limited_{name}_total")), count, "{name}");
    }
    assert_eq!(metric(&server, "fanfare_closed_malformed_total"), 1);
}

#[test]
fn this_machine_is_exempt_unless_it_speaks_for_others() {
    let server =
        Server::with(&[("limits.connections_per_address", "1"), ("limits.commands_per_connection", "1/s burst 1")]);
    let mut clients = [Client::json(&server), Client::json(&server)];
    for client in &mut clients {
        for _ in 0..10 {
            client.send(json!({"type": "ping"}));
            assert_eq!(client.recv()["type"], "pong");
        }
    }
    for lines in ["X-Forwarded-For: 192.0.2.1\r\n", "Forwarded: for=192.0.2.2\r\n"] {
        let (raw, reply) = knock(&server, lines);
        assert_eq!(reply.status, 101);
        // It is not believed either: both are the same proxy's.
        for lines in ["X-Forwarded-For: 192.0.2.3\r\n", "Forwarded: for=192.0.2.4\r\n"] {
            expect_too_many(&server, lines, 60);
        }
        drop(raw);
        let begin = Instant::now();
        while metric(&server, "fanfare_connections") > 2 {
            assert!(begin.elapsed() < PATIENCE);
            sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn clients_of_a_trusted_proxy_are_told_apart() {
    let server = Server::with(&[("server.trusted_proxies", "127.0.0.1"), ("limits.connections_per_address", "1")]);
    let _one = knock(&server, "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n");
    expect_too_many(&server, "X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n", 60);
    expect_too_many(&server, "Forwarded: for=\"192.0.2.1:4711\"\r\n", 60);
    for lines in [
        "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n",
        "Forwarded: for=192.0.2.1\r\nForwarded: for=\"[2001:db8::1]\"\r\n",
        "X-Forwarded-For: 2001:db8:0:1::1\r\n",
    ] {
        let (_raw, reply) = knock(&server, lines);
        assert_eq!(reply.status, 101, "{lines}");
    }
    let _six = knock(&server, "X-Forwarded-For: 2001:db8:1::1\r\n");
    expect_too_many(&server, "X-Forwarded-For: 2001:db8:1::2\r\n", 60);
}

#[test]
fn networks_are_served_or_not() {
    let behind = |lists: &[(&str, &str)]| Server::with(&[lists, &[("server.trusted_proxies", "127.0.0.1")]].concat());
    let status = |server: &Server, address: &str| {
        request(server, "GET", "/v1/topics", &[("X-Forwarded-For", address)], b"").status
    };
    let server = behind(&[("server.deny", "192.0.2.0/24")]);
    assert_eq!((status(&server, "192.0.2.1"), status(&server, "192.0.3.1")), (403, 200));
    let (_, reply) = knock(&server, "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(reply.status, 403);
    assert_eq!(metric(&server, "fanfare_denied_total"), 2);
    let server = behind(&[("server.allow", "192.0.2.0/24, 127.0.0.1"), ("server.deny", "192.0.2.9")]);
    assert_eq!((status(&server, "192.0.2.1"), status(&server, "192.0.2.9"), status(&server, "::1")), (200, 403, 403));
    assert_eq!(get(&server, "/v1/topics").status, 200);
}

#[test]
fn what_counts_as_one_address_and_how_many_have_meters_is_configured() {
    let server = Server::with(&[
        ("server.trusted_proxies", "127.0.0.1"),
        ("limits.connections_per_address", "1"),
        ("limits.ipv6_prefix", "48"),
    ]);
    let _one = knock(&server, "X-Forwarded-For: 2001:db8:1:1::1\r\n");
    expect_too_many(&server, "X-Forwarded-For: 2001:db8:1:2::1\r\n", 60);
    assert_eq!(knock(&server, "X-Forwarded-For: 2001:db8:2:1::1\r\n").1.status, 101);
    assert_eq!(metric(&server, "fanfare_unmetered_total"), 0);

    let server = strict(&[("limits.meters", "1")]);
    for topic in ["a", "b", "c"] {
        assert_eq!(publish(&server, &json!({"topic": topic, "data": 1})).status, 200);
    }
    assert!(metric(&server, "fanfare_unmetered_total") >= 2);
}

#[test]
fn replies_that_wait_for_a_connection_are_bounded() {
    let ping = json!({"type": "ping", "id": "0123456789012345678901234567890123456789"});
    let batch = vec![ping; 400];
    let waited = |bytes: &str| {
        let server = Server::with(&[("limits.control_lane_bytes", bytes)]);
        let mut client = Client::json(&server);
        client.send(json!(batch));
        for _ in &batch {
            assert_eq!(client.recv()["type"], "pong");
        }
        metric(&server, "fanfare_limited_lanes_total")
    };
    // Some 24 KB of replies.
    assert!(waited("4096") > 0);
    assert_eq!(waited("65536"), 0);
}

#[test]
fn whoever_is_behind_in_too_many_topics_is_closed() {
    let server = Server::with(&[("limits.behind_topics", "2"), ("history.entries", "64")]);
    let mut slow = Client::json(&server);
    slow.subscribe("many.*");
    let mut publisher = Client::json(&server);
    let data = "x".repeat(20_000);
    let begin = Instant::now();
    while metric(&server, "fanfare_closed_slow_total") == 0 {
        assert!(begin.elapsed() < PATIENCE, "it is served without end");
        for topic in (0..100).map(|number| format!("many.{}", number % 5)) {
            publisher.send(json!({"type": "publish", "topic": topic, "data": data}));
        }
        publisher.expect_quiet();
    }
    let goodbye = loop {
        let event = slow.recv();
        if event["type"] == "goodbye" {
            break event;
        }
    };
    assert_eq!(goodbye["code"], 4008);
}

#[test]
fn all_histories_together_are_bounded() {
    let server = Server::with(&[("limits.retained_bytes", "100000")]);
    let data = "x".repeat(10_000);
    for number in 0..100 {
        assert_eq!(publish(&server, &json!({"topic": format!("t.{number}"), "data": data})).status, 200);
    }
    // Each takes twice as much, and one more may stand before another gives way.
    let retained = metric(&server, "fanfare_retained_bytes");
    assert!((10_000..200_000).contains(&retained), "{retained}");
}

#[test]
fn keys_of_publishes_are_forgotten_in_time() {
    let server = Server::with(&[("limits.idempotency_ms", "200")]);
    let repeated = json!({"topic": "a", "data": 1, "idempotency_key": "k"});
    let begin = Instant::now();
    while publish(&server, &repeated).json()["offset"] != 2 {
        assert!(begin.elapsed() < PATIENCE, "it is remembered for ever");
        sleep(Duration::from_millis(50));
    }
}
