//! The attacks, and what is answered to each.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use miniz_oxide::deflate::compress_to_vec;

use crate::PATIENCE;
use crate::frames::{frame, head};
use crate::peer::{Answer, PING, Peer, TEXT, handshake};
use crate::tokens::{ana, bad_tokens, sign};

/// Which server is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// One that asks nobody who they are.
    Open,
    /// One that wants credentials.
    Guarded,
}

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) doors: Doors,
    /// What the attacker is told. Honest clients beside it see every message, in order, whatever the attack.
    pub(crate) answer: &'static str,
    pub(crate) strike: fn(Target) -> Answer,
    /// Whether a strike is mostly waiting, so that many go on at a time.
    pub(crate) is_slow: bool,
}

/// Who is attacked, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) server: SocketAddr,
    pub(crate) from: Ipv4Addr,
}

const fn open(name: &'static str, answer: &'static str, strike: fn(Target) -> Answer) -> Attack {
    Attack { name, doors: Doors::Open, answer, strike, is_slow: false }
}

const fn guarded(name: &'static str, answer: &'static str, strike: fn(Target) -> Answer) -> Attack {
    Attack { name, doors: Doors::Guarded, answer, strike, is_slow: false }
}

const fn slow(name: &'static str, answer: &'static str, strike: fn(Target) -> Answer) -> Attack {
    Attack { name, doors: Doors::Open, answer, strike, is_slow: true }
}

pub(crate) const ATTACKS: &[Attack] = &[
    // Whose address it is.
    open("a forged address in each handshake", "429", |target| knock_until(target, &Answer::Status(429), 1, forged)),
    open("the PROXY protocol where nobody asked for it", "400", |target| {
        target.ask(&format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{}", handshake("")))
    }),
    open("a name that points here", "403", |target| target.ask(&handshake("").replace("localhost", "evil.example"))),
    open("a foreign web page", "403", |target| target.ask(&handshake("Origin: https://evil.example\r\n"))),
    // Credentials.
    guarded("each bad token, in a header", "401", |target| {
        target.each_token(|token| target.ask(&handshake(&format!("Authorization: Bearer {token}\r\n"))))
    }),
    guarded("each bad token, as web pages show it", "close 4401", |target| {
        let item = |token: &str| format!("Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.token.{token}\r\n");
        target.each_token(|token| target.upgraded(&item(token)).map_or_else(|answer| answer, |mut peer| peer.end()))
    }),
    guarded("each bad token, by command", "close 4401", |target| {
        target.each_token(|token| target.upgraded_peer().ask_to_the_end(&auth(token)))
    }),
    guarded("bad tokens without end, in requests", "429", |target| {
        let tokens = bad_tokens();
        let mut peer = target.connected();
        let mut answers = (0..1_000).map(|number: usize| {
            let (_, token) = &tokens[number % tokens.len()];
            peer.ask(&format!("GET /v1/topics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"))
        });
        answers.find(|answer| *answer != Answer::Status(401)).unwrap_or(Answer::Status(401))
    }),
    guarded("a bad token beside a good one", "error unauthorized", |target| {
        let mut ana = target.ana();
        same(bad_tokens().iter().take(3).map(|(_, token)| ana.tell(&auth(token))))
    }),
    guarded("a token of 20,000 bytes", "431", |target| {
        target.ask(&handshake(&format!("Authorization: Bearer {}\r\n", "a".repeat(20_000))))
    }),
    guarded("a token of 65,000 bytes, by command", "close 4401", |target| {
        target.upgraded_peer().ask_to_the_end(&auth(&"a".repeat(65_000)))
    }),
    guarded("a key of another tenant", "401", |target| target.ask(&handshake("X-API-Key: the-key-of-another\r\n"))),
    guarded("topics of another tenant", "error forbidden", |target| {
        let mut ana = target.ana();
        let commands = [
            r#"{"type":"subscribe","topic":"room.bob"}"#,
            r#"{"type":"subscribe","topic":"room.*"}"#,
            r#"{"type":"subscribe","topic":"$stats"}"#,
            r#"{"type":"publish","topic":"news.today","data":1}"#,
            r#"{"type":"history","topic":"news.today"}"#,
            r#"{"type":"presence","topic":"news.today"}"#,
        ];
        same(commands.into_iter().map(|command| ana.tell(command)))
    }),
    // Too much at once.
    open("a message that is a byte too long", "close 1009", |target| {
        target.upgraded_peer().tell(&format!(r#"{{"type":"ping","x":"{}"}}"#, "a".repeat(65_536 - 21)))
    }),
    open("a frame that announces 2^62 bytes", "close 1009", |target| {
        target.upgraded_peer().show(&head(TEXT, 0x80, 1 << 62))
    }),
    open("a message in ten thousand fragments", "close 1009", |target| {
        let fragments = [frame(0x01, b"\""), frame(0x00, b"").repeat(10_000)].concat();
        target.upgraded_peer().show(&fragments)
    }),
    open("a megabyte in a kilobyte", "close 1009", |target| {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n";
        let bomb = compress_to_vec(&[b' '; 1 << 20], 9);
        target.upgraded(offer).map_or_else(|answer| answer, |mut peer| peer.show(&frame(TEXT | 0x40, &bomb)))
    }),
    open("a ping of 126 bytes", "close 1002", |target| target.upgraded_peer().show(&frame(PING, &[b'a'; 126]))),
    open("a batch of 1,001 commands", "error too_large", |target| {
        target.upgraded_peer().tell(&format!("[{}]", vec![r#"{"type":"ping"}"#; 1_001].join(",")))
    }),
    open("a topic of 256 bytes", "error bad_topic", |target| {
        target.upgraded_peer().tell(&format!(r#"{{"type":"subscribe","topic":"{}"}}"#, "a".repeat(256)))
    }),
    open("an id of 65 bytes", "error bad_request", |target| {
        target.upgraded_peer().tell(&format!(r#"{{"type":"ping","id":"{}"}}"#, "a".repeat(65)))
    }),
    open("a key and a member that are too long", "error too_large", |target| {
        let mut peer = target.upgraded_peer();
        let (key, member) = ("a".repeat(257), "a".repeat(1_025));
        let commands = [
            format!(r#"{{"type":"publish","topic":"a","data":1,"key":"{key}"}}"#),
            format!(r#"{{"type":"subscribe","topic":"a","presence":true,"member":"{member}"}}"#),
        ];
        same(commands.iter().map(|command| peer.tell(command)))
    }),
    open("a body of a megabyte and a byte", "413", |target| {
        let body = "a".repeat((1 << 20) + 1);
        let length = body.len();
        target.ask(&format!("POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"))
    }),
    open("a thousand headers", "431", |target| target.ask(&handshake(&"X-A: b\r\n".repeat(1_000)))),
    open("a header without end", "431", |target| target.ask(&handshake(&format!("X-A: {}\r\n", "b".repeat(1 << 20))))),
    open("a path of 20,000 bytes", "431", |target| {
        target.ask(&handshake("").replace("/ws", &format!("/ws?{}", "a".repeat(20_000))))
    }),
    // Too much in a row.
    open("commands without end", "close 4429", |target| target.flood(TEXT, |_| r#"{"type":"ping"}"#.into())),
    guarded("bad tokens without end", "close 4429", |target| {
        let tokens = bad_tokens();
        target.ana().flood(TEXT, |number| auth(&tokens[number as usize % tokens.len()].1))
    }),
    open("pings without end", "close 4429", |target| target.flood(PING, |_| String::new())),
    open("publishes without end", "close 4429", |target| {
        target.flood(TEXT, |_| r#"{"type":"publish","topic":"a","data":1}"#.into())
    }),
    open("a topic with each publish", "close 4429", |target| {
        let from = target.from;
        target.flood(TEXT, |number| format!(r#"{{"type":"publish","topic":"t.{from}.{number}","data":1}}"#))
    }),
    open("subscriptions without end", "error too_many_subscriptions", |target| {
        target.subscribe_all(|number| format!("s.{number}"))
    }),
    open("patterns without end", "error too_many_subscriptions", |target| {
        target.subscribe_all(|number| format!("*.p{number}.>"))
    }),
    open("malformed commands without end", "close 4400", |target| target.flood(TEXT, |_| "{".into())),
    open("requests without end on one connection", "429", |target| {
        let mut peer = target.connected();
        let mut answers = (0..100_000).map(|_| peer.ask("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        answers.find(|answer| *answer != Answer::Status(404)).expect("there is an end")
    }),
    open("connections that vanish", "hung up", |target| knock_until(target, &Answer::HungUp, 16, |_| String::new())),
    open("handshakes that vanish", "hung up", |target| knock_until(target, &Answer::HungUp, 16, |_| handshake(""))),
    // Too slowly.
    slow("a connection that says nothing", "hung up", |target| target.connected().http_answer()),
    slow("a head, byte by byte", "hung up", |target| {
        let mut peer = target.connected();
        peer.trickle(handshake(&"X-A: b\r\n".repeat(100)).as_bytes(), TRICKLE);
        peer.http_answer()
    }),
    slow("a body, byte by byte", "408", |target| {
        let head = b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
        let mut peer = target.connected();
        peer.write(head);
        peer.trickle(&[b' '; 1_000], TRICKLE);
        peer.http_answer()
    }),
    slow("a frame, byte by byte", "close 4408", |target| {
        let mut peer = target.upgraded_peer();
        peer.trickle(&frame(TEXT, &[b' '; 1_000]), TRICKLE);
        peer.end()
    }),
    slow("a subscriber that never reads", "hung up", |target| {
        let mut peer = target.upgraded_peer();
        let ping = r#"{"type":"ping","id":"0123456789012345678901234567890123456789"}"#;
        for _ in 0..2 {
            peer.send(&format!("[{}]", vec![ping; 900].join(",")));
        }
        peer.never_read(&frame(TEXT, &[b' '; 1_000]), TRICKLE)
    }),
    slow("a client of HTTP that never reads", "hung up", |target| {
        let mut peer = target.connected();
        peer.write("GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_500).as_bytes());
        peer.never_read(&[b'\n'; 1_000], TRICKLE)
    }),
];

/// The command that shows a token.
pub(crate) fn auth(token: &str) -> String {
    format!(r#"{{"type":"auth","id":1,"token":"{token}"}}"#)
}

/// How fast somebody is who is slow on purpose.
const TRICKLE: Duration = Duration::from_millis(100);

/// A handshake that claims to come from another address each time.
fn forged(number: u32) -> String {
    let address = Ipv4Addr::from_bits(0x0A00_0000 + number);
    handshake(&format!("Forwarded: for={address}\r\nX-Forwarded-For: {address}, 127.0.0.1\r\nX-Real-IP: {address}\r\n"))
}

/// Connects again and again, says something and is gone; waits for an answer every so many times, until it is this
/// one.
fn knock_until(target: Target, expected: &Answer, asks_every: u32, words: fn(u32) -> String) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    loop {
        let mut peer = target.connected();
        peer.write(words(number).as_bytes());
        if number % asks_every == 0 {
            if words(number).is_empty() {
                peer.write(handshake("").as_bytes());
            }
            let answer = peer.http_answer();
            if answer == *expected || Instant::now() > deadline {
                return answer;
            }
        }
        peer.vanish();
        number += 1;
    }
}

/// The answer that all of them are, or the first that is another.
fn same(answers: impl Iterator<Item = Answer>) -> Answer {
    let mut answers = answers.peekable();
    let first = answers.peek().cloned().expect("an answer");
    answers.find(|answer| *answer != first).unwrap_or(first)
}

impl Target {
    fn connected(self) -> Peer {
        Peer::from(self.from, self.server).expect("the server listens")
    }

    fn ask(self, request: &str) -> Answer {
        self.connected().ask(request)
    }

    /// A connection whose handshake has these lines besides; the answer, if it does not succeed.
    fn upgraded(self, lines: &str) -> Result<Peer, Answer> {
        let mut peer = self.connected();
        match peer.ask(&handshake(lines)) {
            Answer::Status(101) => Ok(peer),
            answer => Err(answer),
        }
    }

    /// One that succeeds, or ends at once.
    fn upgraded_peer(self) -> Peer {
        self.upgraded("").unwrap_or_else(|_| self.connected())
    }

    /// Somebody with a token that counts.
    fn ana(self) -> Peer {
        let token = sign(&ana(600));
        self.upgraded(&format!("Authorization: Bearer {token}\r\n")).unwrap_or_else(|_| self.connected())
    }

    fn each_token(self, show: impl Fn(&str) -> Answer) -> Answer {
        same(bad_tokens().iter().map(|(_, token)| show(token)))
    }

    fn flood(self, first: u8, payload: impl Fn(u32) -> String) -> Answer {
        self.upgraded_peer().flood(first, payload)
    }

    fn subscribe_all(self, name: impl Fn(usize) -> String) -> Answer {
        let mut peer = self.upgraded_peer();
        let list = |from: usize| (from..from + 501).map(|number| format!("{:?}", name(number))).collect::<Vec<_>>();
        for from in [0, 501] {
            peer.send(&format!(r#"{{"type":"subscribe","topics":[{}]}}"#, list(from).join(",")));
        }
        peer.answer()
    }
}
