//! From one encoding to the other in one pass, without a tree in between.
//!
//! Input has been checked: it is well-formed and at most [`DEPTH_MAX`] levels deep. Integers stay
//! integers, floats stay floats, order and repeated keys are kept. MessagePack binary is
//! `{"$bin": "<base64>"}` in JSON; only canonical padded base64 (RFC 4648, 4) goes the way back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Encoding;
use super::json::{Json, Number, Quoted};
use super::msgpack::{Head, MsgPack};
use super::scan::{DEPTH_MAX, Malformed, Scan};
use super::write;

/// Appends the MessagePack form of one checked JSON value.
pub(super) fn json_to_msgpack(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut scan = Json::new(text);
    let mut around: Vec<Container> = Vec::new();
    loop {
        scan.space();
        match scan.peek() {
            b'"' => string(scan.string()?, &scan, out)?,
            b'{' => {
                if let Some((bytes, after)) = binary(&scan) {
                    write::bin_header(out, bytes.len());
                    out.extend_from_slice(&bytes);
                    scan = after;
                } else {
                    scan.take(b'{');
                    scan.space();
                    let mut map = Container { map: true, header: out.len(), len: 0 };
                    out.push(0x80);
                    if !scan.take(b'}') {
                        map.len = 1;
                        around.push(map);
                        string(scan.name()?, &scan, out)?;
                        continue;
                    }
                }
            }
            b'[' => {
                scan.take(b'[');
                scan.space();
                let mut list = Container { map: false, header: out.len(), len: 0 };
                out.push(0x90);
                if !scan.take(b']') {
                    list.len = 1;
                    around.push(list);
                    continue;
                }
            }
            b't' => {
                scan.literal(b"true")?;
                out.push(0xc3);
            }
            b'f' => {
                scan.literal(b"false")?;
                out.push(0xc2);
            }
            b'n' => {
                scan.literal(b"null")?;
                out.push(0xc0);
            }
            _ => number(scan.number()?.0, &scan, out)?,
        }
        // A value has ended, and with it perhaps what it stands in.
        loop {
            let Some(inner) = around.last_mut() else {
                return scan.end();
            };
            scan.space();
            if scan.take(b',') {
                inner.len += 1;
                if inner.map {
                    string(scan.name()?, &scan, out)?;
                }
                break;
            }
            if !scan.take(if inner.map { b'}' } else { b']' }) {
                return Err(scan.malformed());
            }
            inner.end(out);
            around.pop();
        }
    }
}

/// Appends the JSON form of one checked MessagePack value.
pub(super) fn msgpack_to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut scan = MsgPack::new(bytes);
    let mut around: Vec<Level> = Vec::new();
    loop {
        let opened = match scan.head()? {
            Head::List(len) => {
                out.push(b'[');
                Some(Level { map: false, left: len, first: true })
            }
            Head::Map(len) => {
                out.push(b'{');
                Some(Level { map: true, left: len, first: true })
            }
            Head::Ext => return Err(scan.malformed()),
            scalar => {
                json_scalar(scalar, &scan, out)?;
                None
            }
        };
        if let Some(level) = opened {
            if around.len() == DEPTH_MAX {
                return Err(scan.malformed());
            }
            around.push(level);
        }
        loop {
            let Some(inner) = around.last_mut() else {
                return scan.end();
            };
            if inner.left == 0 {
                out.push(if inner.map { b'}' } else { b']' });
                around.pop();
                continue;
            }
            inner.left -= 1;
            if !inner.first {
                out.push(b',');
            }
            inner.first = false;
            if inner.map {
                let Head::Str(key) = scan.head()? else {
                    return Err(scan.malformed());
                };
                write::quote(out, utf8(key, &scan)?);
                out.push(b':');
            }
            break;
        }
    }
}

/// A map or list whose MessagePack header waits for the number of entries.
struct Container {
    map: bool,
    /// Where its one-byte header stands.
    header: usize,
    /// Entries begun so far.
    len: u32,
}

impl Container {
    /// Patches the header. One that does not fit a byte pushes the content back by two or four
    /// bytes: rare in deep nests, and cheaper than counting ahead for everybody.
    fn end(&self, out: &mut Vec<u8>) {
        let long = match u16::try_from(self.len) {
            Ok(len @ 0..=15) => {
                out[self.header] |= len.to_be_bytes()[1];
                return;
            }
            Ok(_) => 2,
            Err(_) => 4,
        };
        out[self.header] = match (self.map, long) {
            (true, 2) => 0xde,
            (true, _) => 0xdf,
            (false, 2) => 0xdc,
            (false, _) => 0xdd,
        };
        let bytes = self.len.to_be_bytes();
        let after = self.header + 1;
        out.splice(after..after, bytes[4 - long..].iter().copied());
    }
}

/// A MessagePack map or list that is being written as JSON.
struct Level {
    map: bool,
    /// Entries to come.
    left: u32,
    first: bool,
}

/// Reads `{"$bin": "<base64>"}` if it comes next: the bytes, and the scanner after it.
fn binary<'a>(scan: &Json<'a>) -> Option<(Vec<u8>, Json<'a>)> {
    let mut ahead = scan.clone();
    ahead.take(b'{');
    ahead.space();
    // The key may be written with escapes, so it is told by its text. Most keys fail right here.
    if ahead.peek() != b'"' || !matches!(ahead.peek_at(1), b'$' | b'\\') {
        return None;
    }
    if ahead.name().ok()?.text()? != "$bin" {
        return None;
    }
    ahead.space();
    if ahead.peek() != b'"' {
        return None;
    }
    let text = ahead.string().ok()?.text()?;
    ahead.space();
    if !ahead.take(b'}') {
        return None;
    }
    // The engine refuses missing padding and trailing bits: what it takes is canonical.
    Some((STANDARD.decode(text.as_bytes()).ok()?, ahead))
}

fn string(quoted: Quoted<'_>, scan: &Json<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let text = quoted.text().ok_or(scan.malformed())?;
    write::text(Encoding::MsgPack, out, &text);
    Ok(())
}

fn number(number: Number<'_>, scan: &Json<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match number {
        Number::Float(_) => {
            let value = number.float().ok_or(scan.malformed())?;
            out.push(0xcb);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Number::Int(_) => {
            let value = number.int().ok_or(scan.malformed())?;
            match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => write::uint(Encoding::MsgPack, out, value),
                (_, Ok(value)) => write::negative(Encoding::MsgPack, out, value),
                _ => return Err(scan.malformed()),
            }
        }
    }
    Ok(())
}

fn json_scalar(scalar: Head<'_>, scan: &MsgPack<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match scalar {
        Head::Nil => out.extend_from_slice(b"null"),
        Head::Bool(true) => out.extend_from_slice(b"true"),
        Head::Bool(false) => out.extend_from_slice(b"false"),
        Head::Uint(value) => write::uint(Encoding::Json, out, value),
        Head::Int(value) => match u64::try_from(value) {
            Ok(value) => write::uint(Encoding::Json, out, value),
            Err(_) => write::negative(Encoding::Json, out, value),
        },
        // Written as the shortest text of its own width: 0.1 and not 0.10000000149011612.
        Head::F32(value) => float(&value, out).ok_or(scan.malformed())?,
        Head::F64(value) => float(&value, out).ok_or(scan.malformed())?,
        Head::Str(bytes) => write::quote(out, utf8(bytes, scan)?),
        Head::Bin(bytes) => {
            out.extend_from_slice(b"{\"$bin\":\"");
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(bytes, &mut out[start..]);
            debug_assert_eq!(written.ok(), Some(out.len() - start), "base64 has a known length");
            out.extend_from_slice(b"\"}");
        }
        Head::List(_) | Head::Map(_) | Head::Ext => return Err(scan.malformed()),
    }
    Ok(())
}

/// Writes the shortest text that reads back as the same float, with a point or an exponent.
fn float(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Option<()> {
    serde_json::to_writer(out, value).ok()
}

fn utf8<'a>(bytes: &'a [u8], scan: &MsgPack<'_>) -> Result<&'a str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| scan.malformed())
}
