//! Compressed messages, inflated once for all subscribers that get the same bytes.
//!
//! A load generator that inflated each message of each subscriber would be what is measured. What was inflated
//! before is told by comparing all of its bytes, so that this checks as much as inflating again.

use thiserror::Error;

use crate::ws;

/// Messages that are remembered: more than can be on their way at the usual window.
const KNOWN_MAX: usize = 1024;

/// Longer ones are inflated each time instead of being remembered, which bounds what is remembered to 256 MiB.
const KNOWN_BYTES_MAX: usize = 128 * 1024;

/// What is not DEFLATE, or too long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a compressed message that cannot be inflated")]
pub(super) struct InflateError;

#[derive(Debug)]
pub(super) struct Inflater {
    known: Vec<Known>,
    /// The last one that is too long to be remembered.
    long: Vec<u8>,
    bytes_max: usize,
}

#[derive(Clone, Debug, Default)]
struct Known {
    deflated: Vec<u8>,
    text: Vec<u8>,
}

impl Inflater {
    /// For messages of up to so many bytes.
    pub(super) fn new(bytes_max: usize) -> Inflater {
        Inflater { known: Vec::new(), long: Vec::new(), bytes_max }
    }

    pub(super) fn inflate(&mut self, deflated: &[u8]) -> Result<&[u8], InflateError> {
        if self.known.is_empty() {
            self.known = vec![Known::default(); KNOWN_MAX];
        }
        let at = hash(deflated) as usize % KNOWN_MAX;
        if self.known[at].deflated != deflated || deflated.is_empty() {
            let (known, long) = (&mut self.known[at], &mut self.long);
            let is_long = ws::inflate_alone(deflated, self.bytes_max, |text| {
                let is_long = text.len() > KNOWN_BYTES_MAX;
                let out = if is_long { long } else { &mut known.text };
                out.clear();
                out.extend_from_slice(text);
                is_long
            });
            if is_long.ok_or(InflateError)? {
                return Ok(&self.long);
            }
            let known = &mut self.known[at];
            known.deflated.clear();
            known.deflated.extend_from_slice(deflated);
        }
        Ok(&self.known[at].text)
    }
}

/// FNV-1a over words: a few messages fall together, which costs inflating them again.
fn hash(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut value = 0xcbf2_9ce4_8422_2325_u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        value = (value ^ word).wrapping_mul(PRIME);
    }
    for byte in words.remainder() {
        value = (value ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    value ^ value >> 32
}

#[cfg(test)]
mod tests {
    use super::{InflateError, Inflater};
    use crate::ws;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        assert!(ws::push_deflated(&mut frame, ws::Opcode::Text, text, ws::Window::Bits12));
        let head = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        frame.split_off(head)
    }

    #[test]
    fn what_the_server_compresses_is_inflated() {
        let mut inflater = Inflater::new(1 << 20);
        for len in [300, 5_000, 200_000] {
            for turn in 0..3 {
                let text: Vec<u8> = (0..len).map(|n| b"orders and prices"[n % 17]).collect();
                assert_eq!(inflater.inflate(&deflated(&text)), Ok(&text[..]), "{len}, turn {turn}");
            }
        }
    }

    #[test]
    fn what_is_malformed_or_too_long_is_refused() {
        let mut inflater = Inflater::new(10_000);
        assert_eq!(inflater.inflate(&[0xff, 0xff, 0xff, 0xff]), Err(InflateError));
        let text = vec![b'x'; 10_001];
        assert_eq!(inflater.inflate(&deflated(&text)), Err(InflateError));
        assert_eq!(inflater.inflate(&deflated(&text[..10_000])), Ok(&text[..10_000]));
    }
}
