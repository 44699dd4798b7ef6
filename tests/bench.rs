//! `fanfare bench` against the real server, and against servers that misbehave: what it measures, what it
//! notices, and how it ends.
//!
//! Nothing here depends on how fast anything is: runs end after a number of messages, and the figures that are
//! looked at are counts.

#![cfg(feature = "server")]

#[path = "bench/forger.rs"]
mod forger;
#[path = "bench/liar.rs"]
mod liar;
#[path = "bench/peers.rs"]
mod peers;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use forger::Forgery;
use liar::Lie;
use serde_json::Value;
use server::{Server, command};

fn command_of(url: &str, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.env_remove("FANFARE_URL").env_remove("FANFARE_TOKEN");
    command.args(["bench", "--url", url, "--warmup", "0s"]).args(words.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

fn bench(url: &str, words: &str) -> Output {
    command_of(url, words).output().expect("it starts")
}

/// The report of a run, which has to end with that status.
#[track_caller]
fn report_of(output: &Output, status: i32) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    serde_json::from_slice(&output.stdout).expect("a report")
}

#[track_caller]
fn assert_fails(output: &Output, with: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(with), "{errors:?} does not contain {with:?}");
}

/// Counts by their path in the report: `checks.lost`.
#[track_caller]
fn assert_counts(report: &Value, counts: &[(&str, u64)]) {
    for (path, count) in counts {
        let found = path.split('.').fold(report, |value, key| &value[key]);
        assert_eq!(found.as_u64(), Some(*count), "{path} of {report:#}");
    }
}

/// A server that keeps all that is published here, so that nobody is too slow for it.
fn keeping(name: &str) -> Server {
    let rule = "[[topics]]\npattern = \">\"\nhistory_entries = 100_000\nhistory_bytes = 100_000_000\n";
    let mut serve = command(&[]);
    serve.arg("--config").arg(file(name, rule));
    Server::run(serve)
}

/// A file with that content.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    fs::write(&path, content).expect("a temporary file");
    path
}

/// How many messages the server says it has handed to sockets.
fn delivered(server: &Server) -> u64 {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix("fanfare_delivered_total "));
    line.and_then(|count| count.parse().ok()).expect("a metric")
}

/// A figure by its path in the report.
#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(report, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{path} of {report:#}"))
}

const ALL_RIGHT: &[(&str, u64)] = &[
    ("checks.lost", 0),
    ("checks.duplicated", 0),
    ("checks.reordered", 0),
    ("checks.gaps", 0),
    ("checks.wrong_topic", 0),
    ("checks.wrong_bytes", 0),
    ("checks.misnumbered", 0),
    ("connections.refused", 0),
    ("connections.closed", 0),
];

#[test]
fn every_message_of_every_subscriber_is_counted_and_checked() {
    let server = keeping("checked.toml");
    for words in [
        "--rate 2000",
        "--full-speed --window 16",
        "--full-speed --window 16 --await-delivery -t 3 --pattern",
        "--full-speed --format msgpack --threads 2",
        "--rate 2000 --format msgpack --publish-format json",
        "--rate 2000 --publish-format msgpack --size 1k --compression",
        "--full-speed --window 8 --pattern -t 7 -p 3 --size 20k --duration 60s --prefix a.b",
    ] {
        let words = format!("--json --messages 200 -s 9 --expect lost=0,p99<60s {words}");
        let report = report_of(&bench(&url(&server), &words), 0);
        assert_counts(&report, ALL_RIGHT);
        assert_eq!(report["complete"], true);
        assert_eq!(report["connections"]["ready"], report["connections"]["asked"]);
        // The last of them may be on their way when the time is over, but not lost.
        assert_eq!(report["latency"]["count"], 9 * 200, "{words}");
        let compressed = words.contains("--compression").then_some(9);
        assert_eq!(report["connections"]["compressed"].as_u64(), compressed, "{words}");
        if compressed.is_some() {
            let a_message = number(&report, "bytes_per_second") / number(&report, "delivered_per_second");
            assert!(a_message < 1024.0, "{a_message} bytes of what are 1,024 as published");
        }
    }
}

#[test]
fn subscribers_follow_their_topics_and_no_others() {
    let server = Server::start();
    let words = "--json --messages 300 --rate 3000 -s 10 -t 5 --follow 2 -p 7 --threads 3";
    let report = report_of(&bench(&url(&server), words), 0);
    assert_counts(&report, ALL_RIGHT);
    // Streams are (topic, publisher) pairs: seven, of which topics 0 and 1 have two. Publishers take turns, so
    // that of 300 messages the first six publishers make 43 and the last one 42; each topic has four followers.
    assert_eq!(report["latency"]["count"], 300 * 4);
    // It was found by its port.
    assert_eq!(report["server"]["pid"], server.child.id());
    assert!(number(&report, "server.resident_max") > 0.0 && number(&report, "generator.busiest") > 0.0);
}

#[test]
fn whoever_returns_recovers_what_was_missed() {
    let server = keeping("recovered.toml");
    let words = "--json --duration 3s --rate 20 -s 6 --storm-every 500ms --storm-away 100ms --churn 10";
    let report = report_of(&bench(&url(&server), &format!("{words} --recover")), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_counts(&report, &[("checks.unrecovered", 0)]);
    assert!(report["checks"]["recovered"].as_u64().is_some_and(|count| count >= 6), "{report:#}");
    // Whoever does not ask for it misses what came meanwhile, and has lost nothing that it was to have.
    let report = report_of(&bench(&url(&server), words), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_counts(&report, &[("checks.recovered", 0), ("checks.unrecovered", 0)]);
    assert!(number(&report, "connections.joined") >= 13.0, "{report:#}");
}

#[test]
fn slow_readers_are_counted_by_themselves() {
    let server = keeping("slow.toml");
    let words = "--json -s 5 --slow 2 --slow-rate 1k --size 20k --rate 400 --messages 400 --duration 60s";
    let report = report_of(&bench(&url(&server), words), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_counts(&report, &[("slow.subscribers", 2), ("slow.closed", 0), ("latency.count", 3 * 400)]);
    // A kilobyte a second is no message of twenty in twenty seconds.
    assert!(number(&report, "slow.delivered") < 2.0 * 20.0, "{report:#}");
}

#[test]
fn connections_come_as_fast_and_from_where_they_are_asked_to() {
    let server = Server::start();
    let began = Instant::now();
    let report = report_of(&bench(&url(&server), "--json -s 9 --messages 5 --connect-rate 10"), 0);
    // The tenth is due after 900 ms.
    assert!(began.elapsed() >= Duration::from_millis(900), "{report:#}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let child = command_of(&url, "-s 1 -p 0 --source 127.0.0.9").spawn().expect("it starts");
    let (stream, from) = listener.accept().expect("somebody comes");
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    drop(stream);
    assert_fails(&child.wait_with_output().expect("it ends"), "0 of 1 connections are ready");
}

#[test]
fn limits_that_are_broken_are_named_and_fail_the_run() {
    let server = Server::start();
    let output = bench(&url(&server), "--messages 20 -s 2 --expect p50<0us,lost=0");
    assert_fails(&output, "p50<0us did not hold");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("BROKEN p50<0us") && text.contains("held   lost=0"), "{text}");
}

#[test]
fn tokens_get_in_and_a_refusal_is_told_with_its_reason() {
    const SECRET: (&str, &str) = ("FANFARE_AUTH__SECRETS", "0123456789abcdef0123456789abcdef");
    let mut serve = command(&[]);
    serve.env(SECRET.0, SECRET.1);
    let server = Server::run(serve);
    let token = |subject: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        command.args(["token", "--subject", subject, "--subscribe", "bench.*", "--publish", "bench.*"]);
        let output = command.env(SECRET.0, SECRET.1).output().expect("it starts");
        String::from_utf8(output.stdout).expect("text")
    };
    let tokens = file("tokens", &format!("{}\n{}", token("ana"), token("ben")));
    let words = format!("--json -s 3 --messages 20 --tokens {}", tokens.display());
    assert_counts(&report_of(&bench(&url(&server), &words), 0), ALL_RIGHT);

    let refused = report_of(&bench(&url(&server), "--json -s 3 --token wrong"), 1);
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("401")), "{refused:#}");
    assert_counts(&refused, &[("connections.ready", 0), ("connections.refused", 4)]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let output = bench(&format!("http://127.0.0.1:{port}"), "-s 200");
    assert_fails(&output, &format!("cannot connect to 127.0.0.1:{port}"));
    assert_fails(&bench("http://127.0.0.1:0/%", "--slow 101"), "only 101 of 100");
    assert_fails(&bench("127.0.0.1:1", ""), "ws://HOST:PORT/ws");
}

#[test]
fn more_connections_than_descriptors_are_refused_with_the_number_that_would_do() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 200 && exec \"$0\" bench -s 500", env!("CARGO_BIN_EXE_fanfare")])
        .output()
        .expect("there is a shell");
    assert_fails(&output, "501 connections need 565 file descriptors and this process may have 200");
    assert_fails(&output, "does for 136 connections");
    // What is only the soft limit is raised.
    let server = Server::start();
    let words = format!("ulimit -S -n 100 && exec \"$0\" bench --json --url {} -s 150 --messages 5", url(&server));
    let output = Command::new("sh").args(["-c", &words, env!("CARGO_BIN_EXE_fanfare")]).output();
    assert_counts(&report_of(&output.expect("there is a shell"), 0), &[("connections.ready", 151)]);
}

#[test]
fn a_server_that_goes_away_leaves_partial_results_and_a_reason() {
    let mut server = Server::start();
    let words = "--json --duration 60s --rate 500 -s 5";
    let child = command_of(&url(&server), words).spawn().expect("it starts");
    while delivered(&server) < 100 {
        sleep(Duration::from_millis(10));
    }
    server.child.kill().expect("it runs");
    let report = report_of(&child.wait_with_output().expect("it ends"), 1);
    assert_eq!(report["complete"], false);
    assert!(report["reason"].as_str().is_some_and(|reason| reason.contains("are gone")), "{report:#}");
    assert!(report["connections"]["closed"].as_u64().is_some_and(|closed| closed > 0));
    assert!(report["latency"]["count"].as_u64().is_some_and(|count| count > 0));
}

#[test]
fn whoever_interrupts_it_gets_what_was_measured_until_then() {
    let server = Server::start();
    for signal in ["-INT", "-TERM"] {
        let before = delivered(&server);
        let words = "--json --duration 60s --rate 500 -s 5";
        let child = command_of(&url(&server), words).spawn().expect("it starts");
        while delivered(&server) < before + 1000 {
            sleep(Duration::from_millis(10));
        }
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("there is kill").success());
        let report = report_of(&child.wait_with_output().expect("it ends"), 130);
        assert_eq!((&report["complete"], &report["interrupted"]), (&false.into(), &true.into()));
        assert!(report["latency"]["count"].as_u64().is_some_and(|count| count > 0));
    }
}

#[test]
fn whoever_waits_at_a_terminal_sees_how_it_goes_and_nobody_else() {
    let server = Server::start();
    let words = format!("bench --url {} --warmup 0s --duration 1s -s 3", url(&server));
    let shell = format!("{} {words}", env!("CARGO_BIN_EXE_fanfare"));
    // Its standard output is a terminal for whom it starts, on which all is written.
    let output = Command::new("script").args(["-qec", &shell, "/dev/null"]).stdin(Stdio::null()).output();
    let shown = output.expect("script is part of Debian").stdout;
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("░ ") || shown.contains("█ "), "{shown}");
    assert!(shown.contains("measuring, 4 live"), "{shown}");
    // The line is empty again when the table comes.
    assert!(shown.contains("\r\x1b[2KRun"), "{shown}");
    let output = bench(&url(&server), "--duration 1s -s 3");
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn the_page_needs_nothing_else() {
    let server = Server::start();
    let path = file("bench.html", "");
    let words = format!("--duration 1s -s 3 --html {}", path.display());
    assert!(bench(&url(&server), &words).status.success());
    let page = fs::read_to_string(&path).expect("it was written");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for title in ["Latency", "Delivered", "Missing so far", "Processor", "Memory of the server"] {
        assert!(page.contains(&format!("aria-label=\"{title}\"")), "{title}");
    }
    for foreign in ["http://www", "https://", "src=", "href=", "<script", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn servers_that_nobody_here_wrote_pass() {
    for (dialect, peer) in [
        ("mqtt", peers::mosquitto()),
        ("nats", peers::nats_server()),
        ("nchan", peers::nchan()),
        ("fanfare", peers::node("topics.mjs")),
        ("socketio", peers::node("socketio.mjs")),
        ("raw", peers::node("loop.mjs")),
    ] {
        for words in ["--rate 500", "--full-speed --window 4"] {
            let words = format!("--json --dialect {dialect} -s 5 --messages 50 --duration 60s {words}");
            let report = report_of(&bench(&peer.url, &words), 0);
            assert_counts(&report, ALL_RIGHT);
            assert_eq!(report["latency"]["count"], 5 * 50, "{words}");
        }
    }
    let words = "--json --dialect nchan -s 6 -t 3 -p 2 --messages 60 --rate 500 --size 2k --compression --settle 100ms";
    let report = report_of(&bench(&peers::nchan().url, words), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_eq!(report["latency"]["count"], 2 * 60);
    let (mqtt, nats) = (peers::mosquitto(), peers::nats_server());
    for (dialect, peer) in [("mqtt", mqtt), ("nats", nats)] {
        let words = format!("--json --dialect {dialect} -s 5 -t 3 --pattern --messages 30 --rate 500 --size 2k");
        assert_counts(&report_of(&bench(&peer.url, &words), 0), ALL_RIGHT);
    }
}

#[test]
fn tls_is_spoken_to_whom_is_trusted_and_nobody_else() {
    let server = Server::start();
    let (peer, ca) = peers::tls_in_front_of(server.address());
    let words = format!("--json -s 5 --messages 50 --rate 500 --size 20k --ca {}", ca.display());
    let report = report_of(&bench(&peer.url, &words), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_eq!(report["latency"]["count"], 5 * 50);
    assert_fails(&bench(&peer.url, "-s 1"), "certificate");
    assert_fails(&bench(&format!("wss://{}/ws", server.address()), "-s 1"), "no TLS is spoken there");
    assert_fails(&bench(&peer.url.replace("wss:", "ws:"), "-s 1 --connect-timeout 5s"), "0 of 2 connections are ready");
}

#[test]
fn lies_are_noticed() {
    for (lie, path, status) in [
        (Lie::Nothing, None, 0),
        (Lie::Lose, Some("checks.lost"), 0),
        (Lie::Repeat, Some("checks.duplicated"), 0),
        (Lie::Swap, Some("checks.reordered"), 0),
        (Lie::Change, Some("checks.wrong_bytes"), 1),
    ] {
        let url = liar::start(lie);
        let report = report_of(&bench(&url, "--json --dialect raw -s 2 --messages 50 --rate 500"), status);
        for (wrong, _) in ALL_RIGHT.iter().filter(|(wrong, _)| wrong.starts_with("checks.")) {
            let count = wrong.split('.').fold(&report, |value, key| &value[key]).as_u64().expect("a count");
            // What was changed did not come as it was, so it is lost as well.
            let also = lie == Lie::Change && *wrong == "checks.lost";
            assert_eq!(count > 0, path == Some(*wrong) || also, "{lie:?}: {wrong} is {count}");
        }
    }
}

#[test]
fn forgeries_are_noticed() {
    let server = Server::start();
    for (forgery, counts, status) in [
        (Forgery::Nothing, [("checks.wrong_topic", 0), ("checks.misnumbered", 0)], 0),
        (Forgery::Topic, [("checks.wrong_topic", 5), ("checks.misnumbered", 0)], 1),
        // The next one does not follow it either.
        (Forgery::Offset, [("checks.wrong_topic", 0), ("checks.misnumbered", 10)], 1),
        (Forgery::Gap, [("checks.gaps", 5), ("checks.gap_events", 5)], 0),
        // What was left out before it began was not announced.
        (Forgery::LateGap, [("checks.gaps", 5), ("checks.lost", 10)], 0),
    ] {
        let url = forger::start(server.address(), forgery);
        let output = bench(&url, "--json -s 1 -t 2 -p 2 --follow 1 --messages 100 --rate 500");
        let report = report_of(&output, status);
        assert_counts(&report, &counts);
        let lost = if matches!(forgery, Forgery::LateGap) { 10 } else { 0 };
        assert_counts(&report, &[("checks.lost", lost), ("checks.wrong_bytes", 0), ("checks.duplicated", 0)]);
    }
}

#[test]
fn what_a_server_does_not_agree_to_is_told() {
    let url = liar::start(Lie::Nothing);
    let words = "--dialect raw -s 2 --messages 5 --compression";
    let report = report_of(&bench(&url, &format!("--json {words}")), 0);
    assert_counts(&report, &[("connections.compressed", 0)]);
    let text = bench(&url, words).stdout;
    assert!(String::from_utf8_lossy(&text).contains("NOT AGREED"));
}

/// Messages are due when they are due, also those that cannot be sent then.
#[test]
fn a_second_in_which_a_server_reads_nothing_is_in_the_latencies() {
    let url = liar::start(Lie::Stall(Duration::from_secs(1)));
    let words = "--json --dialect raw -s 1 --messages 60 --rate 100 --size 500k --duration 60s --expect p25>=400ms";
    let report = report_of(&bench(&url, words), 0);
    assert_counts(&report, ALL_RIGHT);
    assert_counts(&report, &[("latency.count", 60)]);
}
