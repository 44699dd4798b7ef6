//! One of many: connects, does this and that, checks all that it hears, vanishes, and comes again.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout_at};

use crate::frames::{frame, whole_frame};
use crate::ledger::{Datum, Ledger};
use crate::random::Random;

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const BUSY_TOPICS: u64 = 50;
const RARE_TOPICS: u64 = 500;

/// Those who doze follow one of these, and publish more than the sockets hold before they read.
const FLOOD_TOPICS: u64 = 2;
const FLOOD_MESSAGES: usize = 300;
const FLOOD_BYTES: usize = 16 * 1024;

pub(crate) struct Guest {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    random: Random,
}

impl Guest {
    pub(crate) fn new(address: SocketAddr, ledger: Arc<Ledger>, random: Random) -> Guest {
        Guest { address, ledger, random }
    }

    pub(crate) async fn visit_until(mut self, end: Instant) {
        // Not all at once.
        sleep(Duration::from_millis(self.random.below(500))).await;
        while Instant::now() < end {
            if self.random.one_in(100) {
                self.doze().await;
                continue;
            }
            let mut visit = Visit::begin(&self).await;
            let by_pattern = self.random.one_in(5);
            let deaf = self.random.one_in(20);
            for _ in 0..1 + self.random.below(15) {
                let command = self.command(&mut visit, by_pattern);
                if !visit.write(&text(&command.to_string())).await {
                    break;
                }
                let pause = Duration::from_millis(20 + self.random.below(300));
                if deaf {
                    sleep(pause).await;
                } else {
                    visit.read_until(Instant::now() + pause).await;
                }
            }
            self.leave(visit).await;
        }
    }

    /// Follows, publishes much without reading, and reads what is left of it: there must be gaps.
    async fn doze(&mut self) {
        let topic = format!("flood.{}", self.random.below(FLOOD_TOPICS));
        let mut visit = Visit::begin(self).await;
        visit.write(&text(&json!({"type": "subscribe", "topic": topic}).to_string())).await;
        for _ in 0..FLOOD_MESSAGES {
            let datum = Datum { filler: "x".repeat(FLOOD_BYTES), ..self.ledger.datum(&topic) };
            visit.write(&text(&json!({"type": "publish", "topic": topic, "data": datum}).to_string())).await;
        }
        visit.read_until(Instant::now() + Duration::from_millis(500 + self.random.below(2000))).await;
        self.leave(visit).await;
    }

    /// What to say next.
    fn command(&mut self, visit: &mut Visit, by_pattern: bool) -> Value {
        let topic = match self.random.below(4) {
            0 => format!("rare.{}", self.random.below(RARE_TOPICS)),
            _ => format!("busy.{}", self.random.below(BUSY_TOPICS)),
        };
        match self.random.below(8) {
            0 => {
                let datum = self.ledger.datum(&topic);
                let command = json!({"type": "publish", "id": datum.number, "topic": topic, "data": datum});
                visit.sent.insert(datum.number, datum);
                command
            }
            1 => {
                let followed = visit.wanted.iter().min().cloned();
                let Some(filter) = followed else { return json!({"type": "ping"}) };
                visit.wanted.remove(&filter);
                json!({"type": "unsubscribe", "id": "out", "topic": filter})
            }
            2 => json!({"type": "ping"}),
            _ if by_pattern => {
                // One at a time, so that its end is the end of all its topics.
                if !visit.wanted.is_empty() {
                    return json!({"type": "ping"});
                }
                let pattern = ["busy.*", "rare.>"][self.random.below(2) as usize];
                visit.wanted.insert(pattern.to_owned());
                json!({"type": "subscribe", "topic": pattern})
            }
            _ => {
                visit.wanted.insert(topic.clone());
                json!({"type": "subscribe", "topic": topic})
            }
        }
    }

    async fn leave(&mut self, mut visit: Visit) {
        match self.random.below(4) {
            // In order.
            0 => {
                visit.write(&frame(0x88, &1000_u16.to_be_bytes())).await;
                visit.read_until(Instant::now() + Duration::from_millis(200)).await;
            }
            // Within a frame, and within its head.
            1 => drop(visit.write(&frame(0x81, b"{\"type\":\"ping\"}")[..9]).await),
            2 => drop(visit.write(&[0x81]).await),
            // Without a word.
            _ => {}
        }
    }
}

/// One connection of a guest.
struct Visit {
    ledger: Arc<Ledger>,
    stream: TcpStream,
    /// Bytes that have come and are not a whole frame yet.
    unread: Vec<u8>,
    /// What it has asked to follow, answered or not.
    wanted: HashSet<String>,
    /// The pattern that it follows, from the answer to one command to the answer to the other.
    pattern: Option<String>,
    /// Where it stands in each topic, and the topic's epoch where it is known.
    positions: HashMap<String, (u64, Option<String>)>,
    sent: HashMap<u64, Datum>,
}

impl Visit {
    async fn begin(guest: &Guest) -> Visit {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Little, so that the service soon notices who does not read.
        socket.set_recv_buffer_size(16 * 1024).expect("a socket takes a size");
        let mut stream = socket.connect(guest.address).await.expect("the service accepts");
        stream.write_all(HANDSHAKE.as_bytes()).await.expect("the service takes a handshake");
        let mut unread = Vec::new();
        let end = loop {
            let read = stream.read_buf(&mut unread).await.expect("an answer");
            assert!(read > 0, "the service hangs up during the handshake");
            if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        assert!(unread.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&unread));
        unread.drain(..end);
        guest.ledger.visit();
        Visit {
            ledger: Arc::clone(&guest.ledger),
            stream,
            unread,
            wanted: HashSet::new(),
            pattern: None,
            positions: HashMap::new(),
            sent: HashMap::new(),
        }
    }

    /// Whether the service still takes bytes.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    async fn read_until(&mut self, end: Instant) {
        // A read that is given up has taken nothing.
        while let Ok(Ok(1..)) = timeout_at(end.into(), self.stream.read_buf(&mut self.unread)).await {
            let mut at = 0;
            while let Some((first, payload)) = whole_frame(&self.unread[at..]) {
                let payload = at + payload.start..at + payload.end;
                at = payload.end;
                match first {
                    0x81 => {
                        let event = serde_json::from_slice(&self.unread[payload]).expect("the service writes JSON");
                        self.hear(&event);
                    }
                    0x88 => {}
                    other => panic!("a frame that begins with {other:#x}"),
                }
            }
            self.unread.drain(..at);
        }
    }

    fn hear(&mut self, event: &Value) {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("no {key} in {event}"));
        let topic = text("topic");
        match text("type") {
            "subscribed" => {
                if let Some(epoch) = event["epoch"].as_str() {
                    let fresh = || (number("offset"), Some(epoch.to_owned()));
                    let (_, known) = self.positions.entry(topic.to_owned()).or_insert_with(fresh);
                    assert_eq!(known.as_deref(), Some(epoch), "{event}");
                } else {
                    self.pattern = Some(topic.to_owned());
                }
            }
            "unsubscribed" => {
                if topic.ends_with(['*', '>']) {
                    assert_eq!(self.pattern.take().as_deref(), Some(topic), "{event}");
                    self.positions.clear();
                } else {
                    assert!(self.positions.remove(topic).is_some(), "{event}");
                }
            }
            "message" => {
                let (offset, epoch) = self.step(event, topic, number("offset"));
                let datum: Datum = serde_json::from_value(event["data"].clone()).expect("data of this test");
                assert_eq!(datum.topic, topic);
                if let Some(epoch) = epoch {
                    self.ledger.place(topic, &epoch, offset, &datum);
                }
                self.ledger.see();
            }
            "gap" => {
                self.step(event, topic, number("from"));
                let (at, epoch) = self.positions.get_mut(topic).expect("a step has been made");
                assert!(number("to") >= number("from"), "{event}");
                assert!(epoch.as_deref().is_none_or(|epoch| epoch == text("epoch")), "{event}");
                *at = number("to");
                self.ledger.gap();
            }
            "published" => {
                let datum = self.sent.remove(&number("id")).unwrap_or_else(|| panic!("answered twice: {event}"));
                self.ledger.place(topic, text("epoch"), number("offset"), &datum);
            }
            "error" => assert_eq!(text("code"), "overloaded", "{event}"),
            "welcome" | "pong" => {}
            other => panic!("{other}: {event}"),
        }
    }

    /// The next offset of a topic must be this one, unless a pattern's topic has just come up: the first
    /// time, or because it had gone and begins anew.
    fn step(&mut self, event: &Value, topic: &str, offset: u64) -> (u64, Option<String>) {
        let epoch = event["epoch"].as_str();
        let is_new = match self.positions.get(topic) {
            None => true,
            Some((_, known)) => offset == 1 && self.pattern.is_some() && epoch.is_some() && known.as_deref() != epoch,
        };
        if is_new {
            let matches = |pattern: &String| pattern[..4] == topic[..4];
            assert!(self.pattern.as_ref().is_some_and(matches), "nobody asked for it, now: {event}");
            self.positions.insert(topic.to_owned(), (offset - 1, epoch.map(str::to_owned)));
        }
        let (at, epoch) = self.positions.get_mut(topic).expect("it has just been looked up");
        *at += 1;
        assert_eq!(offset, *at, "out of its turn: {event}");
        (offset, epoch.clone())
    }
}

fn text(command: &str) -> Vec<u8> {
    frame(0x81, command.as_bytes())
}
