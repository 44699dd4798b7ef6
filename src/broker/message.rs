//! What a topic's ring holds: a payload with its finished frames.
//!
//! A message's WebSocket frame exists once per [`Form`] and is shared by every shard and every
//! subscriber. It is made by whoever needs it first; two may race, the first to store wins, and
//! nobody waits. A frame holds nothing that depends on its receiver.

use once_cell::race::OnceBox;

use super::topic::Topic;
use crate::protocol::{Data, Encoding, render_message};
use crate::ring::{Entry, Seq};
use crate::ws::{self, Opcode};

/// What a retained message costs beside its payload and name: the structs, their allocations and
/// the slot, rounded up.
const OVERHEAD_BYTES: usize = 256;

/// A connection's number: unique in the process and hard to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// How a message looks on the wire. Each form in use is rendered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    MsgPack,
}

impl Form {
    pub(crate) const COUNT: usize = 2;

    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Form::Json => Encoding::Json,
            Form::MsgPack => Encoding::MsgPack,
        }
    }

    pub(crate) fn opcode(self) -> Opcode {
        match self {
            Form::Json => Opcode::Text,
            Form::MsgPack => Opcode::Binary,
        }
    }
}

impl From<Encoding> for Form {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json => Form::Json,
            Encoding::MsgPack => Form::MsgPack,
        }
    }
}

/// One published message, as the ring keeps it.
#[derive(Debug)]
pub(crate) struct Message {
    data: Data,
    at_ms: u64,
    weight: usize,
    /// The connection it is left out for: a publisher that asked for `echo:false`.
    skip: Option<ConnectionId>,
    frames: [OnceBox<Frame>; Form::COUNT],
}

/// A finished WebSocket frame: `bytes[start..]`.
#[derive(Debug)]
struct Frame {
    /// 0 <= start <= 8: the header is 2 to 10 bytes long and ends at 10.
    start: usize,
    bytes: Box<[u8]>,
}

impl Message {
    pub(crate) fn new(topic_bytes: usize, data: Data, skip: Option<ConnectionId>, at_ms: u64) -> Self {
        // Charged for the payload and for one frame of about its size.
        let weight = OVERHEAD_BYTES + topic_bytes + 2 * data.bytes().len();
        Message { data, at_ms, weight, skip, frames: Default::default() }
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn skip(&self) -> Option<ConnectionId> {
        self.skip
    }

    /// The whole frame in `form`: header and payload, ready to be written.
    pub(crate) fn frame(&self, form: Form, topic: &Topic, seq: Seq) -> &[u8] {
        let frame = self.frames[form as usize].get_or_init(|| Box::new(self.render(form, topic, seq)));
        &frame.bytes[frame.start..]
    }

    fn render(&self, form: Form, topic: &Topic, seq: Seq) -> Frame {
        const HEAD_BYTES_MAX: usize = 10;
        let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX + 64 + topic.name().len() + self.data.bytes().len());
        bytes.extend_from_slice(&[0; HEAD_BYTES_MAX]);
        let epoch = (seq == Seq(1)).then(|| topic.epoch());
        render_message(form.encoding(), topic.name(), seq.0, epoch, None, None, &self.data, &mut bytes);
        // The header's length is known only now, so it is put in front, up against the payload.
        let head = ws::head(form.opcode(), bytes.len() - HEAD_BYTES_MAX);
        let start = HEAD_BYTES_MAX - head.len();
        bytes[start..HEAD_BYTES_MAX].copy_from_slice(&head);
        Frame { start, bytes: bytes.into_boxed_slice() }
    }
}

impl Entry for Message {
    fn weight(&self) -> usize {
        self.weight
    }

    fn at_ms(&self) -> u64 {
        self.at_ms
    }
}
