//! Socket.IO 5 over a WebSocket of Engine.IO 4, for a server that does what the guide's first example does:
//!
//! - `subscribe` with a room's name joins it, and is acknowledged;
//! - `publish` with a room's name and data emits `message` with both to the room, and is acknowledged.

use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::bench::frame::Outbox;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Unheard, Wanted};

#[derive(Debug)]
pub(super) struct SocketIo;

const NAME: &str = "Socket.IO";

/// The acknowledgement of a subscribe. Publishes count from 1.
const SUBSCRIBE: u64 = 0;

impl Dialect for SocketIo {
    fn path(&self, written: &str) -> String {
        let (path, query) = written.split_once('?').unwrap_or((written, ""));
        let path = if path == "/" { "/socket.io/" } else { path };
        let and = if query.is_empty() { "" } else { "&" };
        format!("{path}?EIO=4&transport=websocket{and}{query}")
    }

    fn answers_publishes(&self) -> bool {
        true
    }

    fn pattern(&self, _: &str) -> Option<String> {
        None
    }

    fn greet(&self, client: &Client<'_>, out: &mut Outbox) {
        out.text(|out| {
            out.extend_from_slice(b"40");
            if let Some(token) = client.token {
                // Infallible: the writer is a Vec.
                let _ = write!(out, r#"{{"token":{}}}"#, serde_json::Value::from(token));
            }
        });
    }

    fn subscribe(&self, _: &Client<'_>, wanted: &[Wanted<'_>], _: &[u8], out: &mut Outbox) -> usize {
        for wanted in wanted {
            out.text(|out| {
                let _ = write!(out, r#"42{SUBSCRIBE}["subscribe","{}"]"#, wanted.topic);
            });
        }
        wanted.len()
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        out.text(|out| {
            let _ = write!(out, r#"42{}["publish","{}","#, publish.id, publish.topic);
            data(out);
            out.push(b']');
        });
    }

    fn pong(&self, out: &mut Outbox) {
        out.text(|out| out.push(b'3'));
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        let unheard = || Unheard::new(NAME, input);
        let heard = match input {
            [b'2', ..] => Heard::Ping,
            [b'4', b'2', event @ ..] => message(event).ok_or_else(unheard)?,
            [b'4', b'3', answer @ ..] => {
                let digits = answer.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match super::super::payload::number(&answer[..digits]).ok_or_else(unheard)? {
                    SUBSCRIBE => Heard::Subscribed(Box::default()),
                    _ => Heard::Published,
                }
            }
            [b'4', b'0', ..] => Heard::Ready(&[]),
            [b'4', b'4', error @ ..] => Heard::Refused(String::from_utf8_lossy(error).into_owned()),
            [b'4', b'1', ..] => Heard::Goodbye("disconnected by the server".to_owned()),
            // Open, pong, noop, upgrade.
            [b'0' | b'3' | b'5' | b'6', ..] => Heard::Other,
            _ => return Err(unheard()),
        };
        Ok(Some((heard, input.len())))
    }
}

/// `["message","ROOM",DATA]`
fn message(event: &[u8]) -> Option<Heard<'_>> {
    // What the server makes of two strings and JSON; another server may put spaces between them.
    if let Some(rest) = event.strip_prefix(br#"["message",""#) {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        if let Some(data) = rest[end..].strip_prefix(br#"","#) {
            return Some(Heard::Message { topic: Some(&rest[..end]), offset: None, data: data.strip_suffix(b"]")? });
        }
    }
    #[derive(Deserialize)]
    struct Event<'a>(&'a str, #[serde(borrow)] &'a str, #[serde(borrow)] &'a RawValue);
    match serde_json::from_slice(event) {
        Ok(Event("message", topic, data)) => {
            Some(Heard::Message { topic: Some(topic.as_bytes()), offset: None, data: data.get().as_bytes() })
        }
        Ok(_) => Some(Heard::Other),
        Err(_) => None,
    }
}
