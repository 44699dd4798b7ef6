//! Writing maps in either encoding, straight into the bytes of a frame.

use super::{Data, Encoding};

/// A map under construction. Keys are words of the protocol: they hold nothing to escape.
pub(crate) struct Map<'o> {
    encoding: Encoding,
    out: &'o mut Vec<u8>,
    /// Where the MessagePack header stands; it is patched at the end, for it holds the count.
    header: usize,
    /// Fields so far; at most 15, so that the header stays one byte.
    fields: u8,
}

impl<'o> Map<'o> {
    /// Opens a map.
    pub(crate) fn begin(encoding: Encoding, out: &'o mut Vec<u8>) -> Map<'o> {
        let header = out.len();
        out.push(match encoding {
            Encoding::Json => b'{',
            Encoding::MsgPack => 0x80,
        });
        Map { encoding, out, header, fields: 0 }
    }

    /// Opens an event: a map whose first field is its type.
    pub(crate) fn event(encoding: Encoding, out: &'o mut Vec<u8>, kind: &'static str) -> Map<'o> {
        let mut map = Map::begin(encoding, out);
        map.text("type", kind);
        map
    }

    /// Writes a string.
    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        text(self.encoding, self.out, value);
    }

    /// Writes an integer.
    pub(crate) fn uint(&mut self, key: &'static str, value: u64) {
        self.key(key);
        uint(self.encoding, self.out, value);
    }

    /// Writes a boolean.
    pub(crate) fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        match (self.encoding, value) {
            (Encoding::Json, true) => self.out.extend_from_slice(b"true"),
            (Encoding::Json, false) => self.out.extend_from_slice(b"false"),
            (Encoding::MsgPack, true) => self.out.push(0xc3),
            (Encoding::MsgPack, false) => self.out.push(0xc2),
        }
    }

    /// Writes a payload.
    pub(crate) fn data(&mut self, key: &'static str, value: &Data) {
        self.key(key);
        value.write_to(self.encoding, self.out);
    }

    /// Writes a list of maps, whose fields `fill` writes.
    pub(crate) fn maps<T>(&mut self, key: &'static str, items: &[T], fill: impl Fn(&mut Map<'_>, &T)) {
        self.key(key);
        match self.encoding {
            Encoding::Json => self.out.push(b'['),
            Encoding::MsgPack => list_header(self.out, items.len()),
        }
        for (n, item) in items.iter().enumerate() {
            if n > 0 && self.encoding == Encoding::Json {
                self.out.push(b',');
            }
            let mut map = Map::begin(self.encoding, self.out);
            fill(&mut map, item);
            map.end();
        }
        if self.encoding == Encoding::Json {
            self.out.push(b']');
        }
    }

    /// Closes the map.
    pub(crate) fn end(self) {
        match self.encoding {
            Encoding::Json => self.out.push(b'}'),
            Encoding::MsgPack => {
                debug_assert!(self.fields <= 15, "the header is one byte");
                self.out[self.header] = 0x80 | self.fields;
            }
        }
    }

    fn key(&mut self, key: &'static str) {
        match self.encoding {
            Encoding::Json => {
                self.out.extend_from_slice(if self.fields == 0 { b"\"" } else { b",\"" });
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            Encoding::MsgPack => {
                str_header(self.out, key.len());
                self.out.extend_from_slice(key.as_bytes());
            }
        }
        self.fields += 1;
    }
}

/// Writes a string.
pub(super) fn text(encoding: Encoding, out: &mut Vec<u8>, value: &str) {
    match encoding {
        Encoding::Json => quote(out, value),
        Encoding::MsgPack => {
            str_header(out, value.len());
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// Writes an integer that is not negative, in MessagePack in its shortest form.
pub(super) fn uint(encoding: Encoding, out: &mut Vec<u8>, value: u64) {
    match encoding {
        Encoding::Json => decimal(out, value),
        Encoding::MsgPack => {
            let bytes = value.to_be_bytes();
            match value {
                0..=0x7f => out.push(bytes[7]),
                0x80..=0xff => out.extend_from_slice(&[0xcc, bytes[7]]),
                0x100..=0xffff => out.extend_from_slice(&[0xcd, bytes[6], bytes[7]]),
                0x1_0000..=0xffff_ffff => {
                    out.push(0xce);
                    out.extend_from_slice(&bytes[4..]);
                }
                _ => {
                    out.push(0xcf);
                    out.extend_from_slice(&bytes);
                }
            }
        }
    }
}

/// Writes an integer below zero, in MessagePack in its shortest form.
pub(super) fn negative(encoding: Encoding, out: &mut Vec<u8>, value: i64) {
    match encoding {
        Encoding::Json => {
            out.push(b'-');
            decimal(out, value.unsigned_abs());
        }
        Encoding::MsgPack => {
            let bytes = value.to_be_bytes();
            match value {
                -0x20.. => out.push(bytes[7]),
                -0x80..-0x20 => out.extend_from_slice(&[0xd0, bytes[7]]),
                -0x8000..-0x80 => out.extend_from_slice(&[0xd1, bytes[6], bytes[7]]),
                -0x8000_0000..-0x8000 => {
                    out.push(0xd2);
                    out.extend_from_slice(&bytes[4..]);
                }
                _ => {
                    out.push(0xd3);
                    out.extend_from_slice(&bytes);
                }
            }
        }
    }
}

/// Writes the header of a MessagePack string.
pub(super) fn str_header(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0x1f => out.push(0xa0 | len.to_be_bytes()[size_of::<usize>() - 1]),
        _ => sized(out, [0xd9, 0xda, 0xdb], len),
    }
}

/// Writes the header of MessagePack binary.
pub(super) fn bin_header(out: &mut Vec<u8>, len: usize) {
    sized(out, [0xc4, 0xc5, 0xc6], len);
}

fn list_header(out: &mut Vec<u8>, len: usize) {
    match u16::try_from(len) {
        Ok(len @ 0..=15) => out.push(0x90 | len.to_be_bytes()[1]),
        Ok(len) => {
            out.push(0xdc);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => sized(out, [0xdd; 3], len),
    }
}

/// Writes one of three tags, and a length in one, two or four bytes.
fn sized(out: &mut Vec<u8>, tags: [u8; 3], len: usize) {
    if let Ok(len) = u8::try_from(len) {
        out.extend_from_slice(&[tags[0], len]);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(tags[1]);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        // Messages are bounded far below 4 GiB.
        debug_assert!(u32::try_from(len).is_ok(), "a length of 32 bits");
        out.push(tags[2]);
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Writes a JSON string.
pub(super) fn quote(out: &mut Vec<u8>, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = value.as_bytes();
    out.push(b'"');
    let mut done = 0;
    loop {
        let at = super::json::plain_end(bytes, done);
        out.extend_from_slice(&bytes[done..at]);
        let Some(&byte) = bytes.get(at) else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 0x0f)]);
            }
        }
        done = at + 1;
    }
    out.push(b'"');
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10).to_be_bytes()[7];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
