//! An event as one line of JSON, whichever encoding it came in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};
use thiserror::Error;

/// What is no event: the server sent something else than MessagePack maps with string keys.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the server sent what is no event of this protocol")]
pub(crate) struct NotAnEvent;

/// Payloads are at most 128 deep, and the envelope adds a few levels. A bound at all, because each
/// level takes a piece of the stack.
const DEPTH_MAX: usize = 160;

/// JSON text without line ends. They can stand only between tokens: inside of strings they are
/// escaped (RFC 8259, 7).
pub(crate) fn from_json(mut text: String) -> String {
    if text.contains(['\n', '\r']) {
        text = text.replace(['\n', '\r'], " ");
    }
    text
}

/// The JSON of one MessagePack value: binary becomes `{"$bin": BASE64}`.
pub(crate) fn from_msgpack(mut bytes: &[u8]) -> Result<String, NotAnEvent> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    value(&mut bytes, &mut out, 0)?;
    if !bytes.is_empty() {
        return Err(NotAnEvent);
    }
    String::from_utf8(out).map_err(|_| NotAnEvent)
}

fn value(input: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), NotAnEvent> {
    if depth > DEPTH_MAX {
        return Err(NotAnEvent);
    }
    let marker = read_marker(input).map_err(|_| NotAnEvent)?;
    match marker {
        Marker::Null => out.extend_from_slice(b"null"),
        Marker::True => out.extend_from_slice(b"true"),
        Marker::False => out.extend_from_slice(b"false"),
        Marker::FixPos(small) => number(out, small),
        Marker::FixNeg(small) => number(out, small),
        Marker::U8 => number(out, take(input, RmpRead::read_data_u8)?),
        Marker::U16 => number(out, take(input, RmpRead::read_data_u16)?),
        Marker::U32 => number(out, take(input, RmpRead::read_data_u32)?),
        Marker::U64 => number(out, take(input, RmpRead::read_data_u64)?),
        Marker::I8 => number(out, take(input, RmpRead::read_data_i8)?),
        Marker::I16 => number(out, take(input, RmpRead::read_data_i16)?),
        Marker::I32 => number(out, take(input, RmpRead::read_data_i32)?),
        Marker::I64 => number(out, take(input, RmpRead::read_data_i64)?),
        Marker::F32 => float(out, take(input, RmpRead::read_data_f32)?)?,
        Marker::F64 => float(out, take(input, RmpRead::read_data_f64)?)?,
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            let bytes = slice(input, marker)?;
            out.extend_from_slice(b"{\"$bin\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            out.push(b'[');
            for index in 0..length(input, marker)? {
                if index > 0 {
                    out.push(b',');
                }
                value(input, out, depth + 1)?;
            }
            out.push(b']');
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            out.push(b'{');
            for index in 0..length(input, marker)? {
                if index > 0 {
                    out.push(b',');
                }
                let key = read_marker(input).map_err(|_| NotAnEvent)?;
                text(input, key, out)?;
                out.push(b':');
                value(input, out, depth + 1)?;
            }
            out.push(b'}');
        }
        other => text(input, other, out)?,
    }
    Ok(())
}

fn text(input: &mut &[u8], marker: Marker, out: &mut Vec<u8>) -> Result<(), NotAnEvent> {
    if !matches!(marker, Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) {
        return Err(NotAnEvent);
    }
    let text = std::str::from_utf8(slice(input, marker)?).map_err(|_| NotAnEvent)?;
    serde_json::to_writer(out, text).map_err(|_| NotAnEvent)
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// The shortest text that reads back as the same number of the same width.
fn float(out: &mut Vec<u8>, float: impl serde::Serialize + Into<f64> + Copy) -> Result<(), NotAnEvent> {
    if !float.into().is_finite() {
        return Err(NotAnEvent);
    }
    serde_json::to_writer(out, &float).map_err(|_| NotAnEvent)
}

/// What a header announces; nothing is set aside for it before it is there.
fn length(input: &mut &[u8], marker: Marker) -> Result<u32, NotAnEvent> {
    match marker {
        Marker::FixArray(len) | Marker::FixMap(len) | Marker::FixStr(len) => Ok(len.into()),
        Marker::Bin8 | Marker::Str8 => take(input, RmpRead::read_data_u8).map(u32::from),
        Marker::Bin16 | Marker::Str16 | Marker::Array16 | Marker::Map16 => {
            take(input, RmpRead::read_data_u16).map(u32::from)
        }
        _ => take(input, RmpRead::read_data_u32),
    }
}

fn slice<'a>(input: &mut &'a [u8], marker: Marker) -> Result<&'a [u8], NotAnEvent> {
    let len = usize::try_from(length(input, marker)?).map_err(|_| NotAnEvent)?;
    let (head, rest) = input.split_at_checked(len).ok_or(NotAnEvent)?;
    *input = rest;
    Ok(head)
}

fn take<'a, T, E>(input: &mut &'a [u8], read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>) -> Result<T, NotAnEvent> {
    read(input).map_err(|_| NotAnEvent)
}

#[cfg(test)]
mod tests {
    use super::{NotAnEvent, from_json, from_msgpack};

    #[test]
    fn line_ends_between_tokens_go() {
        assert_eq!(from_json("{\r\n\"a\":\"\\n\"\n}".to_owned()), "{  \"a\":\"\\n\" }");
    }

    #[test]
    fn every_type_of_value_becomes_json() {
        let check = |bytes: &[u8], json: &str| {
            assert_eq!(from_msgpack(bytes).as_deref(), Ok(json), "{bytes:x?}");
        };
        check(b"\xc0", "null");
        check(b"\x92\xc3\xc2", "[true,false]");
        check(b"\x7f", "127");
        check(b"\xff", "-1");
        check(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615");
        check(b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808");
        check(b"\xcc\x80", "128");
        check(b"\xcd\x01\x00", "256");
        check(b"\xce\x00\x01\x00\x00", "65536");
        check(b"\xd0\x80", "-128");
        check(b"\xd1\x80\x00", "-32768");
        check(b"\xd2\x80\x00\x00\x00", "-2147483648");
        check(b"\xca\x3d\xcc\xcc\xcd", "0.1");
        check(b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1");
        check(b"\xa2\"\n", r#""\"\n""#);
        check(b"\xd9\x01a", r#""a""#);
        check(b"\xc4\x03\x00\x01\xff", r#"{"$bin":"AAH/"}"#);
        check(b"\x82\xa1a\x90\xa1b\x80", r#"{"a":[],"b":{}}"#);
        check(b"\xde\x00\x01\xa1a\xdc\x00\x01\x01", r#"{"a":[1]}"#);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let deep = vec![0x91; 100_000];
        let wrong: [&[u8]; 10] = [
            b"",
            b"\xc1",
            b"\xa2a",
            b"\x81\x01\x02",
            b"\xd4\x00\x00",
            b"\xa1\xff",
            b"\x01\x01",
            b"\xdd\xff\xff\xff\xff",
            b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
            &deep,
        ];
        for bytes in wrong {
            assert_eq!(from_msgpack(bytes), Err(NotAnEvent));
        }
    }
}
