//! fanfare.v1 in MessagePack.

use rmp::encode::{ValueWriteError, write_array_len, write_map_len, write_str, write_uint};

use super::{Heard, Publish, Wanted};

/// The events that come by the million: messages and answers to publishes.
#[inline]
pub(super) fn common(input: &[u8]) -> Option<Heard<'_>> {
    let (head, rest) = input.split_first()?;
    // A map of up to fifteen entries.
    if head & 0xf0 != 0x80 {
        return None;
    }
    let rest = rest.strip_prefix(b"\xa4type")?;
    if rest.starts_with(b"\xa9published") {
        return Some(Heard::Published);
    }
    let rest = rest.strip_prefix(b"\xa7message\xa5topic")?;
    let (topic, rest) = string(rest)?;
    let (offset, mut rest) = uint(rest.strip_prefix(b"\xa6offset")?)?;
    // The first message carries its epoch, and a topic may add times and names. Data comes last.
    loop {
        let (key, value) = string(rest)?;
        rest = match key {
            b"data" => return Some(Heard::Message { topic: Some(topic), offset: Some(offset), data: value }),
            b"at" => uint(value)?.1,
            _ => string(value)?.1,
        };
    }
}

/// The string that `input` begins with, and what is behind it.
#[inline]
fn string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (marker, rest) = input.split_first()?;
    match *marker {
        short @ 0xa0..=0xbf => rest.split_at_checked(usize::from(short & 0x1f)),
        0xd9 => {
            let (len, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*len))
        }
        _ => None,
    }
}

#[inline]
fn uint(input: &[u8]) -> Option<(u64, &[u8])> {
    let (marker, rest) = input.split_first()?;
    let bytes = match *marker {
        small @ 0..=0x7f => return Some((small.into(), rest)),
        0xcc => 1,
        0xcd => 2,
        0xce => 4,
        0xcf => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(bytes)?;
    Some((number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest))
}

pub(super) fn subscribe(wanted: &[Wanted<'_>], out: &mut Vec<u8>) {
    write(out, |out| {
        write_map_len(out, 3)?;
        write_str(out, "type")?;
        write_str(out, "subscribe")?;
        write_str(out, "id")?;
        write_uint(out, 0)?;
        write_str(out, "topics")?;
        // The plan bounds topics to far less than 2^32.
        write_array_len(out, wanted.len() as u32)?;
        for wanted in wanted {
            let Some(since) = wanted.since else {
                write_str(out, wanted.topic)?;
                continue;
            };
            write_map_len(out, 2)?;
            write_str(out, "topic")?;
            write_str(out, wanted.topic)?;
            write_str(out, "since")?;
            write_map_len(out, 2)?;
            write_str(out, "epoch")?;
            write_str(out, since.epoch)?;
            write_str(out, "offset")?;
            write_uint(out, since.offset)?;
        }
        Ok(())
    });
}

pub(super) fn publish(publish: &Publish<'_>, data: &mut dyn FnMut(&mut Vec<u8>), out: &mut Vec<u8>) {
    write(out, |out| {
        write_map_len(out, 4)?;
        write_str(out, "type")?;
        write_str(out, "publish")?;
        write_str(out, "id")?;
        write_uint(out, publish.id)?;
        write_str(out, "topic")?;
        write_str(out, publish.topic)?;
        write_str(out, "data")
    });
    data(out);
}

fn write(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), ValueWriteError>) {
    write(out).expect("a Vec takes whatever is written to it");
}
