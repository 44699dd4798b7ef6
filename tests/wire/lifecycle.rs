//! How a server starts and ends, and how it notices that a client has (the contract's sections 4 and 9).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::PATIENCE;
use crate::client::Client;
use crate::http::{get, metric, publish};
use crate::raw::{CLOSE, HANDSHAKE, PING, PONG, Raw, TEXT, frame};
use crate::server::{Server, command};

pub(crate) fn signal(server: &Server, signal: Signal) {
    kill_process(Pid::from_child(&server.child), signal).expect("the server is there to be told");
}

/// How the server ended, once it has.
pub(crate) fn ended(server: &mut Server) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = server.child.try_wait().expect("the server can be waited for") {
            return status;
        }
        assert!(Instant::now() < deadline, "the server does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn connections(server: &Server) -> u64 {
    let metrics = get(server, "/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("fanfare_connections ")).expect("a figure");
    line.parse().expect("a number")
}

#[test]
fn a_drain_asks_everybody_to_return_at_times_spread_evenly() {
    const CLIENTS: usize = 20;
    for kind in [Signal::TERM, Signal::INT] {
        let mut server = Server::with(&[("drain.spread_ms", "4000")]);
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|number| if number % 2 == 0 { Client::json(&server) } else { Client::msgpack(&server) })
            .collect();
        clients[0].subscribe("a");
        signal(&server, kind);
        let mut returns: Vec<u64> = clients
            .iter_mut()
            .map(|client| {
                let goodbye = client.expect_goodbye(1012);
                assert!(goodbye["reason"].is_string(), "{goodbye}");
                goodbye["reconnect_ms"].as_u64().expect("a time to return")
            })
            .collect();
        returns.sort_unstable();
        assert!(returns.iter().all(|&ms| ms <= 4000), "{returns:?}");
        // Evenly: each quarter of the time has some.
        for quarter in 0..4 {
            let range = quarter * 1000..(quarter + 1) * 1000 + 1;
            assert!(returns.iter().any(|ms| range.contains(ms)), "{returns:?}");
        }
        assert_eq!(ended(&mut server).code(), Some(0));
    }
}

#[test]
fn messages_that_are_on_their_way_arrive_before_the_goodbye() {
    let mut server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    for number in 1..=100 {
        assert_eq!(publish(&server, &json!({"topic": "a", "data": number})).json()["offset"], number);
    }
    signal(&server, Signal::TERM);
    for number in 1..=100 {
        assert_eq!(client.recv()["data"], number);
    }
    client.expect_goodbye(1012);
    assert_eq!(ended(&mut server).code(), Some(0));
}

#[test]
fn a_client_that_ignores_the_goodbye_holds_the_end_up_no_longer_than_the_deadline() {
    let mut server = Server::with(&[("drain.deadline_ms", "500"), ("drain.spread_ms", "100")]);
    let mut raw = Raw::connect(&server);
    let mut half = Raw::dial(&server);
    half.write(&HANDSHAKE.as_bytes()[..30]);
    signal(&server, Signal::TERM);
    assert_eq!(ended(&mut server).code(), Some(0));
    raw.expect_end();
}

#[test]
fn while_it_drains_a_server_takes_nobody_in_and_says_so() {
    let mut server = Server::with(&[("drain.deadline_ms", "60000")]);
    // A connection that was there before can still ask.
    let mut probe = Raw::dial(&server);
    probe.write(b"GET /readyz HTTP/1.1\r\n");
    let mut stubborn = Raw::connect(&server);
    signal(&server, Signal::TERM);
    // The goodbye has come, so the drain has begun.
    assert_eq!(stubborn.frame().map(|(first, _)| first), Some(TEXT));
    probe.write(b"Host: localhost\r\n\r\n");
    assert_eq!(probe.reply().status, 503);
    // Whether the port is closed already or not, nobody gets in.
    if let Ok(mut late) = TcpStream::connect(server.address()) {
        late.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket takes a time limit");
        let mut answer = [0; 12];
        let read = late.write_all(HANDSHAKE.as_bytes()).and_then(|()| late.read(&mut answer)).unwrap_or(0);
        assert!(!answer[..read].starts_with(b"HTTP/1.1 101"), "a draining server has let somebody in");
    }
    signal(&server, Signal::TERM);
    ended(&mut server);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::with(&[("drain.deadline_ms", "600000")]);
    let mut half = Raw::dial(&server);
    half.write(&HANDSHAKE.as_bytes()[..30]);
    let mut raw = Raw::connect(&server);
    signal(&server, Signal::TERM);
    let (first, goodbye) = raw.frame().expect("a goodbye");
    assert_eq!(first, TEXT);
    assert!(goodbye.starts_with(b"{\"type\":\"goodbye\""));
    signal(&server, Signal::INT);
    ended(&mut server);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut child = command(&[]);
    let output =
        child.args(["--listen", &address]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is announced");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn the_port_of_another_fanfare_is_taken_too() {
    let server = Server::start();
    let mut child = command(&[]);
    let output = child.args(["--listen", &server.address().to_string()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_quiet_connection_is_pinged_within_the_heartbeat() {
    let server = Server::with(&[("keep_alive.heartbeat_ms", "500"), ("keep_alive.timeout_ms", "20000")]);
    let mut raw = Raw::connect(&server);
    let quiet_since = Instant::now();
    for _ in 0..3 {
        let (first, payload) = raw.frame().expect("a ping");
        assert_eq!(first, PING);
        raw.send(PONG, &payload);
    }
    // Not in a flood: three heartbeats take three times as long, less the tick they are rounded by.
    assert!(quiet_since.elapsed() >= Duration::from_millis(600), "{:?}", quiet_since.elapsed());
    raw.send(TEXT, br#"{"type":"ping"}"#);
    loop {
        match raw.frame() {
            Some((PING, payload)) => raw.send(PONG, &payload),
            Some((TEXT, _)) => break,
            other => panic!("a pong was expected, not {other:?}"),
        }
    }
}

#[test]
fn a_client_that_answers_no_ping_is_closed() {
    let server = Server::with(&[("keep_alive.heartbeat_ms", "300"), ("keep_alive.timeout_ms", "300")]);
    let mut silent = Raw::connect(&server);
    let (first, _) = silent.frame().expect("a ping");
    assert_eq!(first, PING);
    let (first, goodbye) = silent.frame().expect("a goodbye");
    assert_eq!(first, TEXT);
    let goodbye: serde_json::Value = serde_json::from_slice(&goodbye).expect("JSON");
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&json!("goodbye"), &json!(4408)));
    assert_eq!(silent.frame().map(|(first, payload)| (first, payload[..2].to_vec())), Some((CLOSE, vec![0x11, 0x38])));
    assert_eq!(silent.frame(), None);
    assert_eq!(metric(&server, "fanfare_closed_silent_total"), 1);
    // It was not the server that had gone.
    Client::json(&server);
}

#[test]
fn a_client_that_vanishes_is_forgotten() {
    let server = Server::with(&[("history.entries", "0"), ("history.linger_ms", "50")]);
    let mut stays = Client::json(&server);
    {
        let mut polite = Client::json(&server);
        polite.subscribe("vanishing.polite");
        polite.close();
        polite.expect_close(1000);
        let mut rude = Client::json(&server);
        rude.subscribe("vanishing.rude");
        // Within a frame, and within its head.
        let command = frame(TEXT, br#"{"type":"publish","topic":"vanishing.never","data":1}"#);
        Raw::connect(&server).write(&command[..command.len() - 1]);
        Raw::connect(&server).write(&command[..1]);
        let mut half_closed = Raw::connect(&server);
        half_closed.finish();
        half_closed.expect_end();
    }
    until("connections stay behind", || connections(&server) == 1);
    stays.subscribe("vanishing.*");
    until("topics stay behind", || get(&server, "/v1/topics?prefix=vanishing").json() == json!({"topics": []}));
    stays.expect_quiet();
}
