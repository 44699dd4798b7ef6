//! nchan, the module for nginx: a topic is a path, which subscribers open a WebSocket at and publishers post to.
//!
//! Paths are those of the configuration in `benches/peers/nginx.conf`. A subscriber hears nothing but messages;
//! a publisher hears nothing but responses, in the order of its requests, which do not wait for each other.

use std::io::Write;

use crate::cli::bench::frame::Outbox;
use crate::cli::bench::payload::number;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Setup, Unheard, Wanted, find};

#[derive(Debug)]
pub(super) struct Nchan {
    host: String,
    base: String,
}

const NAME: &str = "nchan";

/// What a response begins with, and no message of a run does.
const RESPONSE: &[u8] = b"HTTP/1.1 ";

/// The longest head and the longest body of a response that are waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Nchan {
    pub(super) fn new(setup: &Setup) -> Nchan {
        Nchan { host: setup.host.clone(), base: setup.base.clone() }
    }
}

impl Dialect for Nchan {
    fn path_of(&self, topic: &str) -> Option<String> {
        Some(format!("{}/sub/{topic}", self.base))
    }

    fn publishes_by_http(&self) -> bool {
        true
    }

    fn answers_publishes(&self) -> bool {
        true
    }

    /// Of publishers' connections, which hold responses; a subscriber's messages come whole.
    fn is_stream(&self) -> bool {
        true
    }

    fn pattern(&self, _: &str) -> Option<String> {
        None
    }

    fn subscribe(&self, _: &Client<'_>, _: &[Wanted<'_>], _: &[u8], _: &mut Outbox) -> usize {
        // The path has said it.
        0
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        let mut body = Vec::new();
        data(&mut body);
        // Infallible: the writer is a Vec.
        let _ = write!(
            out.bytes,
            "POST {}/pub/{} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.base,
            publish.topic,
            self.host,
            body.len()
        );
        out.bytes.extend_from_slice(&body);
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        if !input.starts_with(&RESPONSE[..RESPONSE.len().min(input.len())]) {
            return Ok(Some((Heard::Message { topic: None, offset: None, data: input }, input.len())));
        }
        let unheard = || Unheard::new(NAME, input);
        let Some(end) = find(&input[..input.len().min(HEAD_BYTES_MAX)], b"\r\n\r\n") else {
            return if input.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(unheard()) };
        };
        let mut lines = input[RESPONSE.len()..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let status = lines.next().ok_or_else(unheard)?;
        let length = lines.find_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            line[..at].eq_ignore_ascii_case(b"content-length").then(|| number(line[at + 1..].trim_ascii()))?
        });
        let length = length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= BODY_BYTES_MAX);
        let used = end + 4 + length.ok_or_else(unheard)?;
        if input.len() < used {
            return Ok(None);
        }
        // 201: somebody follows the topic, 202: nobody does.
        let heard = match status {
            _ if status.starts_with(b"201") || status.starts_with(b"202") => Heard::Published,
            _ => Heard::Unpublished(String::from_utf8_lossy(status).into_owned()),
        };
        Ok(Some((heard, used)))
    }

    fn waits_for_greeting(&self) -> bool {
        false
    }
}
