//! MQTT 3.1.1 over WebSocket (MQTT 3.1.1, 6), QoS 0: a packet may begin and end anywhere in a frame.

use crate::cli::bench::frame::Outbox;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Unheard, Wanted};

#[derive(Debug)]
pub(super) struct Mqtt;

const NAME: &str = "MQTT 3.1.1";

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;

/// Of the only packet that has one.
const PACKET_ID: [u8; 2] = [0, 1];

impl Dialect for Mqtt {
    fn subprotocol(&self, _: Encoding) -> Option<&'static str> {
        // MQTT 3.1.1, 6: "The Client MUST include "mqtt" in the list of WebSocket Sub Protocols it offers."
        Some("mqtt")
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn topic(&self, prefix: &str, number: usize) -> String {
        format!("{}/{number}", prefix.replace('.', "/"))
    }

    fn pattern(&self, prefix: &str) -> Option<String> {
        Some(format!("{}/+", prefix.replace('.', "/")))
    }

    fn greet(&self, client: &Client<'_>, out: &mut Outbox) {
        const CLEAN_SESSION: u8 = 2;
        const PASSWORD: u8 = 0x40;
        const USER: u8 = 0x80;
        let mut body = Vec::new();
        string("MQTT", &mut body);
        let credentials = client.token.map(|token| token.split_once(':').unwrap_or((token, "")));
        let flags = CLEAN_SESSION | credentials.map_or(0, |_| USER | PASSWORD);
        // Level 4 is 3.1.1. No keep-alive: whoever publishes talks, and whoever listens need not.
        body.extend_from_slice(&[4, flags, 0, 0]);
        string(client.name, &mut body);
        if let Some((user, password)) = credentials {
            string(user, &mut body);
            string(password, &mut body);
        }
        out.binary(|out| packet(CONNECT << 4, &[&body], out));
    }

    fn subscribe(&self, _: &Client<'_>, wanted: &[Wanted<'_>], _: &[u8], out: &mut Outbox) -> usize {
        let mut body = PACKET_ID.to_vec();
        for wanted in wanted {
            string(wanted.topic, &mut body);
            // QoS 0.
            body.push(0);
        }
        // Bits 3 to 0 of SUBSCRIBE are 0010 (MQTT 3.1.1, 3.8.1).
        out.binary(|out| packet(SUBSCRIBE << 4 | 2, &[&body], out));
        1
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        let (mut topic, mut payload) = (Vec::new(), Vec::new());
        string(publish.topic, &mut topic);
        data(&mut payload);
        out.binary(|out| packet(PUBLISH << 4, &[&topic, &payload], out));
    }

    fn hear<'a>(&self, _: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        let unheard = || Unheard::new(NAME, input);
        let Some((head, rest)) = input.split_first() else {
            return Ok(None);
        };
        let Some((len, len_bytes)) = remaining_length(rest).map_err(|()| unheard())? else {
            return Ok(None);
        };
        let Some(body) = rest[len_bytes..].get(..len) else {
            return Ok(None);
        };
        let heard = match head >> 4 {
            PUBLISH => {
                let (topic_len, rest) = body.split_first_chunk::<2>().ok_or_else(unheard)?;
                let topic_len = usize::from(u16::from_be_bytes(*topic_len));
                let (topic, data) = rest.split_at_checked(topic_len).ok_or_else(unheard)?;
                Heard::Message { topic: Some(topic), offset: None, data }
            }
            CONNACK => match body {
                [_, 0] => Heard::Ready(&[]),
                [_, code] => Heard::Refused(refusal(*code)),
                _ => return Err(unheard()),
            },
            // MQTT 3.1.1, 3.9.3: 0x80 is a failure.
            SUBACK => match body.get(2..) {
                Some(codes) if codes.contains(&0x80) => Heard::Refused("subscription refused".to_owned()),
                Some(_) => Heard::Subscribed(Box::default()),
                None => return Err(unheard()),
            },
            _ => Heard::Other,
        };
        Ok(Some((heard, 1 + len_bytes + len)))
    }
}

/// MQTT 3.1.1, 3.2.2.3.
fn refusal(code: u8) -> String {
    match code {
        1 => "unacceptable protocol version".to_owned(),
        2 => "client identifier rejected".to_owned(),
        3 => "server unavailable".to_owned(),
        4 => "bad user name or password".to_owned(),
        5 => "not authorized".to_owned(),
        code => format!("refused with code {code}"),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Longer ones do not get through the plan, but for tokens, of which no server takes as much.
    let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn packet(head: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(head);
    let mut len: usize = parts.iter().map(|part| part.len()).sum();
    // MQTT 3.1.1, 2.2.3: seven bits a byte, the lowest first.
    loop {
        let more = len > 0x7f;
        out.push((len & 0x7f) as u8 | if more { 0x80 } else { 0 });
        len >>= 7;
        if !more {
            break;
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The length and how many bytes it takes, once those have come.
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, ()> {
    let mut len = 0;
    for at in 0..4 {
        let Some(byte) = input.get(at) else {
            return Ok(None);
        };
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((len, at + 1)));
        }
    }
    Err(())
}
