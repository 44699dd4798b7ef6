//! A MessagePack scanner: one pass, no recursion, and no memory for what headers announce.

use std::borrow::Cow;
use std::str;

use super::scan::{DEPTH_MAX, Flaw, Key, Malformed, Scan, Scanned};
use super::{Encoding, Fault};

/// A position in MessagePack bytes.
#[derive(Debug, Clone)]
pub(super) struct MsgPack<'a> {
    bytes: &'a [u8],
    /// `at <= bytes.len()`
    at: usize,
}

/// The first bytes of a value, and its content where that has no values inside.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    /// Any signed form; not always negative.
    Int(i64),
    F32(f32),
    F64(f64),
    /// Not yet known to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// This many values follow.
    List(u32),
    /// This many keys with a value each follow.
    Map(u32),
    Ext,
}

impl<'a> Scan<'a> for MsgPack<'a> {
    const ENCODING: Encoding = Encoding::MsgPack;
    /// How many entries are still to come.
    type Open = u32;

    fn new(bytes: &'a [u8]) -> MsgPack<'a> {
        MsgPack { bytes, at: 0 }
    }

    fn map(&mut self) -> Option<u32> {
        self.enter(|head| if let Head::Map(len) = head { Some(len) } else { None })
    }

    fn list(&mut self) -> Option<u32> {
        self.enter(|head| if let Head::List(len) = head { Some(len) } else { None })
    }

    fn key(&mut self, left: &mut u32) -> Result<Option<Key<'a>>, Malformed> {
        if *left == 0 {
            return Ok(None);
        }
        *left -= 1;
        Ok(Some(match self.head()? {
            Head::Str(bytes) => Key::Text(Cow::Borrowed(bytes)),
            other => {
                self.skip_values(values_inside(other))?;
                Key::Other
            }
        }))
    }

    fn item(&mut self, left: &mut u32) -> Result<bool, Malformed> {
        let more = *left > 0;
        *left -= u32::from(more);
        Ok(more)
    }

    fn position(&mut self) -> usize {
        self.at
    }

    fn value(&mut self) -> Result<Scanned<'a>, Malformed> {
        let start = self.at;
        let flaw = self.skip()?;
        Ok(Scanned { bytes: &self.bytes[start..self.at], flaw })
    }

    fn end(&mut self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    fn text(value: &'a [u8]) -> Option<Cow<'a, str>> {
        match MsgPack::new(value).head() {
            Ok(Head::Str(bytes)) => text(bytes).map(Cow::Borrowed),
            _ => None,
        }
    }

    fn uint(value: &[u8]) -> Option<u64> {
        match MsgPack::new(value).head() {
            Ok(Head::Uint(value)) => Some(value),
            Ok(Head::Int(value)) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    fn boolean(value: &[u8]) -> Option<bool> {
        match MsgPack::new(value).head() {
            Ok(Head::Bool(value)) => Some(value),
            _ => None,
        }
    }
}

impl<'a> MsgPack<'a> {
    pub(super) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    fn enter(&mut self, wanted: impl Fn(Head<'a>) -> Option<u32>) -> Option<u32> {
        let mut ahead = self.clone();
        let len = wanted(ahead.head().ok()?)?;
        *self = ahead;
        Some(len)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        match taken {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            // Something is missing at the end, wherever it was announced.
            None => Err(Malformed { at: self.bytes.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(Malformed { at: self.bytes.len() }),
        }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads the first bytes of a value; of a string, binary or extension all of it.
    #[inline]
    pub(super) fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let at = self.at;
        let tag = self.u8()?;
        Ok(match tag {
            0x00..=0x7f => Head::Uint(u64::from(tag)),
            0x80..=0x8f => Head::Map(u32::from(tag & 0x0f)),
            0x90..=0x9f => Head::List(u32::from(tag & 0x0f)),
            0xa0..=0xbf => Head::Str(self.take(usize::from(tag & 0x1f))?),
            0xc0 => Head::Nil,
            // Never used, says the specification.
            0xc1 => return Err(Malformed { at }),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4..=0xc6 => {
                let len = self.len(tag - 0xc4)?;
                Head::Bin(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.len(tag - 0xc7)?;
                self.u8()?;
                self.take(len)?;
                Head::Ext
            }
            0xca => Head::F32(f32::from_bits(self.u32()?)),
            0xcb => Head::F64(f64::from_bits(self.u64()?)),
            0xcc => Head::Uint(u64::from(self.u8()?)),
            0xcd => Head::Uint(u64::from(self.u16()?)),
            0xce => Head::Uint(u64::from(self.u32()?)),
            0xcf => Head::Uint(self.u64()?),
            0xd0 => Head::Int(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Head::Int(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Head::Int(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Head::Int(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => {
                self.take(1 + (1 << (tag - 0xd4)))?;
                Head::Ext
            }
            0xd9..=0xdb => {
                let len = self.len(tag - 0xd9)?;
                Head::Str(self.take(len)?)
            }
            0xdc => Head::List(u32::from(self.u16()?)),
            0xdd => Head::List(self.u32()?),
            0xde => Head::Map(u32::from(self.u16()?)),
            0xdf => Head::Map(self.u32()?),
            0xe0..=0xff => Head::Int(i64::from(i8::from_be_bytes([tag]))),
        })
    }

    /// A length in one, two or four bytes.
    fn len(&mut self, width: u8) -> Result<usize, Malformed> {
        match width {
            0 => self.u8().map(usize::from),
            1 => self.u16().map(usize::from),
            // A length beyond the address space is beyond the input as well.
            _ => self.u32().map(|len| usize::try_from(len).unwrap_or(usize::MAX)),
        }
    }

    /// Steps over one value and returns its first flaw.
    fn skip(&mut self) -> Result<Option<Flaw>, Malformed> {
        if self.skip_short_text() {
            return Ok(None);
        }
        let at = self.at;
        let (left, map) = match self.head()? {
            Head::List(len) => (len, false),
            Head::Map(len) => (len, true),
            scalar => return Ok(flaw_of(scalar, 0).map(|fault| Flaw { fault, at })),
        };
        let mut flaw = None;
        self.skip_inside(left, map, &mut flaw)?;
        Ok(flaw)
    }

    /// Steps over the content of a map or list of the outermost level.
    fn skip_inside(&mut self, left: u32, map: bool, flaw: &mut Option<Flaw>) -> Result<(), Malformed> {
        let mut found = |fault, at| Flaw::note(flaw, fault, at);
        let mut level = Level { left, map };
        let mut around = Around::default();
        loop {
            while level.left == 0 {
                match around.pop() {
                    Some(outer) => level = outer,
                    None => return Ok(()),
                }
            }
            level.left -= 1;
            if level.map && !self.skip_short_text() {
                let at = self.at;
                match self.head()? {
                    Head::Str(bytes) => {
                        if text(bytes).is_none() {
                            found(Fault::Utf8, at);
                        }
                    }
                    other => {
                        found(Fault::Key, at);
                        self.skip_values(values_inside(other))?;
                    }
                }
            }
            if self.skip_short_text() {
                continue;
            }
            let at = self.at;
            let head = self.head()?;
            match head {
                Head::List(left) | Head::Map(left) if around.len + 1 < DEPTH_MAX => {
                    around.push(level);
                    level = Level { left, map: matches!(head, Head::Map(_)) };
                }
                Head::List(_) | Head::Map(_) => {
                    found(Fault::TooDeep, at);
                    self.skip_values(values_inside(head))?;
                }
                scalar => {
                    if let Some(fault) = flaw_of(scalar, around.len + 1) {
                        found(fault, at);
                    }
                }
            }
        }
    }

    /// Steps over a short string of ASCII, which is most of what comes and has no flaw.
    fn skip_short_text(&mut self) -> bool {
        let Some(tag @ 0xa0..=0xbf) = self.bytes.get(self.at) else {
            return false;
        };
        let start = self.at + 1;
        let end = start + usize::from(tag & 0x1f);
        let short = self.bytes.get(start..end).is_some_and(<[u8]>::is_ascii);
        if short {
            self.at = end;
        }
        short
    }

    /// Steps over this many values and all they hold, and keeps count only: for what is flawed anyway.
    fn skip_values(&mut self, mut left: u64) -> Result<(), Malformed> {
        while left > 0 {
            // Each header takes a byte of input, so the sum stays below 2^33 times its length.
            left = left.saturating_add(values_inside(self.head()?)) - 1;
        }
        Ok(())
    }
}

/// A map or list that the scanner is in.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Entries to come.
    left: u32,
    map: bool,
}

/// The levels around the innermost one: a few in place, for clearing room for all of them would
/// cost more than most payloads.
#[derive(Default)]
struct Around {
    /// `len <= DEPTH_MAX`
    len: usize,
    near: [Level; 8],
    far: Vec<Level>,
}

impl Around {
    fn push(&mut self, level: Level) {
        match self.near.get_mut(self.len) {
            Some(place) => *place = level,
            None => self.far.push(level),
        }
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Level> {
        self.len = self.len.checked_sub(1)?;
        self.near.get(self.len).copied().or_else(|| self.far.pop())
    }
}

/// The text of a string, if it is UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

fn values_inside(head: Head<'_>) -> u64 {
    match head {
        Head::List(len) => u64::from(len),
        Head::Map(len) => 2 * u64::from(len),
        _ => 0,
    }
}

/// What is wrong with a value without values inside, `depth` levels deep.
fn flaw_of(scalar: Head<'_>, depth: usize) -> Option<Fault> {
    match scalar {
        Head::F32(value) if !value.is_finite() => Some(Fault::Number),
        Head::F64(value) if !value.is_finite() => Some(Fault::Number),
        Head::Str(bytes) if text(bytes).is_none() => Some(Fault::Utf8),
        // Binary is a map in JSON, and so one level deeper there.
        Head::Bin(_) if depth == DEPTH_MAX => Some(Fault::TooDeep),
        Head::Ext => Some(Fault::Extension),
        _ => None,
    }
}
