//! How messages stand in the file: some in a row, as many as fit into a page.
//!
//! ```text
//! block   = count: u32, that many messages
//! message = flags: u8, at_ms: u64, [length, key], [length, from], length, data
//! ```
//!
//! Numbers are little-endian; lengths have seven bits a byte, the least first, and the eighth says that more
//! follow. The flags say whether the data is MessagePack (1), and whether there is a
//! key (2) and a publisher (4). The places of messages are not in here: the first one's is the row's key.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::Message;
use crate::protocol::{Data, Encoding};

/// A block takes no more than this, unless it is a single message: with its key it fits a page of 4,096 bytes.
const BLOCK_BYTES_MAX: usize = 3_500;

/// What a message takes beside its texts and its data, rounded up.
const HEAD_BYTES_MAX: usize = 32;

const MSGPACK: u8 = 1;
const KEY: u8 = 2;
const FROM: u8 = 4;

/// A block while it is being filled.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Vec<u8>,
    count: u32,
}

/// What is wrong with a block.
#[derive(Debug)]
pub(super) struct Unreadable;

impl Block {
    pub(super) fn new() -> Self {
        Block { bytes: vec![0; 4], count: 0 }
    }

    /// A block that was written, to go on with.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        Ok(Block { bytes: bytes.to_vec(), count: count(bytes)? })
    }

    pub(super) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// Adds a message, if there is room.
    pub(super) fn push(&mut self, message: &Message) -> bool {
        let [key, from] = [message.key(), message.from()].map(Option::unwrap_or_default);
        let data = message.data();
        let needed = HEAD_BYTES_MAX + key.len() + from.len() + data.bytes().len();
        if self.count > 0 && self.bytes.len() + needed > BLOCK_BYTES_MAX {
            return false;
        }
        let flags = if data.encoding() == Encoding::MsgPack { MSGPACK } else { 0 }
            | if message.key().is_some() { KEY } else { 0 }
            | if message.from().is_some() { FROM } else { 0 };
        self.bytes.push(flags);
        self.bytes.extend_from_slice(&message.published_ms().to_le_bytes());
        for (flag, text) in [(KEY, key), (FROM, from)] {
            if flags & flag != 0 {
                self.put(text.as_bytes());
            }
        }
        self.put(data.bytes());
        self.count += 1;
        true
    }

    /// Its length, then itself.
    fn put(&mut self, bytes: &[u8]) {
        let mut length = bytes.len();
        while length >= 0x80 {
            self.bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.bytes.push(length as u8);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self) -> &[u8] {
        self.bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        &self.bytes
    }
}

/// How many messages a block has.
pub(super) fn count(block: &[u8]) -> Result<u32, Unreadable> {
    Reader(block).number().map(u32::from_le_bytes)
}

/// A block without its first `skipped` messages.
pub(super) fn without(block: &[u8], skipped: u32) -> Result<Vec<u8>, Unreadable> {
    let mut reader = Reader(block);
    let count = u32::from_le_bytes(reader.number()?);
    for _ in 0..skipped {
        reader.message()?;
    }
    let left = count.checked_sub(skipped).ok_or(Unreadable)?;
    Ok([&left.to_le_bytes(), reader.0].concat())
}

/// The messages of a block, for a topic whose name is so long.
pub(super) fn messages(block: &[u8], topic_bytes: usize, into: &mut Vec<Message>) -> Result<(), Unreadable> {
    let mut reader = Reader(block);
    for _ in 0..u32::from_le_bytes(reader.number()?) {
        let Raw { encoding, at_ms, key, from, data } = reader.message()?;
        let data = Bytes::copy_from_slice(data);
        let data = match encoding {
            Encoding::Json => Data::json(data),
            Encoding::MsgPack => Data::msgpack(data),
        };
        let data = data.map_err(|_| Unreadable)?;
        let from = from.map(Arc::<str>::from);
        into.push(Message::new(topic_bytes, data, None, at_ms).about(key).by(from.as_ref()));
    }
    if reader.0.is_empty() { Ok(()) } else { Err(Unreadable) }
}

/// One message of a block.
struct Raw<'a> {
    encoding: Encoding,
    at_ms: u64,
    key: Option<&'a str>,
    from: Option<&'a str>,
    data: &'a [u8],
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn message(&mut self) -> Result<Raw<'a>, Unreadable> {
        let [flags] = self.number()?;
        if flags & !(MSGPACK | KEY | FROM) != 0 {
            return Err(Unreadable);
        }
        let at_ms = u64::from_le_bytes(self.number()?);
        let mut text = |flag| -> Result<Option<&'a str>, Unreadable> {
            if flags & flag == 0 {
                return Ok(None);
            }
            std::str::from_utf8(self.take()?).map(Some).map_err(|_| Unreadable)
        };
        let (key, from) = (text(KEY)?, text(FROM)?);
        let data = self.take()?;
        let encoding = if flags & MSGPACK != 0 { Encoding::MsgPack } else { Encoding::Json };
        Ok(Raw { encoding, at_ms, key, from, data })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*number)
    }

    fn take(&mut self) -> Result<&'a [u8], Unreadable> {
        let mut length = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let [byte] = self.number()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }
}
