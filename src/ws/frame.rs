//! Outgoing frames, as finished bytes.
//!
//! A frame that a server sends is a short head and the payload as it is: nothing is masked
//! (RFC 6455, 5.1) and nothing is split. So the bytes can be made once and shared by every
//! connection that is sent them. What goes into a payload is left to the caller.

use std::ops::Deref;

use super::CloseCode;

/// The kinds of frame of RFC 6455, 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further part of a message in several frames.
    Continuation = 0x0,
    /// A message of UTF-8 text.
    Text = 0x1,
    /// A message of any bytes.
    Binary = 0x2,
    /// The start of, or the answer to, the closing handshake.
    Close = 0x8,
    /// Asks for a [`Pong`](Opcode::Pong) with the same payload.
    Ping = 0x9,
    /// The answer to a [`Ping`](Opcode::Ping), or a sign of life that nobody asked for.
    Pong = 0xA,
}

/// The bytes of a frame that stand before its payload: 2, 4 or 10 of them.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
}

impl Head {
    /// The same, for a message that is compressed (RFC 7692, 6).
    #[must_use]
    pub fn deflated(mut self) -> Self {
        self.bytes[0] |= RSV1;
        self
    }
}

impl Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Makes the head of a frame that is a whole message (FIN set) and is not masked.
///
/// # Examples
///
/// ```
/// use fanfare::ws::{Opcode, head};
///
/// assert_eq!(*head(Opcode::Text, 5), [0x81, 5]);
/// assert_eq!(*head(Opcode::Binary, 256), [0x82, 126, 1, 0]);
/// ```
#[must_use]
pub fn head(opcode: Opcode, payload_len: usize) -> Head {
    let mut bytes = [0; HEAD_BYTES_MAX];
    bytes[0] = FIN | opcode as u8;
    // RFC 6455, 5.2: the minimal number of bytes MUST be used to encode the length.
    let len = match payload_len {
        0..=125 => {
            bytes[1] = payload_len as u8;
            2
        }
        126..=0xFFFF => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            10
        }
    };
    Head { bytes, len }
}

/// Appends a frame that is a whole message.
///
/// Control frames (close, ping, pong) may carry at most [`CONTROL_PAYLOAD_BYTES_MAX`] bytes; the
/// caller sees to that.
pub fn push(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(
        !matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong) || payload.len() <= CONTROL_PAYLOAD_BYTES_MAX
    );
    let head = head(opcode, payload.len());
    out.reserve(head.len() + payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

/// Appends a close frame.
///
/// The reason is cut to the 123 bytes that there is room for, at the end of a character. A code
/// that must not be sent (see [`CloseCode::is_allowed_on_wire`]) makes a close frame without code
/// and reason, which the other side reports as [`CloseCode::NO_STATUS`].
pub fn push_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    if !CloseCode::is_allowed_on_wire(code.0) {
        push(out, Opcode::Close, &[]);
        return;
    }
    let mut end = reason.len().min(CONTROL_PAYLOAD_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    out.extend_from_slice(&head(Opcode::Close, 2 + reason.len()));
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// RFC 6455, 5.5: all control frames MUST have a payload length of 125 bytes or less.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Two bytes, and a length of eight.
const HEAD_BYTES_MAX: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a text message of `payload_len` bytes is `expected`.
    fn check(payload_len: usize, expected: &[u8]) {
        assert_eq!(*head(Opcode::Text, payload_len), *expected, "{payload_len} bytes");
    }

    #[test]
    fn rfc6455_5_2_lengths_take_the_fewest_bytes() {
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(0xFFFF, &[0x81, 126, 0xFF, 0xFF]);
        check(0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn rfc6455_5_7_an_unmasked_text_message() {
        let mut out = Vec::new();
        push(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn rfc6455_5_5_1_a_close_frame_has_code_and_reason() {
        let mut out = Vec::new();
        push_close(&mut out, CloseCode::GOING_AWAY, "bye");
        assert_eq!(out, [0x88, 5, 0x03, 0xE9, b'b', b'y', b'e']);
    }

    #[test]
    fn rfc6455_5_5_a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        push_close(&mut out, CloseCode::NORMAL, &"é".repeat(100));
        assert_eq!(out[1], 124, "62 characters would be 124 bytes, 61 are 122");
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("é".repeat(61).as_str()));
    }

    #[test]
    fn rfc6455_7_4_1_codes_that_must_not_be_sent_are_left_out() {
        for code in [CloseCode::NO_STATUS, CloseCode::ABNORMAL, CloseCode(0)] {
            let mut out = Vec::new();
            push_close(&mut out, code, "never seen");
            assert_eq!(out, [0x88, 0]);
        }
    }
}
