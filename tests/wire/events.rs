//! `GET /v1/events`: topics as Server-Sent Events (the contract's section 8).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::PATIENCE;
use crate::client::Client;
use crate::http::{Reply, get, metric, publish, request};
use crate::server::Server;

/// An event as a browser's parser sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    event: String,
    id: Option<String>,
    data: String,
    retry: Option<u64>,
}

impl Event {
    #[track_caller]
    fn json(&self, event: &str) -> Value {
        assert_eq!(self.event, event, "{self:?}");
        let data: Value = serde_json::from_str(&self.data).expect("the data is JSON");
        assert_eq!(data["type"], event, "{data}");
        data
    }

    #[track_caller]
    fn id(&self) -> String {
        self.id.clone().unwrap_or_else(|| panic!("{self:?} has no id"))
    }
}

/// A stream of events over a socket, read chunk by chunk.
struct Events {
    stream: BufReader<TcpStream>,
    head: Reply,
    /// What has come and is not a whole line yet.
    rest: Vec<u8>,
    comments: usize,
}

impl Events {
    fn open(server: &Server, query: &str) -> Events {
        Events::after(server, query, None)
    }

    fn after(server: &Server, query: &str, last_event_id: Option<&str>) -> Events {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        let id = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head =
            format!("GET /v1/events?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{id}\r\n");
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(head.as_bytes()).expect("the server takes a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read_until(b'\n', &mut head).expect("a head");
            assert!(read > 0, "the head is cut off");
        }
        Events { stream, head: Reply::parse(&head), rest: Vec::new(), comments: 0 }
    }

    /// More of the body; false at its end.
    fn chunk(&mut self) -> bool {
        let mut length = String::new();
        self.stream.read_line(&mut length).expect("a chunk");
        let length =
            usize::from_str_radix(length.trim_end(), 16).unwrap_or_else(|_| panic!("not a length: {length:?}"));
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).expect("a whole chunk");
        assert_eq!(chunk.split_off(length), b"\r\n");
        self.rest.extend_from_slice(&chunk);
        length > 0
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line = self.rest.drain(..=end).collect();
                return Some(String::from_utf8(line).expect("the stream is UTF-8").trim_end_matches('\n').to_owned());
            }
            if !self.chunk() {
                assert_eq!(self.rest, b"", "the stream ends within a line");
                return None;
            }
        }
    }

    /// The next event; comments are counted. `None` once the stream has ended.
    fn try_next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                if event != Event::default() {
                    return Some(event);
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => self.comments += 1,
                "event" => value.clone_into(&mut event.event),
                "id" => event.id = Some(value.to_owned()),
                "data" => {
                    assert_eq!(event.data, "", "the data is on one line");
                    value.clone_into(&mut event.data);
                }
                "retry" => event.retry = Some(value.parse().expect("a number")),
                _ => panic!("not a field: {line}"),
            }
        }
    }

    #[track_caller]
    fn next(&mut self) -> Event {
        self.try_next().expect("an event")
    }

    /// The next event is the message with this offset; its id.
    #[track_caller]
    fn expect_message(&mut self, topic: &str, offset: u64) -> String {
        let event = self.next();
        let message = event.json("message");
        assert_eq!((&message["topic"], &message["offset"]), (&json!(topic), &json!(offset)), "{message}");
        event.id()
    }
}

#[track_caller]
fn put(server: &Server, topic: &str, data: &Value) -> (String, u64) {
    let published = publish(server, &json!({"topic": topic, "data": data})).json();
    let epoch = published["epoch"].as_str().unwrap_or_else(|| panic!("{published}"));
    (epoch.to_owned(), published["offset"].as_u64().expect("an offset"))
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stream_begins_with_where_each_topic_stands() {
    let server = Server::start();
    let (epoch, _) = put(&server, "a", &json!(1));
    let mut events = Events::open(&server, "topic=a&topic=b%C3%A9&topic=a&unknown=1");
    assert_eq!(events.head.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(events.head.header(name), Some(value), "{name}");
    }
    let first = events.next();
    assert!((1_000..5_000).contains(&first.retry.expect("a hint")), "{first:?}");
    assert_eq!(first.json("subscribed"), json!({"type": "subscribed", "topic": "a", "epoch": epoch, "offset": 1}));
    assert_eq!(first.id, None, "not all topics have been heard of");
    let second = events.next();
    let subscribed = second.json("subscribed");
    assert_eq!((&subscribed["topic"], &subscribed["offset"]), (&json!("bé"), &json!(0)));
    assert_eq!(second.id(), format!("{epoch}:1,{}:0", subscribed["epoch"].as_str().expect("an epoch")));
    put(&server, "bé", &json!(2));
    events.expect_message("bé", 1);
    assert_eq!(events.comments, 0);
}

#[test]
fn data_is_the_very_event_that_json_connections_get() {
    let server = Server::start();
    let mut socket = Client::json(&server);
    let epoch = socket.subscribe("a");
    let mut events = Events::open(&server, "topic=a");
    events.next().json("subscribed");
    let mut publishers = [Client::json(&server), Client::msgpack(&server)];
    for offset in 1..=4_u64 {
        let data = json!({"text": "ä\n€\u{2028}😀", "list": [null, true, -1, 0.5, {"": offset}]});
        publishers[offset as usize % 2].publish("a", data);
        let Message::Text(text) = socket.frame() else { panic!("a text frame") };
        let event = events.next();
        assert_eq!(event.data, text.as_str());
        assert_eq!(event.id(), format!("{}:{offset}", epoch.as_str().expect("an epoch")));
        assert_eq!(event.json("message").get("epoch"), (offset == 1).then_some(&epoch));
    }
}

#[test]
fn line_ends_between_the_tokens_of_data_become_spaces() {
    let server = Server::start();
    let mut events = Events::open(&server, "topic=a");
    events.next().json("subscribed");
    let body = "{\"topic\":\"a\",\"data\":{\n\"x\":\r\n[1,\r2],\n\n\"y\":\"\\n\"}}";
    let reply = request(&server, "POST", "/v1/publish", &[], body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = events.next();
    assert!(event.data.ends_with("\"data\":{ \"x\":  [1, 2],  \"y\":\"\\n\"}}"), "{}", event.data);
    assert_eq!(event.json("message")["data"], json!({"x": [1, 2], "y": "\n"}));
}

#[test]
fn who_returns_with_the_last_id_misses_nothing_and_gets_nothing_twice() {
    let server = Server::start();
    let mut publisher = Client::json(&server);
    let (mut offset, mut last) = (0, None);
    // Each time it is cut off after another event, the first time before there was any message.
    for taken in [0, 1, 3, 0, 5, 2] {
        let mut events = Events::after(&server, "topic=a", last.as_deref());
        let first = events.next();
        let subscribed = first.json("subscribed");
        assert_eq!(subscribed["offset"], offset, "{subscribed}");
        assert_eq!(subscribed.get("recovered"), last.is_some().then_some(&json!(true)), "{subscribed}");
        last = Some(first.id());
        for number in 0..4 {
            publisher.publish("a", json!(number));
        }
        for _ in 0..taken {
            offset += 1;
            last = Some(events.expect_message("a", offset));
        }
    }
}

#[test]
fn several_topics_are_resumed_each_from_its_own_place() {
    let server = Server::start();
    let mut events = Events::open(&server, "topic=a&topic=b&topic=c");
    for _ in 0..3 {
        events.next().json("subscribed");
    }
    for number in 1..=3 {
        put(&server, "a", &json!(number));
        events.expect_message("a", number);
    }
    put(&server, "b", &json!(1));
    let id = events.expect_message("b", 1);
    drop(events);
    for (topic, offset) in [("a", 4), ("a", 5), ("b", 2), ("c", 1)] {
        assert_eq!(put(&server, topic, &json!(0)).1, offset);
    }
    // In another order, one fewer, and one that is new.
    let mut events = Events::after(&server, "topic=new&topic=c&topic=a", Some(&id));
    let expected = [("new", 0, json!(false)), ("c", 0, json!(true)), ("a", 3, json!(true))];
    for (topic, offset, recovered) in &expected {
        let subscribed = events.next().json("subscribed");
        assert_eq!(
            (&subscribed["topic"], &subscribed["offset"], &subscribed["recovered"]),
            (&json!(topic), &json!(offset), recovered)
        );
    }
    let mut heard: Vec<_> = (0..3)
        .map(|_| events.next().json("message"))
        .map(|message| (message["topic"].to_string(), message["offset"].to_string()))
        .collect();
    heard.sort();
    let wanted = [("\"a\"", "4"), ("\"a\"", "5"), ("\"c\"", "1")];
    assert_eq!(heard, wanted.map(|(topic, offset)| (topic.to_owned(), offset.to_owned())));
}

#[test]
fn a_position_may_come_in_the_query_and_the_header_counts_more() {
    let server = Server::start();
    let (epoch, _) = put(&server, "a", &json!(1));
    put(&server, "a", &json!(2));
    let mut events = Events::open(&server, &format!("topic=a&last_event_id={epoch}%3A1"));
    assert_eq!(events.next().json("subscribed")["recovered"], true);
    events.expect_message("a", 2);
    // As a browser reconnects: with the query that it began with.
    put(&server, "a", &json!(3));
    let mut events = Events::after(&server, &format!("topic=a&last_event_id={epoch}:1"), Some(&format!("{epoch}:2")));
    assert_eq!(events.next().json("subscribed")["offset"], 2);
    events.expect_message("a", 3);
    // An empty one is none.
    let mut events = Events::after(&server, "topic=a&last_event_id=", Some(""));
    assert_eq!(events.next().json("subscribed").get("recovered"), None);
}

#[test]
fn a_position_that_is_not_held_is_said_not_to_be_recovered() {
    let server = Server::with(&[("history.entries", "4")]);
    for number in 1..=10 {
        put(&server, "a", &json!(number));
    }
    let (epoch, head) = put(&server, "a", &json!("last"));
    for (id, reason) in [
        (format!("{epoch}:1"), "expired"),
        (format!("{epoch}:{}", head + 1), "future"),
        (format!("{epoch}:18446744073709551615"), "future"),
        (format!("{epoch}:18446744073709551616"), "epoch"),
        ("1f9k3:1".to_owned(), "epoch"),
        ("42".to_owned(), "epoch"),
        ("a message of another server's".to_owned(), "epoch"),
        ("x".repeat(10_000), "epoch"),
    ] {
        let mut events = Events::after(&server, "topic=a", Some(&id));
        assert_eq!(events.head.status, 200, "a browser gives up on anything else");
        let first = events.next();
        assert_eq!(
            first.json("subscribed"),
            json!({"type": "subscribed", "topic": "a", "epoch": epoch, "offset": head, "recovered": false, "reason": reason})
        );
        assert_eq!(first.id(), format!("{epoch}:{head}"));
    }
}

#[test]
fn histories_age_also_where_nobody_has_a_websocket() {
    let server = Server::with(&[("history.age_ms", "300")]);
    let mut events = Events::open(&server, "topic=a");
    let id = events.next().id();
    put(&server, "a", &json!(1));
    events.expect_message("a", 1);
    until("the message stays", || get(&server, "/v1/topics/a/history").json()["messages"] == json!([]));
    let subscribed = Events::after(&server, "topic=a", Some(&id)).next().json("subscribed");
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&json!(false), &json!("expired")));
}

#[test]
fn a_slow_reader_gets_a_gap_that_accounts_for_all() {
    const COUNT: u64 = 3000;
    let server = Server::with(&[("history.entries", "64"), ("history.bytes", "4000000")]);
    let mut slow = Events::open(&server, "topic=a");
    slow.next().json("subscribed");
    let mut fast = Client::json(&server);
    fast.subscribe("a");
    let mut publisher = Client::json(&server);
    // Far more than both kernels buffer; somebody who keeps up sees all of it.
    let data = "x".repeat(10_000);
    for number in 1..=COUNT {
        publisher.send(json!({"type": "publish", "topic": "a", "data": data}));
        assert_eq!(fast.recv()["offset"], number);
    }
    let (mut at, mut gaps) = (0, 0);
    while at < COUNT {
        let event = slow.next();
        let said: Value = serde_json::from_str(&event.data).expect("the data is JSON");
        match &*event.event {
            "message" => {
                assert_eq!(said["offset"], at + 1);
                at += 1;
            }
            "gap" => {
                assert_eq!(
                    (&said["type"], &said["reason"], &said["topic"]),
                    (&json!("gap"), &json!("slow"), &json!("a"))
                );
                assert_eq!(said["from"], at + 1, "{said}");
                at = said["to"].as_u64().expect("an offset");
                gaps += 1;
            }
            other => panic!("{other}"),
        }
        assert!(event.id().ends_with(&format!(":{at}")), "{:?}", event.id);
    }
    assert!(gaps >= 1, "the sockets hold more than this test sends");
    assert_eq!(metric(&server, "fanfare_gaps_total"), gaps);
    publisher.send(json!({"type": "publish", "topic": "a", "data": "live"}));
    slow.expect_message("a", COUNT + 1);
}

#[test]
fn what_cannot_be_served_is_refused_before_a_stream_begins() {
    let server = Server::with(&[("limits.subscriptions_per_connection", "15"), ("limits.topics", "20")]);
    let many = |count: usize| (0..count).map(|number| format!("topic=many.{number}")).collect::<Vec<_>>().join("&");
    let get = |query: &str| get(&server, &format!("/v1/events{query}"));
    get("").expect_error(400, "bad_request");
    get("?topics=a").expect_error(400, "bad_request");
    get("?topic=%FF").expect_error(400, "bad_request");
    for name in ["", "a%20b", "a+b", "a..b", "a.*", "%3E", "a%00"] {
        get(&format!("?topic=fine&topic={name}")).expect_error(400, "bad_topic");
    }
    get(&format!("?{}", many(17))).expect_error(400, "bad_request");
    get(&format!("?{}", many(16))).expect_error(429, "too_many_subscriptions");
    assert_eq!(get_topics(&server), 0, "a refused request leaves no topic behind");
    let mut events = Events::open(&server, &many(15));
    events.next().json("subscribed");
    let full = get(&format!("?{}", many(15).replace("many", "more")));
    full.expect_error(503, "overloaded");
    assert_eq!(full.header("retry-after"), Some("1"));
    for method in ["POST", "PUT", "DELETE"] {
        let refused = request(&server, method, "/v1/events?topic=a", &[], b"");
        refused.expect_error(405, "bad_request");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    let foreign = request(&server, "GET", "/v1/events?topic=a", &[("Origin", "https://evil.example")], b"");
    foreign.expect_error(403, "forbidden");
}

fn get_topics(server: &Server) -> usize {
    get(server, "/v1/topics").json()["topics"].as_array().expect("a list").len()
}

#[test]
fn head_is_answered_like_get_and_follows_nothing() {
    let server = Server::start();
    let reply = request(&server, "HEAD", "/v1/events?topic=a", &[], b"");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(reply.header("content-length"), None, "a stream has none");
    assert!(reply.body.is_empty());
    assert_eq!(get_topics(&server), 0);
    assert_eq!(request(&server, "HEAD", "/v1/events", &[], b"").status, 400);
}

#[test]
fn a_client_of_http_1_0_is_served_until_the_connection_ends() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address()).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.write_all(b"GET /v1/events?topic=a HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("a request can be sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| line == "event: subscribed"));
    put(&server, "a", &json!(1));
    assert!(lines.any(|line| line == "event: message"));
}

#[test]
fn a_quiet_stream_has_a_comment_within_each_heartbeat() {
    let server = Server::with(&[("keep_alive.heartbeat_ms", "400")]);
    let mut events = Events::open(&server, "topic=a");
    events.next().json("subscribed");
    let quiet_since = Instant::now();
    thread::sleep(Duration::from_millis(1_700));
    put(&server, "a", &json!(1));
    events.expect_message("a", 1);
    let heartbeats = quiet_since.elapsed().as_millis() / 400;
    assert!(events.comments >= 2 && events.comments as u128 <= heartbeats + 2, "{} comments", events.comments);
}

#[test]
fn streams_count_as_connections_and_are_forgotten_when_they_end() {
    let server = Server::with(&[("limits.connections", "8"), ("keep_alive.heartbeat_ms", "200")]);
    let mut socket = Client::json(&server);
    socket.subscribe("a");
    let mut stream = Events::open(&server, "topic=a&topic=b");
    stream.next().json("subscribed");
    let figures =
        ["event_streams", "connections", "subscriptions"].map(|name| metric(&server, &format!("fanfare_{name}")));
    assert_eq!(figures, [1, 1, 3]);

    let mut streams = vec![stream];
    // The connections of requests that are over may be there for a moment more.
    until("there is room for seven beside a WebSocket", || {
        let stream = Events::open(&server, "topic=a");
        if stream.head.status == 200 {
            streams.push(stream);
        }
        streams.len() == 7
    });
    let full = get(&server, "/v1/events?topic=a");
    full.expect_error(503, "overloaded");
    assert_eq!(full.header("retry-after"), Some("5"));

    drop(streams);
    until("streams stay behind", || {
        let reply = get(&server, "/metrics");
        reply.status == 200 && reply.text().contains("fanfare_event_streams 0\n")
    });
    assert_eq!(metric(&server, "fanfare_subscriptions"), 1);
}

#[test]
fn a_client_that_ends_its_side_has_gone() {
    // So long that no write can tell.
    let server = Server::with(&[("keep_alive.heartbeat_ms", "3600000"), ("keep_alive.timeout_ms", "3600000")]);
    let mut streams = [Events::open(&server, "topic=a"), Events::open(&server, "topic=a")];
    assert_eq!(metric(&server, "fanfare_event_streams"), 2);
    let [left, half_closed] = &mut streams;
    half_closed.next().json("subscribed");
    half_closed.stream.get_ref().shutdown(Shutdown::Write).expect("a socket can be half closed");
    until("half of it is taken for all", || metric(&server, "fanfare_event_streams") == 1);
    left.next().json("subscribed");
    assert_eq!(publish(&server, &json!({"topic": "a", "data": 1})).status, 200);
    left.next().json("message");
    drop(streams);
    until("a stream stays behind", || metric(&server, "fanfare_event_streams") == 0);
}

#[test]
fn streams_count_among_the_connections_of_their_address() {
    let server = Server::with(&[("limits.exempt", ""), ("limits.connections_per_address", "2")]);
    let (_socket, stream) = (Client::json(&server), Events::open(&server, "topic=a"));
    assert_eq!(stream.head.status, 200);
    let refused = get(&server, "/v1/events?topic=a");
    refused.expect_error(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    // What it asked for was not done.
    assert_eq!(metric(&server, "fanfare_event_streams"), 1);
}

#[test]
fn the_figures_of_the_server_can_be_followed() {
    let server = Server::start();
    let mut events = Events::open(&server, "topic=$stats");
    events.next().json("subscribed");
    let figures = events.next().json("message");
    assert_eq!(figures["data"]["event_streams"], 1, "{figures}");
}

#[test]
fn a_drain_ends_streams_with_a_goodbye_after_what_is_on_its_way() {
    let mut server = Server::with(&[("drain.spread_ms", "3000")]);
    let mut streams: Vec<_> = (0..3).map(|_| Events::open(&server, "topic=a")).collect();
    for stream in &mut streams {
        stream.next().json("subscribed");
    }
    for number in 1..=100 {
        put(&server, "a", &json!(number));
    }
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("the server is there to be told");
    let mut returns = Vec::new();
    for stream in &mut streams {
        for offset in 1..=100 {
            stream.expect_message("a", offset);
        }
        let event = stream.next();
        let goodbye = event.json("goodbye");
        assert_eq!((&goodbye["code"], &goodbye["reason"]), (&json!(1012), &json!("restart")));
        assert_eq!(event.id, None);
        let reconnect_ms = goodbye["reconnect_ms"].as_u64().expect("a time to return");
        assert_eq!(event.retry, Some(1_000 + reconnect_ms));
        assert_eq!(stream.try_next(), None);
        returns.push(reconnect_ms);
    }
    returns.sort_unstable();
    assert_eq!(returns, [0, 1000, 2000]);
    let deadline = Instant::now() + PATIENCE;
    while server.child.try_wait().expect("the server can be waited for").is_none() {
        assert!(Instant::now() < deadline, "the server does not end");
        thread::sleep(Duration::from_millis(5));
    }
}
