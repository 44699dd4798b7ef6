//! What is compressed: events as applications publish them, in fanfare's envelope.
//!
//! Prices, chat, telemetry and order books, in turns, each with names, numbers and texts of its own, made
//! from a seed, so that each run compresses the same bytes and no two messages of a run are equal. A
//! larger message has more of the same in a list, as a batch or a snapshot has.

use serde_json::{Value, json};

/// How a message is encoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Encoding {
    Json,
    MessagePack,
}

impl Encoding {
    pub(crate) const ALL: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Json => "JSON",
            Encoding::MessagePack => "MessagePack",
        }
    }

    fn encode(self, value: &Value) -> Vec<u8> {
        match self {
            Encoding::Json => serde_json::to_vec(value).expect("a value has string keys"),
            Encoding::MessagePack => rmp_serde::to_vec_named(value).expect("a vector takes every byte"),
        }
    }
}

/// What an application is about: a message's topic, and its data, follow from it.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Prices,
    Chat,
    Telemetry,
    Book,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Prices, Kind::Chat, Kind::Telemetry, Kind::Book];
}

/// `count` messages of about `bytes`, of all kinds in turns, as subscribers receive them.
pub(crate) fn mixed(encoding: Encoding, bytes: usize, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(bytes as u64);
    (0..count).map(|nth| near(encoding, bytes, Kind::ALL[nth % Kind::ALL.len()], nth, true, &mut random)).collect()
}

/// `count` messages of about `bytes` and of one kind, as a client publishes them one after another.
pub(crate) fn published(encoding: Encoding, bytes: usize, count: usize, kind: Kind) -> Vec<Vec<u8>> {
    let mut random = Random(bytes as u64 ^ 0x5eed);
    (0..count).map(|nth| near(encoding, bytes, kind, nth, false, &mut random)).collect()
}

/// A message of `kind` with as many items as `bytes` has room for, and a note that fills the rest.
fn near(encoding: Encoding, bytes: usize, kind: Kind, nth: usize, received: bool, random: &mut Random) -> Vec<u8> {
    let topic = topic(kind, random);
    let envelope = |data: &Value| {
        encoding.encode(&if received {
            json!({"type": "message", "topic": topic, "offset": 118_402 + nth, "data": data})
        } else {
            json!({"type": "publish", "id": nth, "topic": topic, "data": data})
        })
    };
    let mut data = item(kind, random);
    let mut items = vec![data.clone()];
    loop {
        items.push(item(kind, random));
        let longer = json!({"at": 1_795_246_400_000_u64 + random.below(86_400_000), "items": items});
        if envelope(&longer).len() > bytes {
            break;
        }
        data = longer;
    }
    let mut note = String::new();
    let mut message = envelope(&data);
    while message.len() + 12 < bytes {
        note.push_str(random.of::<&str>(&WORDS));
        note.push(' ');
        data["note"] = note.trim_end().into();
        message = envelope(&data);
    }
    message
}

fn topic(kind: Kind, random: &mut Random) -> String {
    match kind {
        Kind::Prices => format!("prices.{}", random.of(&SYMBOLS)),
        Kind::Chat => format!("chat.{}", random.of(&ROOMS)),
        Kind::Telemetry => format!("plant.{}.line.{}", random.below(12), random.below(40)),
        Kind::Book => format!("book.{}", random.of(&SYMBOLS)),
    }
}

fn item(kind: Kind, random: &mut Random) -> Value {
    match kind {
        Kind::Prices => json!({
            "bid": random.decimal(60_000, 2), "ask": random.decimal(60_000, 2), "size": random.decimal(9, 4),
        }),
        Kind::Chat => {
            let words = 3 + random.below(9);
            let text: Vec<&str> = (0..words).map(|_| *random.of(&WORDS)).collect();
            json!({"from": random.of(&NAMES), "text": text.join(" ")})
        }
        Kind::Telemetry => json!({
            "sensor": format!("{:08x}", random.next() as u32),
            "celsius": random.decimal(90, 1),
            "ok": random.below(20) > 0,
        }),
        Kind::Book => json!({
            "side": random.of(&["buy", "sell"]),
            "price": format!("{:.2}", random.decimal(60_000, 2)),
            "id": random.below(1 << 40),
        }),
    }
}

/// splitmix64: small, and good enough to look like data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A number below `end` with as many digits behind the point.
    fn decimal(&mut self, end: u64, digits: i32) -> f64 {
        let scale = 10_f64.powi(digits);
        self.below(end * scale as u64) as f64 / scale
    }
}

const SYMBOLS: [&str; 12] = ["btc", "eth", "sol", "ada", "xrp", "doge", "dot", "ltc", "link", "uni", "atom", "avax"];
const ROOMS: [&str; 8] = ["lobby", "general", "random", "support.eu", "support.us", "release", "ops", "coffee"];
const NAMES: [&str; 12] =
    ["ana", "boris", "chidi", "dalia", "emre", "fatou", "goran", "hana", "ivan", "jun", "katya", "lena"];
const WORDS: [&str; 64] = [
    "the", "a", "to", "is", "was", "and", "of", "that", "it", "we", "you", "they", "not", "but", "with", "for", "on",
    "have", "this", "from", "what", "about", "which", "when", "make", "can", "like", "time", "just", "know", "take",
    "people", "into", "year", "good", "some", "could", "see", "other", "than", "then", "now", "look", "only", "come",
    "over", "think", "also", "back", "after", "use", "two", "how", "our", "work", "first", "well", "way", "even",
    "new", "want", "because", "any", "day",
];
