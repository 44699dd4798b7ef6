//! Each attack beside fifty honest subscribers, for as long as it takes to measure what it costs.
//!
//! The server has a processor to itself; the attackers have the other, where honest clients, who do next to nothing,
//! go before them. What counts is what happens to the honest clients' latencies from before to during an attack.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::flood::Flood;
use crate::frames::frame;
use crate::honest::{Crowd, Seen};
use crate::measure::{cpu, percentile, pin, processors, resident};
use crate::peer::{Answer, PING, PONG, TEXT, handshake};
use crate::server::Server;
use crate::table::{ATTACKS, Attack, Doors, Target, auth};
use crate::tokens::{ana, bad_tokens, sign};

const SUBSCRIBERS: usize = 50;

/// From how many addresses.
const ADDRESSES: u8 = 100;

/// How long honest clients are looked at before an attack, and during one: by hand, or in a flood.
const BEFORE: Duration = Duration::from_secs(4);
const STRIKES: Duration = Duration::from_secs(4);
const DURING: Duration = Duration::from_secs(10);

/// What a flood may take of one processor, and by what factor the 99th percentile may rise.
const SHARE_MAX: f64 = 1.0 / 3.0;
const FACTOR_MAX: f64 = 3.0;

/// How often a flood is measured: the round counts whose factor is in the middle.
const ROUNDS: usize = 3;

/// What one attack has cost.
struct Costs {
    answers: BTreeMap<Answer, u64>,
    /// Of one processor, without what the honest clients take.
    share: f64,
    /// How long it lasted.
    took: Duration,
    grown_bytes: u64,
    /// Their 99th percentile, before and during.
    before: Duration,
    during: Duration,
}

impl Costs {
    fn factor(&self) -> f64 {
        self.during.as_secs_f64() / self.before.as_secs_f64()
    }

    /// A row of the table.
    fn row(&self, name: &str) -> String {
        let total: u64 = self.answers.values().sum();
        let mut answers: Vec<_> = self.answers.iter().collect();
        answers.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(**count));
        let answers: Vec<_> = answers.into_iter().map(|(answer, count)| format!("{count} {answer}")).collect();
        // How many of these a second of the processor takes; clock ticks of the kernel are too long to tell it of few.
        const SECONDS_MIN: f64 = 0.1;
        let seconds = self.share * self.took.as_secs_f64();
        let a_second = if seconds < SECONDS_MIN { "-".to_owned() } else { format!("{:.0}", total as f64 / seconds) };
        format!(
            "| {name} | {total} | {} | {a_second} | {:.0} % | {:.1} | {:.2} | {:.2} | {:.1} |",
            answers.join(", "),
            100.0 * self.share,
            self.grown_bytes as f64 / 1e6,
            1e3 * self.before.as_secs_f64(),
            1e3 * self.during.as_secs_f64(),
            self.factor(),
        )
    }
}

/// What is printed, and goes into the document.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn say(&mut self, line: String) {
        println!("{line}");
        self.0.push(line);
    }

    /// Puts all of it where the document has the last one.
    fn write(&self) {
        const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verification.md");
        const MARKS: [&str; 2] = ["<!-- attacks: begin -->\n", "<!-- attacks: end -->"];
        let page = fs::read_to_string(PAGE).expect("the document is there");
        let (before, rest) = page.split_once(MARKS[0]).expect("the document has a place for it");
        let (_, after) = rest.split_once(MARKS[1]).expect("the place has an end");
        let page = format!("{before}{}{}\n{}{after}", MARKS[0], self.0.join("\n"), MARKS[1]);
        fs::write(PAGE, page).expect("the document can be written");
    }
}

/// With `FANFARE_ATTACKS_WRITE` set the figures go into docs/verification.md, where it says what they are. With
/// `FANFARE_ATTACKS_ONLY` only those are measured whose name has that in it.
#[test]
#[ignore = "takes half an hour, and a machine with two processors that does nothing else"]
fn what_attacks_cost() {
    let [server, others] = processors()[..] else { return println!("skipped: it takes two processors, and no more") };
    let only = std::env::var("FANFARE_ATTACKS_ONLY").unwrap_or_default();
    let is_chosen = |name: &str| name.contains(&only);
    let mut report = Report::default();
    report.say("| attack | times | answers | a CPU second | processor | MB | p99 ms | during | factor |".into());
    report.say("|---|---|---|---|---|---|---|---|---|".into());
    for attack in ATTACKS.iter().filter(|attack| is_chosen(attack.name)) {
        let costs = measure(attack.doors, (server, others), |server| strike(attack, server));
        report.say(costs.row(attack.name));
    }
    let mut fails = Vec::new();
    for (name, flood) in floods().into_iter().filter(|(name, _)| is_chosen(name)) {
        let run = |server: &Server| flood.run(server.address(), DURING);
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| measure(flood.doors, (server, others), run)).collect();
        rounds.sort_unstable_by(|one, other| one.factor().total_cmp(&other.factor()));
        let costs = &rounds[ROUNDS / 2];
        report.say(costs.row(name));
        if costs.share >= SHARE_MAX || costs.factor() >= FACTOR_MAX {
            fails.push(name);
        }
    }
    let verdict = if fails.is_empty() { "none".to_owned() } else { fails.join(", ") };
    report.say(format!("\nFloods that take a third of a processor or the 99th percentile times three: {verdict}."));
    if std::env::var_os("FANFARE_ATTACKS_WRITE").is_some() {
        assert!(only.is_empty(), "the document has all of it or nothing");
        report.write();
    }
    assert!(fails.is_empty(), "a third of a processor, or the 99th percentile times three: {fails:?}");
}

/// A server for itself, looked at before and during an attack.
fn measure(
    doors: Doors,
    processors: (usize, usize),
    attack: impl FnOnce(&Server) -> BTreeMap<Answer, u64> + Send,
) -> Costs {
    // A child is born on its parent's processor, and counts its threads by it.
    pin(processors.0);
    let server = doors.open(&[]);
    pin(processors.1);
    let crowd = Crowd::gather(server.address(), SUBSCRIBERS, doors.token(), Some(processors.1));
    let pid = server.child.id();
    thread::sleep(Duration::from_secs(1));
    let share = |began: (Instant, Duration)| (cpu(pid) - began.1).as_secs_f64() / began.0.elapsed().as_secs_f64();
    let began = (Instant::now(), cpu(pid));
    let mut before = crowd.time(BEFORE);
    let (quiet, small) = (share(began), resident(pid));
    let began = (Instant::now(), cpu(pid));
    let (answers, mut during, busy, took) = thread::scope(|scope| {
        let attack = scope.spawn(|| attack(&server));
        let mut during = Vec::new();
        while !attack.is_finished() || during.is_empty() {
            during.extend(crowd.time(Duration::from_millis(100)));
        }
        (attack.join().expect("the attack comes to its end"), during, share(began), began.0.elapsed())
    });
    let grown_bytes = resident(pid).saturating_sub(small);
    let Seen { lost, .. } = crowd.part();
    assert_eq!(lost, 0, "honest clients have lost messages");
    Costs {
        answers,
        share: (busy - quiet).max(0.0),
        took,
        grown_bytes,
        before: percentile(&mut before, 99),
        during: percentile(&mut during, 99),
    }
}

/// An attack again and again, from all addresses in turn: for a while, or each once if it is slow.
fn strike(attack: &Attack, server: &Server) -> BTreeMap<Answer, u64> {
    const THREADS: u32 = 8;
    let end = Instant::now() + STRIKES;
    let next = AtomicU32::new(0);
    let strike = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let from = Ipv4Addr::new(127, 1, 1, 1 + (number % u32::from(ADDRESSES)) as u8);
        (attack.strike)(Target { server: server.address(), from })
    };
    let threads = if attack.is_slow { u32::from(ADDRESSES) } else { THREADS };
    let answers: Vec<Answer> = thread::scope(|scope| {
        let work = || {
            let mut answers = vec![strike()];
            while !attack.is_slow && Instant::now() < end {
                answers.push(strike());
            }
            answers
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("each attack is answered")).collect()
    });
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer).or_default() += 1;
    }
    tally
}

fn websocket(name: &'static str, connections_of_each: usize, round: Vec<u8>) -> (&'static str, Flood) {
    let unit = round.len();
    let (doors, opening) = (Doors::Open, handshake("").into_bytes());
    (name, Flood { doors, addresses: ADDRESSES, connections_of_each, opening, round, unit })
}

fn plain(name: &'static str, opening: &str, round: &str) -> (&'static str, Flood) {
    let (opening, round) = (opening.as_bytes().to_vec(), round.repeat(100).into_bytes());
    let unit = round.len();
    (name, Flood { doors: Doors::Open, addresses: ADDRESSES, connections_of_each: 1, opening, round, unit })
}

fn text(command: &str) -> Vec<u8> {
    frame(TEXT, command.as_bytes())
}

/// Publishes to a hundred topics in turn.
fn publishes() -> Vec<u8> {
    let publish = |number| text(&format!(r#"{{"type":"publish","id":1,"topic":"flood.{number}","data":1}}"#));
    (0..100).flat_map(publish).collect()
}

fn commands() -> Vec<u8> {
    text(r#"{"type":"ping","id":1}"#).repeat(100)
}

/// What is held to a share and a factor.
fn floods() -> Vec<(&'static str, Flood)> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let batch = text(&format!("[{}]", vec![r#"{"type":"publish","topic":"flood","data":1}"#; 1_000].join(",")));
    let message = format!(r#"{{"type":"publish","topic":"flood.h","data":"{}"}}"#, "x".repeat(800));
    let history = text(r#"{"type":"history","topic":"flood.h","limit":1000}"#).repeat(10);
    vec![
        websocket("five connections each: publishes", 5, publishes()),
        websocket("batches of a thousand", 1, batch),
        websocket("pings", 1, frame(PING, b"").repeat(100)),
        websocket("pongs", 1, frame(PONG, b"").repeat(100)),
        websocket("empty fragments", 1, [frame(0x01, b""), frame(0x00, b"").repeat(4_000), frame(0x80, b"1")].concat()),
        websocket("histories", 1, [text(&message), history].concat()),
        forged_tokens("forged tokens beside good ones", &format!("Authorization: Bearer {}\r\n", sign(&ana(3_600)))),
        forged_tokens("forged tokens by strangers", ""),
        million(),
        plain("connections that vanish at once", "", ""),
        plain("handshakes that vanish at once", &handshake(""), ""),
        plain("requests: /metrics", "", &get("/metrics")),
        plain("requests: /healthz", "", &get("/healthz")),
        plain("requests: /v1/topics", "", &get("/v1/topics")),
        plain("requests: bad handshakes", "", &get("/ws")),
        websocket("publishes", 1, publishes()),
        websocket("commands", 1, commands()),
    ]
}

/// Shows one bad token after the other by command, with these lines in the handshake.
fn forged_tokens(name: &'static str, lines: &str) -> (&'static str, Flood) {
    let round = bad_tokens().iter().flat_map(|(_, token)| text(&auth(token))).collect();
    let (name, flood) = websocket(name, 1, round);
    (name, Flood { doors: Doors::Guarded, opening: handshake(lines).into_bytes(), ..flood })
}

/// Publishes to a million topics in turn.
fn million() -> (&'static str, Flood) {
    let publish = |number: u32| text(&format!(r#"{{"type":"publish","topic":"m.{number:06}","data":1}}"#));
    let (name, flood) = websocket("a million topics", 1, (0..1_000_000).flat_map(publish).collect());
    (name, Flood { unit: flood.round.len() / 1_000_000, ..flood })
}
