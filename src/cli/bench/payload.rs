//! What is published: when it was due, its number, its stream, and bytes that anybody can tell are right.
//!
//! It is JSON of fixed length, so that a receiver finds each field without parsing: numbers have a base
//! added that keeps the count of their digits the same. Keys are in alphabetical order, so that a broker that
//! sorts them changes nothing. Behind a server that transcodes it is MessagePack of fixed length as well,
//! since the base keeps the width of each number the same, too.

use std::fmt::Write as _;

use thiserror::Error;

use crate::protocol::Encoding;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds since the run began at which it was due.
    pub(super) at: u64,
    /// Its number in its stream; the first is 1.
    pub(super) number: u32,
    /// All messages of one publisher to one topic.
    pub(super) stream: u32,
}

/// Added to times: sixteen digits, eight bytes, for eleven days and more.
const AT_BASE: u64 = 1_000_000_000_000_000;
const AT_DIGITS: usize = 16;
/// Added to numbers: ten digits, four bytes, for three thousand million messages of a stream.
const NUMBER_BASE: u32 = 1_000_000_000;
const NUMBER_DIGITS: usize = 10;
pub(super) const NUMBER_MAX: u32 = u32::MAX - NUMBER_BASE;
/// Added to streams: six digits, four bytes.
const STREAM_BASE: u32 = 100_000;
const STREAM_DIGITS: usize = 6;
pub(super) const STREAMS_MAX: usize = 900_000;

const JSON_AT: usize = r#"{"a":"#.len();
const JSON_NUMBER: usize = JSON_AT + AT_DIGITS + r#","n":"#.len();
const JSON_STREAM: usize = JSON_NUMBER + NUMBER_DIGITS + r#","s":"#.len();
const JSON_TAIL: usize = JSON_STREAM + STREAM_DIGITS;

/// A map of four, a key of one letter and the marker of a number of eight bytes.
const PACK_AT: usize = 1 + 2 + 1;
const PACK_NUMBER: usize = PACK_AT + 8 + 2 + 1;
const PACK_STREAM: usize = PACK_NUMBER + 4 + 2 + 1;
const PACK_TAIL: usize = PACK_STREAM + 4;

/// The shortest data: all fields, and no filling.
pub(super) const BYTES_MIN: usize = JSON_TAIL + r#","x":""}"#.len();
pub(super) const BYTES_MAX: usize = 16 << 20;

/// A size that messages cannot have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("messages have {BYTES_MIN} to {BYTES_MAX} bytes of data: they carry their time, number and stream")]
pub(super) struct SizeError;

/// Messages of one size, in both encodings.
#[derive(Debug)]
pub(super) struct Payloads {
    json: Vec<u8>,
    pack: Vec<u8>,
}

impl Payloads {
    /// Messages of so many bytes of JSON.
    ///
    /// # Errors
    ///
    /// When that is too little for what they carry, or too much.
    pub(super) fn new(bytes: usize) -> Result<Payloads, SizeError> {
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return Err(SizeError);
        }
        let filling = filling(bytes - BYTES_MIN);
        let json = format!(r#"{{"a":{AT_BASE},"n":{NUMBER_BASE},"s":{STREAM_BASE},"x":"{filling}"}}"#).into_bytes();
        let mut pack = Vec::with_capacity(bytes);
        pack.extend_from_slice(b"\x84\xa1a\xcf");
        pack.extend_from_slice(&AT_BASE.to_be_bytes());
        pack.extend_from_slice(b"\xa1n\xce");
        pack.extend_from_slice(&NUMBER_BASE.to_be_bytes());
        pack.extend_from_slice(b"\xa1s\xce");
        pack.extend_from_slice(&STREAM_BASE.to_be_bytes());
        pack.extend_from_slice(b"\xa1x");
        // A string of less than 16 MiB always fits; nothing else can fail when a Vec is written to.
        rmp::encode::write_str(&mut pack, &filling).expect("a Vec takes whatever is written to it");
        Ok(Payloads { json, pack })
    }

    /// Appends the message with this stamp.
    pub(super) fn push(&self, encoding: Encoding, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        let (at, number, stream) = (AT_BASE + stamp.at, NUMBER_BASE + stamp.number, STREAM_BASE + stamp.stream);
        match encoding {
            Encoding::Json => {
                out.extend_from_slice(&self.json);
                let out = &mut out[start..];
                digits(at, &mut out[JSON_AT..JSON_AT + AT_DIGITS]);
                digits(u64::from(number), &mut out[JSON_NUMBER..JSON_NUMBER + NUMBER_DIGITS]);
                digits(u64::from(stream), &mut out[JSON_STREAM..JSON_STREAM + STREAM_DIGITS]);
            }
            Encoding::MsgPack => {
                out.extend_from_slice(&self.pack);
                let out = &mut out[start..];
                out[PACK_AT..PACK_AT + 8].copy_from_slice(&at.to_be_bytes());
                out[PACK_NUMBER..PACK_NUMBER + 4].copy_from_slice(&number.to_be_bytes());
                out[PACK_STREAM..PACK_STREAM + 4].copy_from_slice(&stream.to_be_bytes());
            }
        }
    }

    /// The stamp of a message, or `None` if these are not the bytes of one: each of them counts.
    pub(super) fn read(&self, encoding: Encoding, bytes: &[u8]) -> Option<Stamp> {
        match encoding {
            Encoding::Json => self.read_json(bytes),
            Encoding::MsgPack => self.read_pack(bytes),
        }
    }

    fn read_json(&self, bytes: &[u8]) -> Option<Stamp> {
        let same = |from: usize, to: usize| bytes[from..to] == self.json[from..to];
        let whole = bytes.len() == self.json.len()
            && same(0, JSON_AT)
            && same(JSON_AT + AT_DIGITS, JSON_NUMBER)
            && same(JSON_NUMBER + NUMBER_DIGITS, JSON_STREAM)
            && same(JSON_TAIL, bytes.len());
        if !whole {
            return None;
        }
        let at = number(&bytes[JSON_AT..JSON_AT + AT_DIGITS])?.checked_sub(AT_BASE)?;
        let nth = number(&bytes[JSON_NUMBER..JSON_NUMBER + NUMBER_DIGITS])?.checked_sub(NUMBER_BASE.into())?;
        let stream = number(&bytes[JSON_STREAM..JSON_STREAM + STREAM_DIGITS])?.checked_sub(STREAM_BASE.into())?;
        Some(Stamp { at, number: u32::try_from(nth).ok()?, stream: u32::try_from(stream).ok()? })
    }

    fn read_pack(&self, bytes: &[u8]) -> Option<Stamp> {
        let same = |from: usize, to: usize| bytes[from..to] == self.pack[from..to];
        let whole = bytes.len() == self.pack.len()
            && same(0, PACK_AT)
            && same(PACK_AT + 8, PACK_NUMBER)
            && same(PACK_NUMBER + 4, PACK_STREAM)
            && same(PACK_TAIL, bytes.len());
        if !whole {
            return None;
        }
        let at = u64::from_be_bytes(bytes[PACK_AT..PACK_AT + 8].try_into().ok()?);
        let number = u32::from_be_bytes(bytes[PACK_NUMBER..PACK_NUMBER + 4].try_into().ok()?);
        let stream = u32::from_be_bytes(bytes[PACK_STREAM..PACK_STREAM + 4].try_into().ok()?);
        Some(Stamp {
            at: at.checked_sub(AT_BASE)?,
            number: number.checked_sub(NUMBER_BASE)?,
            stream: stream.checked_sub(STREAM_BASE)?,
        })
    }
}

/// Orders, as such events go: words that come again, numbers that do not. It compresses to about a third, and
/// holds nothing that JSON would escape.
fn filling(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    let (mut state, mut id) = (1_u32, 4_000_000);
    while text.len() < bytes {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        id += state % 1_000;
        let (lots, price) = (10 + (state >> 3) % 90, 10_000 + (state >> 7) % 90_000);
        // Infallible: the writer is a String.
        let _ = write!(text, "order {id}: buy {lots} lots at {price}; ");
    }
    text.truncate(bytes);
    text
}

/// Writes `value`, which has as many digits as `out` has bytes.
fn digits(mut value: u64, out: &mut [u8]) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The number that is all of `digits`, which are sixteen at most.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    (!digits.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{AT_BASE, BYTES_MIN, NUMBER_MAX, Payloads, STREAMS_MAX, SizeError, Stamp};
    use crate::protocol::{Data, Encoding};

    fn stamps() -> [Stamp; 3] {
        [
            Stamp { at: 0, number: 1, stream: 0 },
            Stamp { at: 123_456_789_012, number: 1_000_000, stream: 4711 },
            Stamp { at: 8 * AT_BASE, number: NUMBER_MAX, stream: (STREAMS_MAX - 1) as u32 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for bytes in [BYTES_MIN, 128, 1024, 70_000] {
            let payloads = Payloads::new(bytes).expect("a size");
            for stamp in stamps() {
                for encoding in [Encoding::Json, Encoding::MsgPack] {
                    let mut out = b"before".to_vec();
                    payloads.push(encoding, stamp, &mut out);
                    assert_eq!(payloads.read(encoding, &out[6..]), Some(stamp));
                }
            }
        }
    }

    #[test]
    fn the_two_encodings_are_what_the_server_makes_of_each_other() {
        for bytes in [BYTES_MIN, 128, 1024, 70_000] {
            let payloads = Payloads::new(bytes).expect("a size");
            for stamp in stamps() {
                let (mut json, mut pack) = (Vec::new(), Vec::new());
                payloads.push(Encoding::Json, stamp, &mut json);
                payloads.push(Encoding::MsgPack, stamp, &mut pack);
                assert_eq!(json.len(), bytes);
                let mut made = Vec::new();
                Data::json(json.clone()).expect("JSON").write_to(Encoding::MsgPack, &mut made);
                assert_eq!(made, pack);
                made.clear();
                Data::msgpack(pack).expect("MessagePack").write_to(Encoding::Json, &mut made);
                assert_eq!(made, json);
            }
        }
    }

    #[test]
    fn every_byte_counts() {
        let payloads = Payloads::new(200).expect("a size");
        let stamp = stamps()[1];
        for encoding in [Encoding::Json, Encoding::MsgPack] {
            let mut right = Vec::new();
            payloads.push(encoding, stamp, &mut right);
            for at in 0..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 1;
                assert_ne!(payloads.read(encoding, &wrong), Some(stamp), "byte {at}");
            }
            assert_eq!(payloads.read(encoding, &right[..right.len() - 1]), None);
            right.push(b' ');
            assert_eq!(payloads.read(encoding, &right), None);
            assert_eq!(payloads.read(encoding, b""), None);
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(Payloads::new(BYTES_MIN - 1).err(), Some(SizeError));
        assert_eq!(Payloads::new(usize::MAX).err(), Some(SizeError));
    }
}
