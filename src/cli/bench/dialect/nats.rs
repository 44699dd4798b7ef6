//! The NATS client protocol over WebSocket: lines and payloads, which may begin and end anywhere in a frame.

use std::io::Write;

use crate::cli::bench::frame::Outbox;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Unheard, Wanted, find};

#[derive(Debug)]
pub(super) struct Nats;

const NAME: &str = "NATS";

/// The longest line that is waited for: `INFO` of a cluster names every node.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl Dialect for Nats {
    fn is_stream(&self) -> bool {
        true
    }

    fn pattern(&self, prefix: &str) -> Option<String> {
        Some(format!("{prefix}.*"))
    }

    fn subscribe(&self, _: &Client<'_>, wanted: &[Wanted<'_>], _: &[u8], out: &mut Outbox) -> usize {
        out.binary(|out| {
            for (nth, wanted) in wanted.iter().enumerate() {
                // Infallible: the writer is a Vec.
                let _ = write!(out, "SUB {} {}\r\n", wanted.topic, nth + 1);
            }
            // Subscriptions are not answered, but a ping behind them is.
            out.extend_from_slice(b"PING\r\n");
        });
        1
    }

    fn greet(&self, client: &Client<'_>, out: &mut Outbox) {
        // Either a token, or a name and a password.
        let credentials = client.token.map_or(String::new(), |token| {
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            match token.split_once(':') {
                Some((user, password)) => format!(r#","user":{},"pass":{}"#, quoted(user), quoted(password)),
                None => format!(r#","auth_token":{}"#, quoted(token)),
            }
        });
        out.binary(|out| {
            // A ping behind it is answered once it has been taken.
            let _ = write!(
                out,
                "CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":0,\"name\":\"{}\",\"lang\":\"rust\",\
                 \"version\":\"1\"{credentials}}}\r\nPING\r\n",
                client.name
            );
        });
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        let mut payload = Vec::new();
        data(&mut payload);
        out.binary(|out| {
            let _ = write!(out, "PUB {} {}\r\n", publish.topic, payload.len());
            out.extend_from_slice(&payload);
            out.extend_from_slice(b"\r\n");
        });
    }

    fn pong(&self, out: &mut Outbox) {
        out.binary(|out| out.extend_from_slice(b"PONG\r\n"));
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        let unheard = || Unheard::new(NAME, input);
        let Some(end) = find(&input[..input.len().min(LINE_BYTES_MAX)], b"\r\n") else {
            return if input.len() < LINE_BYTES_MAX { Ok(None) } else { Err(unheard()) };
        };
        let (line, used) = (&input[..end], end + 2);
        if let Some(rest) = line.strip_prefix(b"MSG ") {
            // MSG SUBJECT SID [REPLY-TO] BYTES
            let mut words = rest.split(|byte| *byte == b' ');
            let topic = words.next().ok_or_else(unheard)?;
            let len = words.next_back().and_then(super::super::payload::number).ok_or_else(unheard)?;
            let len = usize::try_from(len).map_err(|_| unheard())?;
            let whole = used.checked_add(len).and_then(|end| end.checked_add(2)).ok_or_else(unheard)?;
            let Some(behind) = input.get(used..whole) else {
                return Ok(None);
            };
            let data = behind.strip_suffix(b"\r\n").ok_or_else(unheard)?;
            return Ok(Some((Heard::Message { topic: Some(topic), offset: None, data }, whole)));
        }
        let heard = match line {
            b"PING" => Heard::Ping,
            b"PONG" => Heard::Settled,
            _ if line == b"+OK" || line.starts_with(b"INFO ") => Heard::Other,
            _ => match line.strip_prefix(b"-ERR ") {
                Some(error) => Heard::Refused(String::from_utf8_lossy(error).trim_matches('\'').to_owned()),
                None => return Err(unheard()),
            },
        };
        Ok(Some((heard, used)))
    }
}
