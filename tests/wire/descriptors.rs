//! A server that runs out of file descriptors (docs/operating.md): whoever is in is served, whoever is
//! not is told so, and the processor has nothing to do with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::PATIENCE;
use crate::client::Client;
use crate::raw::{HANDSHAKE, Raw};
use crate::server::{Server, command};

/// How many descriptors the server may have.
const DESCRIPTORS: usize = 64;

/// More than there is room for.
const CROWD: usize = 80;

/// Enough to show that somebody is served.
const SOME: usize = 16;

/// How many threads accept connections, and how long each pauses when there is no descriptor left.
const THREADS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(50);

/// A server that may have so many descriptors; its soft limit is lower, for it to be raised.
fn limited() -> Server {
    let inner = command(&[("server.threads", &THREADS.to_string())]);
    let script = format!("ulimit -S -n {} && ulimit -H -n {DESCRIPTORS} && exec \"$0\" \"$@\"", DESCRIPTORS / 2);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("FANFARE_LOG", "warn").stdin(Stdio::null()).stderr(Stdio::piped());
    Server::run(shell)
}

/// A connection on which an upgrade has been asked for.
fn knock(server: &Server) -> Raw {
    let mut raw = Raw::dial(server);
    // A server that has no room may have hung up already.
    raw.try_write(HANDSHAKE.as_bytes());
    raw
}

/// Those who were let in; who is not is told why, and when to come back, and is counted.
fn admitted(knocking: impl Iterator<Item = Raw>, refused: &mut u64) -> Vec<Raw> {
    let inside: Vec<Option<Raw>> = knocking.map(answer).collect();
    *refused += inside.iter().filter(|raw| raw.is_none()).count() as u64;
    inside.into_iter().flatten().collect()
}

fn answer(mut raw: Raw) -> Option<Raw> {
    let reply = raw.reply();
    if reply.status == 101 {
        return Some(raw);
    }
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
    let body: serde_json::Value = serde_json::from_slice(&raw.expect_end()).expect("JSON");
    assert_eq!(body["error"]["code"], "overloaded", "{body}");
    None
}

/// The processor's time that a server has taken.
fn processor_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.child.id())).expect("the server runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_refuses_politely_and_serves_those_it_has() {
    let mut server = limited();
    let log = BufReader::new(server.child.stderr.take().expect("standard error is piped"));
    let log = thread::spawn(move || log.lines().map_while(Result::ok).filter(|line| line.contains("no room")).count());
    let (mut ana, mut bob) = (Client::json(&server), Client::json(&server));
    ana.subscribe("a");
    let start = Instant::now();

    // One after the other, until it is full and beyond.
    let mut refused = 0;
    let mut inside = admitted((0..CROWD).map(|_| knock(&server)), &mut refused);
    assert!(inside.len() > SOME, "{} were let in", inside.len());
    assert!(inside.len() < DESCRIPTORS, "{} were let in", inside.len());
    // All at once, so that both threads find connections waiting; none is forgotten.
    let crowd: Vec<Raw> = (0..CROWD).map(|_| knock(&server)).collect();
    inside.extend(admitted(crowd.into_iter(), &mut refused));

    // Nobody who is in noticed.
    for number in 1..=3 {
        assert_eq!(bob.publish("a", json!(number)), number);
        assert_eq!(ana.recv()["offset"], number);
    }
    // A thread that does not pause would log, and take a processor, without end.
    let (time, elapsed) = (processor_time(&server), start.elapsed());
    assert!(time < elapsed / 2, "{time:?} of {elapsed:?} were spent");

    // Who leaves makes room.
    let most = inside.len();
    inside.truncate(most - SOME);
    let deadline = Instant::now() + PATIENCE;
    while inside.len() < most {
        assert!(Instant::now() < deadline, "{} of {most} are inside", inside.len());
        inside.extend(admitted(std::iter::once(knock(&server)), &mut refused));
    }
    // And it is full again, and still polite.
    let crowd: Vec<Raw> = (0..SOME).map(|_| knock(&server)).collect();
    inside.extend(admitted(crowd.into_iter(), &mut refused));
    assert_eq!(bob.publish("a", json!(4)), 4);
    assert_eq!(ana.recv()["offset"], 4);

    drop(inside);
    let deadline = Instant::now() + PATIENCE;
    let metrics = loop {
        let mut raw = Raw::dial(&server);
        raw.try_write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        if raw.reply().status == 200 {
            break String::from_utf8(raw.expect_end()).expect("text");
        }
        refused += 1;
        assert!(Instant::now() < deadline, "who has left still takes descriptors");
    };
    assert!(metrics.contains(&format!("\nfanfare_refused_total {refused}\n")), "{refused} were refused: {metrics}");

    let elapsed = start.elapsed();
    drop(server);
    let pauses = log.join().expect("the log can be read");
    let most = THREADS as usize * (elapsed.as_millis() / PAUSE.as_millis() + 2) as usize;
    assert!((1..=most).contains(&pauses), "{pauses} times in {elapsed:?} there was no room");
}
