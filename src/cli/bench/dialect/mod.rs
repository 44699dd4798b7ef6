//! What a server is told and what it says, for each protocol that can be compared: a file each.
//!
//! A dialect turns what a client wants into frames, and what comes into [`Heard`]. It keeps nothing: what a
//! connection has to remember stands in its own state.

mod fanfare;
mod json;
mod mqtt;
mod nats;
mod nchan;
mod pack;
mod pusher;
mod raw;
mod socketio;

#[cfg(test)]
mod tests;

use std::fmt;

use clap::ValueEnum;
use thiserror::Error;

use crate::protocol::Encoding;

use super::frame::Outbox;

pub(super) use fanfare::Fanfare;

/// The protocols that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Spoken {
    /// fanfare.v1, JSON or MessagePack
    Fanfare,
    /// MQTT 3.1.1 over WebSocket, QoS 0
    Mqtt,
    /// NATS over WebSocket
    Nats,
    /// The Pusher protocol, version 7; --token is the app's secret
    Pusher,
    /// Socket.IO 5 over a WebSocket of Engine.IO 4
    Socketio,
    /// nchan: a WebSocket below /sub/ for each subscriber, POST requests below /pub/
    Nchan,
    /// Each frame is a message, and goes to everybody
    Raw,
}

impl Spoken {
    pub(super) fn name(self) -> &'static str {
        match self {
            Spoken::Fanfare => "fanfare",
            Spoken::Mqtt => "mqtt",
            Spoken::Nats => "nats",
            Spoken::Pusher => "pusher",
            Spoken::Socketio => "socketio",
            Spoken::Nchan => "nchan",
            Spoken::Raw => "raw",
        }
    }

    pub(super) fn dialect(self, setup: &Setup) -> Box<dyn Dialect> {
        match self {
            Spoken::Fanfare => Box::new(Fanfare { recover: setup.recover }),
            Spoken::Mqtt => Box::new(mqtt::Mqtt),
            Spoken::Nats => Box::new(nats::Nats),
            Spoken::Pusher => Box::new(pusher::Pusher { secret: setup.secret.clone(), key: setup.key.clone() }),
            Spoken::Socketio => Box::new(socketio::SocketIo),
            Spoken::Nchan => Box::new(nchan::Nchan::new(setup)),
            Spoken::Raw => Box::new(raw::Raw),
        }
    }
}

/// What dialects have to know of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Setup {
    /// Whether clients that return ask for what they missed.
    pub(super) recover: bool,
    /// The app's secret, which proves the right to publish, in Pusher.
    pub(super) secret: Option<String>,
    /// The app's key: the last segment of the path, in Pusher.
    pub(super) key: String,
    /// Where requests go, and what their paths begin with, without a slash at the end.
    pub(super) host: String,
    pub(super) base: String,
}

pub(super) trait Dialect: Send + Sync + fmt::Debug {
    /// What is asked for, given the path and query that the user wrote.
    fn path(&self, written: &str) -> String {
        written.to_owned()
    }

    /// What a subscriber of `topic` asks for, where each topic has a path of its own.
    fn path_of(&self, _topic: &str) -> Option<String> {
        None
    }

    /// Whether publishers speak HTTP, each on one connection, and have no WebSocket.
    fn publishes_by_http(&self) -> bool {
        false
    }

    /// The WebSocket subprotocol to ask for.
    fn subprotocol(&self, _encoding: Encoding) -> Option<&'static str> {
        None
    }

    /// Whether `Authorization: Bearer` carries the token.
    fn token_in_header(&self) -> bool {
        false
    }

    /// Whether the server may split what it says into frames as it likes.
    fn is_stream(&self) -> bool {
        false
    }

    /// Whether each publish is answered, so that the answers can bound what is on its way.
    fn answers_publishes(&self) -> bool {
        false
    }

    /// Whether who publishes to a topic has to follow it.
    fn publishers_subscribe(&self) -> bool {
        false
    }

    /// How topics are named that begin with `prefix`.
    fn topic(&self, prefix: &str, number: usize) -> String {
        format!("{prefix}.{number}")
    }

    /// What follows every topic with `prefix`, if the dialect can say it.
    fn pattern(&self, prefix: &str) -> Option<String>;

    /// What a client says as soon as the WebSocket stands.
    fn greet(&self, _client: &Client<'_>, _out: &mut Outbox) {}

    /// What a client says once it is [`Ready`](Heard::Ready), if it has to subscribe. Returns how many answers
    /// that will get.
    fn subscribe(&self, client: &Client<'_>, wanted: &[Wanted<'_>], ready: &[u8], out: &mut Outbox) -> usize;

    /// A publish; `id` is the client's count of them.
    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox);

    /// The answer to [`Heard::Ping`].
    fn pong(&self, _out: &mut Outbox) {}

    /// What the server says first in `input`, and how many bytes that takes; `None` while its end has not come,
    /// which only a stream may be told.
    fn hear<'a>(&self, encoding: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard>;

    /// Whether the server has anything to say before it is asked: if not, a client is ready at once.
    fn waits_for_greeting(&self) -> bool {
        true
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) encoding: Encoding,
    pub(super) token: Option<&'a str>,
    /// Different for each connection of a run.
    pub(super) name: &'a str,
}

/// A topic or pattern that a subscriber wants to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) topic: &'a str,
    /// The last message that it has of it, if it wants what came after.
    pub(super) since: Option<Since<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since<'a> {
    pub(super) epoch: &'a str,
    pub(super) offset: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Publish<'a> {
    pub(super) encoding: Encoding,
    pub(super) topic: &'a str,
    pub(super) id: u64,
}

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard<'a> {
    /// A message of a topic, where the dialect names it.
    Message { topic: Option<&'a [u8]>, offset: Option<u64>, data: &'a [u8] },
    /// The client is in, and may subscribe and publish. What it has to know for that.
    Ready(&'a [u8]),
    /// All that was said so far has been taken: a client that was greeting is ready, one that was subscribing
    /// follows what it asked for.
    Settled,
    /// One of the subscriptions stands.
    Subscribed(Box<Standing>),
    /// The oldest publish without an answer was taken,
    Published,
    /// or was not.
    Unpublished(String),
    /// Messages of a topic were left out.
    Gap { topic: String, from: u64, to: u64 },
    /// The server wants to know whether somebody is there.
    Ping,
    /// What was asked for, other than a publish, is refused.
    Refused(String),
    /// The server is about to close.
    Goodbye(String),
    /// What is of no interest here.
    Other,
}

/// A subscription that stands.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) topic: String,
    pub(super) epoch: Option<String>,
    pub(super) offset: Option<u64>,
    /// Whether what was missed follows, if it was asked for.
    pub(super) recovered: Option<bool>,
}

/// What is not of this protocol.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the server said what is not {0}: {1:?}")]
pub(super) struct Unheard(&'static str, String);

impl Unheard {
    fn new(protocol: &'static str, said: &[u8]) -> Unheard {
        const SHOWN: usize = 80;
        Unheard(protocol, String::from_utf8_lossy(&said[..said.len().min(SHOWN)]).into_owned())
    }
}

/// Where `what` begins in `text`.
fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
