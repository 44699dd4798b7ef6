//! A JSON scanner (RFC 8259): one pass, no recursion, no allocation up to 64 levels of nesting.
//!
//! Why not `serde_json`'s `RawValue`: it accepts any depth, lone surrogates and `1e400`, so a second
//! pass over the same bytes would have to tokenize them again. Property tests and fuzzing hold this
//! one to `serde_json`'s verdict.

use std::borrow::Cow;
use std::str;

use super::scan::{DEPTH_MAX, Flaw, Key, Malformed, Scan, Scanned};
use super::{Encoding, Fault};

/// A position in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    /// `at <= bytes.len()`
    at: usize,
}

/// Inside a map or list: whether its first entry is still to come.
#[derive(Debug, Clone)]
pub(super) struct Open {
    first: bool,
}

/// A string between its quotes, as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    pub(super) inside: &'a [u8],
    escaped: bool,
    flaw: Option<Flaw>,
}

impl<'a> Quoted<'a> {
    /// The text it stands for; `None` with a lone surrogate in it.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        if self.flaw.is_some() {
            return None;
        }
        let inside = str::from_utf8(self.inside).ok()?;
        if self.escaped { unescape(inside).map(Cow::Owned) } else { Some(Cow::Borrowed(inside)) }
    }
}

impl<'a> Scan<'a> for Json<'a> {
    const ENCODING: Encoding = Encoding::Json;
    type Open = Open;

    fn new(bytes: &'a [u8]) -> Json<'a> {
        Json { bytes, at: 0 }
    }

    fn map(&mut self) -> Option<Open> {
        self.enter(b'{')
    }

    fn list(&mut self) -> Option<Open> {
        self.enter(b'[')
    }

    fn key(&mut self, open: &mut Open) -> Result<Option<Key<'a>>, Malformed> {
        if !self.more(open, b'}')? {
            return Ok(None);
        }
        let name = self.name()?;
        if !name.escaped {
            return Ok(Some(Key::Text(Cow::Borrowed(name.inside))));
        }
        Ok(Some(name.text().map_or(Key::Other, |text| Key::Text(Cow::Owned(text.into_owned().into_bytes())))))
    }

    fn item(&mut self, open: &mut Open) -> Result<bool, Malformed> {
        self.more(open, b']')
    }

    fn position(&mut self) -> usize {
        self.space();
        self.at
    }

    fn value(&mut self) -> Result<Scanned<'a>, Malformed> {
        let start = self.position();
        let flaw = self.skip()?;
        Ok(Scanned { bytes: &self.bytes[start..self.at], flaw })
    }

    fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    fn text(value: &'a [u8]) -> Option<Cow<'a, str>> {
        let mut scan = Json::new(value);
        if scan.peek() == b'"' { scan.string().ok()?.text() } else { None }
    }

    fn uint(value: &[u8]) -> Option<u64> {
        // `1.0`, `1e2` and `-0` are floats here and in data alike.
        if value.first()?.is_ascii_digit() { str::from_utf8(value).ok()?.parse().ok() } else { None }
    }

    fn boolean(value: &[u8]) -> Option<bool> {
        match value {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }
}

impl<'a> Json<'a> {
    /// The next byte. At the end it is 0, which JSON allows nowhere.
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// The byte `ahead` of the next one; 0 beyond the end.
    pub(super) fn peek_at(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over one byte of punctuation if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    pub(super) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    fn enter(&mut self, bracket: u8) -> Option<Open> {
        self.space();
        self.take(bracket).then_some(Open { first: true })
    }

    /// Steps to the next entry, over the comma, or out of the map or list.
    fn more(&mut self, open: &mut Open, bracket: u8) -> Result<bool, Malformed> {
        self.space();
        let first = std::mem::replace(&mut open.first, false);
        if self.take(bracket) {
            Ok(false)
        } else if first || self.take(b',') {
            Ok(true)
        } else {
            Err(self.malformed())
        }
    }

    /// Reads a key and the colon after it.
    pub(super) fn name(&mut self) -> Result<Quoted<'a>, Malformed> {
        self.space();
        if self.peek() != b'"' {
            return Err(self.malformed());
        }
        let name = self.string()?;
        self.space();
        if self.take(b':') { Ok(name) } else { Err(self.malformed()) }
    }

    /// Reads a string; its first quote comes next.
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Malformed> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        let mut flaw = None;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    let at = self.at;
                    let whole = self.escape()?;
                    if !whole && flaw.is_none() {
                        flaw = Some(Flaw { fault: Fault::LoneSurrogate, at });
                    }
                }
                _ => return Err(self.malformed()),
            }
        }
        let inside = &self.bytes[start..self.at];
        self.at += 1;
        Ok(Quoted { inside, escaped, flaw })
    }

    /// Steps over an escape sequence, and over the second one of a surrogate pair. Says whether it
    /// stands for a character.
    fn escape(&mut self) -> Result<bool, Malformed> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(true)
            }
            Some(b'u') => {
                let unit = self.unit(self.at).ok_or(self.malformed())?;
                self.at += 6;
                match unit {
                    0xd800..=0xdbff => {
                        let paired = matches!(self.unit(self.at), Some(0xdc00..=0xdfff));
                        self.at += if paired { 6 } else { 0 };
                        Ok(paired)
                    }
                    0xdc00..=0xdfff => Ok(false),
                    _ => Ok(true),
                }
            }
            _ => Err(self.malformed()),
        }
    }

    /// The UTF-16 unit of the `\uXXXX` that stands here.
    fn unit(&self, at: usize) -> Option<u16> {
        let [b'\\', b'u', digits @ ..] = self.bytes.get(at..at + 6)? else {
            return None;
        };
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | u16::try_from(char::from(digit).to_digit(16)?).ok()?))
    }

    /// Reads a number and says whether it is in range: integers of 64 bits, finite floats.
    pub(super) fn number(&mut self) -> Result<(Number<'a>, bool), Malformed> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut float = false;
        if self.take(b'.') {
            float = true;
            self.digits()?;
        }
        let mut exponent = 0;
        if self.take(b'e') || self.take(b'E') {
            float = true;
            let _sign = self.take(b'+') || self.take(b'-');
            exponent = self.digits()?;
        }
        let text = &self.bytes[start..self.at];
        // `-0` is a float, for no integer keeps its sign.
        let number = if float || text == b"-0" { Number::Float(text) } else { Number::Int(text) };
        let fits = match number {
            Number::Int(text) => text.len() <= 18 || number.int().is_some(),
            // At most 200 digits and two of exponent: below 10^299.
            Number::Float(text) => (text.len() <= 200 && exponent <= 2) || number.float().is_some_and(f64::is_finite),
        };
        Ok((number, fits))
    }

    fn digits(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(self.at - start) } else { Err(self.malformed()) }
    }

    pub(super) fn literal(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if self.bytes[self.at..].starts_with(text) {
            self.at += text.len();
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// Steps over one value and returns its first flaw.
    fn skip(&mut self) -> Result<Option<Flaw>, Malformed> {
        let mut flaw = None;
        let mut found = |fault, at| Flaw::note(&mut flaw, fault, at);
        let mut nesting = Nesting::default();
        loop {
            self.space();
            let at = self.at;
            match self.peek() {
                b'"' => {
                    if let Some(Flaw { fault, at }) = self.string()?.flaw {
                        found(fault, at);
                    }
                }
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    let map = bracket == b'{';
                    nesting.push(map);
                    if nesting.depth > DEPTH_MAX {
                        found(Fault::TooDeep, at);
                    }
                    self.space();
                    if self.peek() == if map { b'}' } else { b']' } {
                        self.at += 1;
                        nesting.pop();
                    } else {
                        if map && let Some(Flaw { fault, at }) = self.name()?.flaw {
                            found(fault, at);
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let (_, fits) = self.number()?;
                    if !fits {
                        found(Fault::Number, at);
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return Err(self.malformed()),
            }
            // A value has ended, and with it perhaps what it stands in.
            loop {
                if nesting.depth == 0 {
                    return Ok(flaw);
                }
                let map = nesting.in_map();
                self.space();
                if self.take(b',') {
                    if map && let Some(Flaw { fault, at }) = self.name()?.flaw {
                        found(fault, at);
                    }
                    break;
                }
                if !self.take(if map { b'}' } else { b']' }) {
                    return Err(self.malformed());
                }
                nesting.pop();
            }
        }
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number<'a> {
    Int(&'a [u8]),
    Float(&'a [u8]),
}

impl Number<'_> {
    /// Its value in 64 bits, signed or not.
    pub(super) fn int(self) -> Option<i128> {
        let (Number::Int(text) | Number::Float(text)) = self;
        let value = str::from_utf8(text).ok()?.parse().ok()?;
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
    }

    /// The nearest float, which may be infinite.
    pub(super) fn float(self) -> Option<f64> {
        let (Number::Int(text) | Number::Float(text)) = self;
        // Not `serde_json`: without its feature `float_roundtrip` it may miss the nearest one.
        str::from_utf8(text).ok()?.parse().ok()
    }
}

/// What stands around a value, a bit for each level: 1 in a map, 0 in a list.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost `depth % 64` levels (or 64 of them), the innermost in the lowest bit.
    inner: u64,
    /// Full words of the levels outside of those.
    outer: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, map: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(map);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.inner >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }

    fn in_map(&self) -> bool {
        self.inner & 1 == 1
    }
}

/// Where the run of bytes that a string may hold as they are ends: at a quote, a backslash, a
/// control character or the end of the input.
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at once: `(x - LOW) & !x & HIGH` marks the zero bytes of x. A borrow can mark a
    // wrong byte only above a right one, and the lowest mark is all that counts.
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (LOW * 0x22);
        let backslash = word ^ (LOW * 0x5c);
        let marks = (quote.wrapping_sub(LOW) & !quote
            | backslash.wrapping_sub(LOW) & !backslash
            | word.wrapping_sub(LOW * 0x20) & !word)
            & HIGH;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// The text that the inside of a string stands for; `None` with a lone surrogate in it.
fn unescape(inside: &str) -> Option<String> {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (character, len) = match *escape.as_bytes().get(1)? {
            b'u' => {
                let scan = Json::new(escape.as_bytes());
                match scan.unit(0)? {
                    high @ 0xd800..=0xdbff => {
                        let pair = [high, scan.unit(6)?];
                        (char::decode_utf16(pair).next()?.ok()?, 12)
                    }
                    unit => (char::from_u32(u32::from(unit))?, 6),
                }
            }
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            itself => (char::from(itself), 2),
        };
        text.push(character);
        rest = escape.get(len..)?;
    }
    text.push_str(rest);
    Some(text)
}
