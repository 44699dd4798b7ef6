//! fanfare.v1 in both encodings: messages and answers to publishes are told by their first bytes, everything
//! else, which is rare, is parsed.

use serde::Deserialize;

use crate::cli::bench::frame::Outbox;
use crate::cli::json_line;
use crate::protocol::Encoding;

use super::{Client, Dialect, Heard, Publish, Standing, Unheard, Wanted, json, pack};

#[derive(Debug)]
pub(in crate::cli::bench) struct Fanfare {
    pub(super) recover: bool,
}

const NAME: &str = "fanfare.v1";

impl Dialect for Fanfare {
    fn subprotocol(&self, encoding: Encoding) -> Option<&'static str> {
        Some(encoding.subprotocol())
    }

    fn token_in_header(&self) -> bool {
        true
    }

    fn answers_publishes(&self) -> bool {
        true
    }

    fn pattern(&self, prefix: &str) -> Option<String> {
        Some(format!("{prefix}.*"))
    }

    fn subscribe(&self, client: &Client<'_>, wanted: &[Wanted<'_>], _: &[u8], out: &mut Outbox) -> usize {
        match client.encoding {
            Encoding::Json => out.text(|out| json::subscribe(wanted, out)),
            Encoding::MsgPack => out.binary(|out| pack::subscribe(wanted, out)),
        }
        wanted.len()
    }

    fn publish(&self, publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Outbox) {
        match publish.encoding {
            Encoding::Json => out.text(|out| json::publish(publish, data, out)),
            Encoding::MsgPack => out.binary(|out| pack::publish(publish, data, out)),
        }
    }

    fn hear<'a>(&self, encoding: Encoding, input: &'a [u8]) -> Result<Option<(Heard<'a>, usize)>, Unheard> {
        let known = match encoding {
            Encoding::Json => json::common(input),
            Encoding::MsgPack => pack::common(input),
        };
        let heard = match known {
            Some(heard) => heard,
            None => self.rare(encoding, input)?,
        };
        Ok(Some((heard, input.len())))
    }
}

impl Fanfare {
    fn rare<'a>(&self, encoding: Encoding, input: &[u8]) -> Result<Heard<'a>, Unheard> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "type")]
            kind: String,
            id: Option<u64>,
            topic: Option<String>,
            epoch: Option<String>,
            offset: Option<u64>,
            recovered: Option<bool>,
            from: Option<u64>,
            to: Option<u64>,
            code: Option<serde_json::Value>,
            message: Option<String>,
            reason: Option<String>,
        }
        /// The id of a subscribe. Publishes count from 1.
        const SUBSCRIBE: u64 = 0;
        let unheard = || Unheard::new(NAME, input);
        let text;
        let input = match encoding {
            Encoding::Json => input,
            Encoding::MsgPack => {
                text = json_line::from_msgpack(input).map_err(|_| unheard())?;
                text.as_bytes()
            }
        };
        let event: Event = serde_json::from_slice(input).map_err(|_| unheard())?;
        Ok(match event.kind.as_str() {
            "welcome" => Heard::Ready(&[]),
            "subscribed" => Heard::Subscribed(Box::new(Standing {
                topic: event.topic.ok_or_else(unheard)?,
                epoch: event.epoch.filter(|_| self.recover),
                offset: event.offset,
                recovered: event.recovered,
            })),
            "published" => Heard::Published,
            "gap" => Heard::Gap {
                topic: event.topic.ok_or_else(unheard)?,
                from: event.from.ok_or_else(unheard)?,
                to: event.to.ok_or_else(unheard)?,
            },
            "error" => {
                let code = event.code.as_ref().and_then(|code| code.as_str()).ok_or_else(unheard)?;
                let text = format!("{code}: {}", event.message.unwrap_or_default());
                match event.id {
                    Some(id) if id != SUBSCRIBE => Heard::Unpublished(text),
                    _ => Heard::Refused(text),
                }
            }
            "goodbye" => Heard::Goodbye(event.reason.unwrap_or_default()),
            // A message that is made otherwise than usual, or what a later server may say.
            "message" => return Err(unheard()),
            _ => Heard::Other,
        })
    }
}
