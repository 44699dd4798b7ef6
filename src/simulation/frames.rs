//! A client's side of the wire in the plainest way: frames (RFC 6455, 5.2), what they hold in either encoding, and
//! what is compressed, inflated by another implementation than the server's.

use std::ops::Range;

use serde_json::Value;

/// A command, or an array of them, in JSON or in MessagePack.
pub(crate) fn command(said: &Value, in_msgpack: bool) -> Vec<u8> {
    if in_msgpack {
        frame(0x82, &rmp_serde::to_vec(said).expect("JSON fits"))
    } else {
        frame(0x81, said.to_string().as_bytes())
    }
}

/// A frame with a mask of zeros, which leaves the payload as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(long).expect("short commands").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The first byte of the first frame, and where its payload is, once it has come whole.
pub(crate) fn whole_frame(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match short {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = start + usize::try_from(length).expect("a length that fits");
    (bytes.len() >= end).then_some((first, start..end))
}

/// The event in a frame that begins with `first`, compressed or not.
pub(crate) fn event(first: u8, payload: &[u8], in_msgpack: bool) -> Value {
    match (first, in_msgpack) {
        (0x81, false) => serde_json::from_slice(payload).expect("an event is JSON"),
        (0x82, true) => rmp_serde::from_slice(payload).expect("an event is MessagePack"),
        (other, _) => panic!("a frame that begins with {other:#x}"),
    }
}

pub(crate) fn inflate(payload: &[u8]) -> Vec<u8> {
    // The end of the block that is not sent, and one that says it is the last.
    let whole = [payload, &[0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF]].concat();
    miniz_oxide::inflate::decompress_to_vec(&whole).expect("it is DEFLATE")
}
