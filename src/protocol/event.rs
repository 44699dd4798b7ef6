//! Events for clients, and how they are written.
//!
//! Replies are written for one receiver. A `message` is written once for everybody by
//! [`render_message`], so it holds nothing that depends on its receiver.

use std::fmt;

use super::write::Map;
use super::{CloseCode, Data, Encoding, ErrorCode, Id, TopicName};

/// One numbering of a topic: random, never used twice. In text it is base 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Reads the text that [`Epoch`] displays as; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Epoch> {
        let canonical = text == "0"
            || (!text.starts_with('0') && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z')));
        if !canonical {
            return None;
        }
        u64::from_str_radix(text, 36).ok().map(Epoch)
    }

    fn digits(self, buffer: &mut [u8; 13]) -> &str {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut value = self.0;
        let mut at = buffer.len();
        loop {
            at -= 1;
            buffer[at] = DIGITS[(value % 36) as usize];
            value /= 36;
            if value == 0 {
                break;
            }
        }
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 13]))
    }
}

/// A place in a topic's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which numbering.
    pub epoch: Epoch,
    /// The message there; 0 is before the first.
    pub offset: u64,
}

/// How a request to replay from a position ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Everything after it follows.
    Recovered,
    /// Nothing is replayed.
    Failed(RecoveryFailure),
}

/// Why nothing is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryFailure {
    /// Some of it is no longer held.
    Expired,
    /// The numbering began anew since.
    Epoch,
    /// The position has not been reached yet.
    Future,
}

impl RecoveryFailure {
    /// The reason as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RecoveryFailure::Expired => "expired",
            RecoveryFailure::Epoch => "epoch",
            RecoveryFailure::Future => "future",
        }
    }
}

/// Why messages were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The subscriber was too slow.
    Slow,
    /// Only the newest of each key were kept, by the topic's policy.
    Latest,
    /// Another node's messages did not arrive.
    Backplane,
}

impl GapReason {
    /// The reason as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            GapReason::Slow => "slow",
            GapReason::Latest => "latest",
            GapReason::Backplane => "backplane",
        }
    }
}

/// One member of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its connection.
    pub connection: &'a str,
    /// Who it is, proven.
    pub subject: Option<&'a str>,
    /// What it says of itself.
    pub member: Option<&'a Data>,
}

/// One message of a `history` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryMessage<'a> {
    /// Its number in the topic.
    pub offset: u64,
    /// When it was published, in the server's milliseconds.
    pub at: Option<u64>,
    /// Who published it, proven.
    pub from: Option<&'a str>,
    /// The payload.
    pub data: &'a Data,
}

/// What the server tells one client. An `id` is the one of the command that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The first on every connection.
    Welcome {
        /// The connection's public name.
        connection: &'a str,
        /// The secret that takes its place later.
        resume: &'a str,
        /// The longest silence of the server.
        heartbeat_ms: u64,
        /// The largest message it reads.
        max_message_bytes: u64,
    },
    /// One item of a `subscribe` was carried out.
    Subscribed {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// As it was sent.
        topic: &'a str,
        /// The position before what follows; `None` for a pattern.
        position: Option<Position>,
        /// Only with `since`.
        recovery: Option<Recovery>,
    },
    /// One item of an `unsubscribe` was carried out.
    Unsubscribed {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// As it was sent.
        topic: &'a str,
    },
    /// A `publish` was carried out.
    Published {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// As it was sent.
        topic: &'a str,
        /// Where the message stands.
        position: Position,
        /// How many it is for, if that was asked.
        receivers: Option<u64>,
    },
    /// Messages were left out.
    Gap {
        /// Of this topic.
        topic: &'a str,
        /// Of this numbering.
        epoch: Epoch,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// Why.
        reason: GapReason,
    },
    /// Who is in a topic.
    Presence {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// As it was sent.
        topic: &'a str,
        /// Rises by one with each change.
        version: u64,
        /// How many there are.
        count: u64,
        /// Who they are.
        members: &'a [Member<'a>],
    },
    /// Who came and went since the version before.
    PresenceDiff {
        /// In this topic.
        topic: &'a str,
        /// The version that this makes.
        version: u64,
        /// How many there are now, where they are too many to be listed.
        count: Option<u64>,
        /// Who came.
        joined: &'a [Member<'a>],
        /// Who went.
        left: &'a [Member<'a>],
    },
    /// Earlier messages.
    History {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// As it was sent.
        topic: &'a str,
        /// The head of the topic.
        position: Position,
        /// Oldest first.
        messages: &'a [HistoryMessage<'a>],
        /// Whether the limit cut some off.
        more: bool,
        /// Only with `since`.
        recovery: Option<Recovery>,
    },
    /// An earlier connection's place was taken.
    Resumed {
        /// Of the command.
        id: Option<&'a Id<'a>>,
    },
    /// Credentials were accepted.
    Authenticated {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// Who they prove.
        subject: Option<&'a str>,
        /// How long they count.
        expires_in_ms: Option<u64>,
    },
    /// Credentials will not count much longer.
    Expiring {
        /// How long they still do.
        expires_in_ms: u64,
    },
    /// A sign of life.
    Pong {
        /// Of the command.
        id: Option<&'a Id<'a>>,
    },
    /// A command, or one item of it, was refused.
    Error {
        /// Of the command.
        id: Option<&'a Id<'a>>,
        /// Its place in a batch, if it has no id.
        index: Option<u32>,
        /// As it was sent, if it is about a topic.
        topic: Option<&'a str>,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: &'a str,
        /// When to try again.
        retry_after_ms: Option<u64>,
    },
    /// The server is about to close the connection.
    Goodbye {
        /// With this code.
        code: CloseCode,
        /// Why, in a word.
        reason: &'a str,
        /// When to connect again.
        reconnect_ms: Option<u64>,
    },
}

impl Event<'_> {
    /// The version of the protocol that `welcome` announces.
    pub const PROTOCOL: u64 = 1;

    /// Its `type` on the wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Event::Welcome { .. } => "welcome",
            Event::Subscribed { .. } => "subscribed",
            Event::Unsubscribed { .. } => "unsubscribed",
            Event::Published { .. } => "published",
            Event::Gap { .. } => "gap",
            Event::Presence { .. } => "presence",
            Event::PresenceDiff { .. } => "presence_diff",
            Event::History { .. } => "history",
            Event::Resumed { .. } => "resumed",
            Event::Authenticated { .. } => "authenticated",
            Event::Expiring { .. } => "expiring",
            Event::Pong { .. } => "pong",
            Event::Error { .. } => "error",
            Event::Goodbye { .. } => "goodbye",
        }
    }

    /// Appends it as the payload of one WebSocket message.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        let mut map = Map::event(encoding, out, self.kind());
        match *self {
            Event::Welcome { connection, resume, heartbeat_ms, max_message_bytes } => {
                map.uint("protocol", Event::PROTOCOL);
                map.text("connection", connection);
                map.text("resume", resume);
                map.uint("heartbeat_ms", heartbeat_ms);
                map.uint("max_message_bytes", max_message_bytes);
            }
            Event::Subscribed { id, topic, position, recovery: outcome } => {
                about(&mut map, id, topic);
                if let Some(position) = position {
                    self::position(&mut map, position);
                }
                recovery(&mut map, outcome);
            }
            Event::Unsubscribed { id, topic } => about(&mut map, id, topic),
            Event::Published { id, topic, position, receivers } => {
                about(&mut map, id, topic);
                self::position(&mut map, position);
                if let Some(receivers) = receivers {
                    map.uint("receivers", receivers);
                }
            }
            Event::Gap { topic, epoch: number, from, to, reason } => {
                map.text("topic", topic);
                epoch(&mut map, number);
                map.uint("from", from);
                map.uint("to", to);
                map.text("reason", reason.as_str());
            }
            Event::Presence { id, topic, version, count, members } => {
                about(&mut map, id, topic);
                map.uint("version", version);
                map.uint("count", count);
                map.maps("members", members, member);
            }
            Event::PresenceDiff { topic, version, count, joined, left } => {
                map.text("topic", topic);
                map.uint("version", version);
                if let Some(count) = count {
                    map.uint("count", count);
                }
                map.maps("joined", joined, member);
                map.maps("left", left, member);
            }
            Event::History { id, topic, position, messages, more, recovery: outcome } => {
                about(&mut map, id, topic);
                self::position(&mut map, position);
                recovery(&mut map, outcome);
                map.maps("messages", messages, |map, message| {
                    map.uint("offset", message.offset);
                    origin(map, message.at, message.from);
                    map.data("data", message.data);
                });
                if more {
                    map.flag("more", true);
                }
            }
            Event::Resumed { id: echo } | Event::Pong { id: echo } => id(&mut map, echo),
            Event::Authenticated { id: echo, subject, expires_in_ms } => {
                id(&mut map, echo);
                if let Some(subject) = subject {
                    map.text("subject", subject);
                }
                if let Some(expires_in_ms) = expires_in_ms {
                    map.uint("expires_in_ms", expires_in_ms);
                }
            }
            Event::Expiring { expires_in_ms } => map.uint("expires_in_ms", expires_in_ms),
            Event::Error { id: echo, index, topic, code, message, retry_after_ms } => {
                id(&mut map, echo);
                if let Some(index) = index {
                    map.uint("index", u64::from(index));
                }
                if let Some(topic) = topic {
                    map.text("topic", topic);
                }
                map.text("code", code.as_str());
                map.text("message", message);
                if let Some(retry_after_ms) = retry_after_ms {
                    map.uint("retry_after_ms", retry_after_ms);
                }
            }
            Event::Goodbye { code, reason, reconnect_ms } => {
                map.uint("code", u64::from(code.0));
                map.text("reason", reason);
                if let Some(reconnect_ms) = reconnect_ms {
                    map.uint("reconnect_ms", reconnect_ms);
                }
            }
        }
        map.end();
    }
}

/// Appends the payload of a `message` event, the same bytes for everybody who follows the topic.
///
/// `epoch` is given for offset 1 only, where a numbering begins.
#[expect(clippy::too_many_arguments, reason = "the fields of the event, once each, on the hot path")]
pub fn render_message(
    encoding: Encoding,
    topic: &TopicName,
    offset: u64,
    epoch: Option<Epoch>,
    at: Option<u64>,
    from: Option<&str>,
    data: &Data,
    out: &mut Vec<u8>,
) {
    // Its words and an offset of up to 17 digits take 64 bytes. No slack for transcoding: what is
    // made here is often kept for long.
    let options = epoch.map_or(0, |_| 24) + at.map_or(0, |_| 26) + from.map_or(0, |from| 9 + from.len());
    out.reserve(64 + topic.len() + options + data.bytes().len());
    let mut map = Map::event(encoding, out, "message");
    map.text("topic", topic);
    map.uint("offset", offset);
    if let Some(number) = epoch {
        self::epoch(&mut map, number);
    }
    origin(&mut map, at, from);
    map.data("data", data);
    map.end();
}

fn id(map: &mut Map<'_>, id: Option<&Id<'_>>) {
    match id {
        Some(Id::Int(value)) => map.uint("id", *value),
        Some(Id::Str(text)) => map.text("id", text),
        None => {}
    }
}

fn about(map: &mut Map<'_>, echo: Option<&Id<'_>>, topic: &str) {
    id(map, echo);
    map.text("topic", topic);
}

fn epoch(map: &mut Map<'_>, epoch: Epoch) {
    map.text("epoch", epoch.digits(&mut [0; 13]));
}

fn position(map: &mut Map<'_>, position: Position) {
    epoch(map, position.epoch);
    map.uint("offset", position.offset);
}

fn recovery(map: &mut Map<'_>, recovery: Option<Recovery>) {
    match recovery {
        Some(Recovery::Recovered) => map.flag("recovered", true),
        Some(Recovery::Failed(reason)) => {
            map.flag("recovered", false);
            map.text("reason", reason.as_str());
        }
        None => {}
    }
}

fn origin(map: &mut Map<'_>, at: Option<u64>, from: Option<&str>) {
    if let Some(at) = at {
        map.uint("at", at);
    }
    if let Some(from) = from {
        map.text("from", from);
    }
}

fn member(map: &mut Map<'_>, member: &Member<'_>) {
    map.text("connection", member.connection);
    if let Some(subject) = member.subject {
        map.text("subject", subject);
    }
    if let Some(data) = member.member {
        map.data("member", data);
    }
}
