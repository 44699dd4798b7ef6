//! The Pusher Channels protocol, version 7: topics are private channels, publishes are client events.
//!
//! The right to join a private channel is proven with the app's secret, which is `--token`; the app's key is
//! the last segment of the address. Client events have to be enabled for the app.

use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::cli::bench::frame::Outbox;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Standing, Unheard, Wanted};

#[derive(Debug)]
pub(super) struct Pusher {
    pub(super) secret: Option<String>,
    pub(super) key: String,
}

const NAME: &str = "the Pusher protocol";

/// Client events have names that begin so.
const EVENT: &str = "client-bench";

#[derive(Deserialize)]
struct Event<'a> {
    event: &'a str,
    #[serde(borrow)]
    channel: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Dialect for Pusher {
    fn path(&self, written: &str) -> String {
        let query = if written.contains('?') { '&' } else { '?' };
        format!("{written}{query}protocol=7&client=fanfare-bench&version={}", env!("CARGO_PKG_VERSION"))
    }

    fn publishers_subscribe(&self) -> bool {
        true
    }

    fn topic(&self, prefix: &str, number: usize) -> String {
        format!("private-{prefix}.{number}")
    }

    fn pattern(&self, _: &str) -> Option<String> {
        None
    }

    fn subscribe(&self, _: &Client<'_>, wanted: &[Wanted<'_>], ready: &[u8], out: &mut Outbox) -> usize {
        let socket = String::from_utf8_lossy(ready);
        for wanted in wanted {
            let signature = sign(self.secret.as_deref().unwrap_or_default(), &format!("{socket}:{}", wanted.topic));
            out.text(|out| {
                // Infallible: the writer is a Vec.
                let _ = write!(
                    out,
                    r#"{{"event":"pusher:subscribe","data":{{"channel":"{}","auth":"{}:{signature}"}}}}"#,
                    wanted.topic, self.key
                );
            });
        }
        wanted.len()
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        out.text(|out| {
            let _ = write!(out, r#"{{"event":"{EVENT}","channel":"{}","data":"#, publish.topic);
            data(out);
            out.push(b'}');
        });
    }

    fn pong(&self, out: &mut Outbox) {
        out.text(|out| out.extend_from_slice(br#"{"event":"pusher:pong","data":{}}"#));
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        let unheard = || Unheard::new(NAME, input);
        let event: Event<'a> = serde_json::from_slice(input).map_err(|_| unheard())?;
        let data = event.data.map(RawValue::get);
        let heard = match event.event {
            EVENT => Heard::Message {
                topic: event.channel.map(str::as_bytes),
                offset: None,
                data: data.ok_or_else(unheard)?.as_bytes(),
            },
            "pusher:connection_established" => Heard::Ready(socket_id(data.unwrap_or_default()).ok_or_else(unheard)?),
            "pusher_internal:subscription_succeeded" => Heard::Subscribed(Box::new(Standing {
                topic: event.channel.unwrap_or_default().to_owned(),
                ..Standing::default()
            })),
            "pusher:ping" => Heard::Ping,
            "pusher:error" | "pusher:subscription_error" => Heard::Refused(data.unwrap_or_default().to_owned()),
            _ => Heard::Other,
        };
        Ok(Some((heard, input.len())))
    }
}

/// The value of `socket_id` in data that is a string of JSON: digits and a point, which need no escape.
fn socket_id(data: &str) -> Option<&[u8]> {
    let (_, rest) = data.split_once("socket_id")?;
    let start = rest.find(|c: char| c.is_ascii_digit())?;
    let rest = &rest[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    Some(&rest.as_bytes()[..end])
}

/// HMAC-SHA256 (RFC 2104) in hexadecimal digits.
fn sign(secret: &str, text: &str) -> String {
    const BLOCK: usize = 64;
    let mut key = [0; BLOCK];
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret.as_bytes());
    }
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn signatures_are_those_of_the_protocol_s_description() {
        // The worked example of Pusher's own description of signatures, and RFC 4231, 4.3 and 4.7.
        assert_eq!(
            sign("7ad3773142a6692b25b8", "1234.1234:private-foobar"),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        assert_eq!(
            sign("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn long_secrets_are_hashed_first() {
        let long = "a".repeat(65);
        assert_ne!(sign(&long, "x"), sign(&long[..64], "x"));
    }
}
