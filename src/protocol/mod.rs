//! The wire protocol, version 1: names, payloads, commands and events in JSON and MessagePack.
//!
//! Pure code: bytes in, values out, and back. Nothing here does I/O, asks for the time or knows a
//! connection. Both encodings carry the same maps with the same string keys, and one decoder reads
//! both through [`scan::Scan`], so that they cannot drift apart.
//!
//! Promises: no input overflows the stack, whatever its depth; nothing is allocated because a
//! header announced it; `data` is checked in full and never copied.

pub mod code;
pub mod command;
pub mod data;
pub mod decode;
mod envelope;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod items;
mod json;
mod msgpack;
mod scan;
#[cfg(test)]
mod tests;
pub mod topic;
mod transcode;
#[cfg(test)]
mod vectors;
pub(crate) mod write;

pub use code::{Advice, CloseCode, ErrorCode};
pub use command::{
    Auth, Command, History, Id, Item, ItemRefusal, Items, Presence, Publish, PublishBody, Refusal, Request, Resume,
    Since, Subscribe, Unsubscribe,
};
pub use data::{Data, DataError, Fault};
pub use decode::{DecodeLimits, Requests, decode_json, decode_msgpack, decode_publish_body};
pub use event::{Epoch, Event, GapReason, HistoryMessage, Member, Position, Recovery, RecoveryFailure, render_message};
#[cfg(any(test, fuzzing))]
pub use fuzz::{fuzz_command_json, fuzz_command_msgpack, fuzz_topic_pattern, fuzz_transcode};
pub use topic::{Filter, Pattern, TopicError, TopicName};

/// How values are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, in text frames.
    Json,
    /// MessagePack, in binary frames.
    MsgPack,
}

impl Encoding {
    /// Its name where people choose one: `json` or `msgpack`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::MsgPack => "msgpack",
        }
    }

    /// The WebSocket subprotocol that asks for it.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Json => "fanfare.v1.json",
            Encoding::MsgPack => "fanfare.v1.msgpack",
        }
    }
}
