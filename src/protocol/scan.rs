//! What a reader of either encoding can do: walk an envelope, and check a value in one pass.
//!
//! A scanner borrows its input and hands out the exact slices of it. It keeps two kinds of wrong
//! apart: [`Malformed`] input is not a value of the encoding at all; a [`Flaw`] is a well-formed
//! value that the other encoding (or any client) could not take.

use std::borrow::Cow;

use super::{Encoding, Fault};

/// How many maps and lists may stand inside each other in one value.
pub(super) const DEPTH_MAX: usize = 128;

/// The input is not a value of its encoding, seen at this byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) at: usize,
}

/// The first reason why a well-formed value cannot be carried, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) fault: Fault,
    pub(super) at: usize,
}

impl Flaw {
    /// Keeps the first flaw; one of depth goes before all others, for it counts outside of data too.
    pub(super) fn note(first: &mut Option<Flaw>, fault: Fault, at: usize) {
        let weightier = fault == Fault::TooDeep && first.is_some_and(|first| first.fault != Fault::TooDeep);
        if first.is_none() || weightier {
            *first = Some(Flaw { fault, at });
        }
    }
}

/// One well-formed value: its exact bytes, without space around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) flaw: Option<Flaw>,
}

/// A reader of one encoding. JSON's input is UTF-8 already.
pub(super) trait Scan<'a>: Sized {
    const ENCODING: Encoding;

    /// Where the scanner stands inside a map or list that it has entered.
    type Open;

    fn new(bytes: &'a [u8]) -> Self;

    /// Steps into the map that comes next; `None` if something else comes next.
    fn map(&mut self) -> Option<Self::Open>;

    /// Steps into the list that comes next; `None` if something else comes next.
    fn list(&mut self) -> Option<Self::Open>;

    /// Reads the next key of a map, or its end. A value must be read after each key.
    fn key(&mut self, open: &mut Self::Open) -> Result<Option<Key<'a>>, Malformed>;

    /// Whether a list has another item, which must then be read; at its end steps out of it.
    fn item(&mut self, open: &mut Self::Open) -> Result<bool, Malformed>;

    /// Where the next value begins, counted from the first byte of the input.
    fn position(&mut self) -> usize;

    /// Reads one value of any kind, whatever its depth.
    fn value(&mut self) -> Result<Scanned<'a>, Malformed>;

    /// Holds that nothing follows.
    fn end(&mut self) -> Result<(), Malformed>;

    /// The text of a scanned value, if it is a string of Unicode characters.
    fn text(value: &'a [u8]) -> Option<Cow<'a, str>>;

    /// The number of a scanned value, if it is an integer that is not negative.
    fn uint(value: &[u8]) -> Option<u64>;

    /// The truth of a scanned value, if it is a boolean.
    fn boolean(value: &[u8]) -> Option<bool>;
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A string. Known keys are told by their bytes, which spares each a check for UTF-8.
    Text(Cow<'a, [u8]>),
    /// Something else than a string of Unicode characters.
    Other,
}

/// Checks that the input is one value and nothing else.
pub(super) fn whole<'a, S: Scan<'a>>(input: &'a [u8]) -> Result<Scanned<'a>, Malformed> {
    let mut scan = S::new(input);
    let scanned = scan.value()?;
    scan.end()?;
    Ok(scanned)
}
