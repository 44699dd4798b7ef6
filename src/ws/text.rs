//! Text of a peer that is known to be UTF-8.
//!
//! Text is checked once, as it comes in, and keeps the proof in its type. A message in several
//! fragments is checked fragment by fragment, so that a bad one is refused at once and not when
//! the last byte has come (RFC 6455, 8.1).

use std::fmt;
use std::ops::Deref;
use std::str;
use std::sync::Arc;

use bytes::Bytes;

/// A text message: UTF-8 that is shared, and cheap to clone.
///
/// It owns exactly its own bytes, so holding on to it holds on to nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Utf8Bytes(Arc<str>);

impl Utf8Bytes {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same memory as [`Bytes`]: nothing is copied, and slices of [`as_str`](Self::as_str)
    /// can be turned into slices of it with [`Bytes::slice_ref`].
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        struct Owner(Arc<str>);

        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        Bytes::from_owner(Owner(Arc::clone(&self.0)))
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.to_bytes()
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A text message of which fragments have come.
#[derive(Debug, Default)]
pub(super) struct PartialText {
    text: String,
    /// A character that is cut at the end of what has come is `cut[..cut_len]`; 0 <= `cut_len` < 4.
    cut: [u8; 4],
    cut_len: usize,
}

/// The bytes are not UTF-8, whatever follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

impl PartialText {
    /// Takes a further fragment.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] as soon as no continuation could make the text valid.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), InvalidUtf8> {
        while self.cut_len > 0 {
            let Some((&next, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.cut[self.cut_len] = next;
            self.cut_len += 1;
            match str::from_utf8(&self.cut[..self.cut_len]) {
                Ok(character) => {
                    self.text.push_str(character);
                    self.cut_len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                // No character has more than four bytes: four are valid or they are not.
                Err(_) => {}
            }
        }
        match simdutf8::compat::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            Err(error) => {
                let (whole, cut) = bytes.split_at(error.valid_up_to());
                self.text.push_str(simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?);
                self.cut[..cut.len()].copy_from_slice(cut);
                self.cut_len = cut.len();
            }
        }
        Ok(())
    }

    /// Ends the message.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] if it ends inside a character.
    pub(super) fn finish(self) -> Result<Utf8Bytes, InvalidUtf8> {
        if self.cut_len > 0 {
            return Err(InvalidUtf8);
        }
        Ok(self.text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All the ways to cut `bytes` into three give the same as the standard library.
    fn check(bytes: &[u8]) {
        let expected = str::from_utf8(bytes).map_err(|_| InvalidUtf8);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut partial = PartialText::default();
                let found = [&bytes[..first], &bytes[first..second], &bytes[second..]]
                    .iter()
                    .try_for_each(|part| partial.push(part))
                    .and_then(|()| partial.finish());
                assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn rfc6455_8_1_text_in_pieces_is_what_it_is_in_one() {
        check(b"");
        check(b"plain");
        check("a\u{e9}\u{20ac}\u{10ffff}z".as_bytes());
        check(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited");
        check(b"\xf4\x90\x80\x80");
        check(b"\xc0\xaf");
        check(b"ends inside \xe2\x82");
        check(b"\x80 starts inside");
    }

    #[test]
    fn rfc6455_8_1_a_bad_byte_is_refused_before_the_rest_comes() {
        let mut partial = PartialText::default();
        assert_eq!(partial.push(b"\xf4"), Ok(()));
        assert_eq!(partial.push(b"\x90"), Err(InvalidUtf8));
    }

    #[test]
    fn bytes_share_the_memory_of_the_text() {
        let text = Utf8Bytes::from("one two");
        let bytes = text.to_bytes();
        assert_eq!(bytes.as_ptr(), text.as_str().as_ptr());
        assert_eq!(bytes.slice_ref(&text.as_bytes()[4..]), "two");
    }
}
