//! The header of an incoming frame: whether RFC 6455 and the limits allow it.
//!
//! Pure: [`judge`] looks at the first bytes of a frame and at the message that the frame would be
//! part of. It says what is wrong as soon as the byte that is wrong has come.

use std::fmt;
use std::io;

use super::frame::CONTROL_PAYLOAD_BYTES_MAX;
use super::{CloseCode, Opcode, ReadLimits};

/// A breach of RFC 6455 or of the limits, and what the close frame shall say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

/// A lawful header, in full.
pub(super) struct Header {
    /// Bytes of the header itself.
    pub(super) size: usize,
    pub(super) fin: bool,
    pub(super) opcode: u8,
    /// Whether it begins a message that is compressed.
    pub(super) deflated: bool,
    /// Bytes of the payload that follows it.
    pub(super) payload: usize,
}

/// The data message of which frames have come, but not the last.
#[derive(Default)]
pub(super) struct Message {
    pub(super) open: bool,
    /// Whether it is compressed; false unless `open`.
    deflated: bool,
    /// 0 <= `bytes` <= what it may have; 0 unless `open`.
    pub(super) bytes: usize,
    /// 0 <= `fragments` <= `fragments_max`; 0 unless `open`.
    pub(super) fragments: usize,
}

/// What a header is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) limits: ReadLimits,
    /// Whether permessage-deflate has been agreed on.
    pub(super) deflate: bool,
}

/// Says whether the header that `bytes` begin with is lawful, as far as it has come; the header, if
/// it has come in full.
pub(super) fn judge(bytes: &[u8], message: &Message, rules: &Rules) -> Result<Option<Header>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    // RFC 6455, 5.2: RSV1, RSV2, RSV3 MUST be 0 unless an extension is negotiated that defines
    // meanings for non-zero values.
    let opcode = first & 0x0F;
    let defined = match opcode {
        // RFC 7692, 6: permessage-deflate defines RSV1 for the first frame of a message alone.
        0x1 | 0x2 if rules.deflate => RSV1,
        _ => 0,
    };
    if first & RSV & !defined != 0 {
        return Err(RESERVED_BIT);
    }
    let deflated = first & RSV1 != 0;
    let fin = first & FIN != 0;
    let is_control = opcode >= Opcode::Close as u8;
    match opcode {
        // RFC 6455, 5.4: a fragmented message is a frame with an opcode other than 0, followed by
        // frames with opcode 0; the fragments of one message MUST NOT be interleaved with those of
        // another.
        0x0 if !message.open => return Err(NOTHING_TO_CONTINUE),
        0x1 | 0x2 if message.open => return Err(INTERLEAVED),
        // RFC 6455, 5.5: control frames MUST NOT be fragmented.
        0x8..=0xA if !fin => return Err(FRAGMENTED_CONTROL),
        0x0..=0x2 | 0x8..=0xA => {}
        // RFC 6455, 5.2: if an unknown opcode is received, the connection MUST fail.
        _ => return Err(UNKNOWN_OPCODE),
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    // RFC 6455, 5.1: the server MUST close the connection upon receiving a frame that is not
    // masked.
    if second & MASKED == 0 {
        return Err(NOT_MASKED);
    }
    // RFC 6455, 5.2: the minimal number of bytes MUST be used to encode the length, and the most
    // significant bit of eight MUST be 0.
    let (size, payload) = match second & !MASKED {
        126 => {
            let Some(length) = bytes[2..].first_chunk() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*length);
            if length < 126 {
                return Err(LENGTH_NOT_MINIMAL);
            }
            (8, u64::from(length))
        }
        127 => {
            let Some(length) = bytes[2..].first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*length);
            if length >> 63 != 0 {
                return Err(LENGTH_TOP_BIT);
            }
            if length <= u64::from(u16::MAX) {
                return Err(LENGTH_NOT_MINIMAL);
            }
            (14, length)
        }
        length => (6, u64::from(length)),
    };
    if is_control {
        // RFC 6455, 5.5: all control frames MUST have a payload length of 125 bytes or less.
        if payload > CONTROL_PAYLOAD_BYTES_MAX as u64 {
            return Err(LONG_CONTROL);
        }
    } else {
        let bytes_max = rules.message_bytes_max(deflated || message.deflated);
        if payload > (bytes_max - message.bytes) as u64 {
            return Err(MESSAGE_TOO_BIG);
        }
        if message.fragments >= rules.limits.fragments_max.max(1) {
            return Err(TOO_MANY_FRAGMENTS);
        }
    }
    Ok((bytes.len() >= size).then_some(Header { size, fin, opcode, deflated, payload: payload as usize }))
}

/// Writes the header of a fragment of a long frame, and says how many bytes it has. `first` is its
/// first byte.
pub(super) fn write_header(out: &mut [u8], first: u8, payload: usize, key: [u8; KEY_BYTES]) -> usize {
    debug_assert!(payload <= usize::from(u16::MAX));
    out[0] = first;
    let size = if payload < 126 {
        out[1] = MASKED | payload as u8;
        2
    } else {
        out[1] = MASKED | 126;
        out[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
        4
    };
    out[size..size + KEY_BYTES].copy_from_slice(&key);
    size + KEY_BYTES
}

impl Rules {
    /// The most that the frames of a message may hold together. Whether what is compressed fits shows
    /// when it is inflated; before that it may be a little longer, as what cannot be compressed is.
    pub(super) fn message_bytes_max(&self, deflated: bool) -> usize {
        let max = self.limits.message_bytes_max;
        // zlib's own bound for its smallest window and least memory is below it.
        if deflated { max.saturating_add(max / 8 + 64) } else { max }
    }
}

impl Message {
    /// Takes note of a frame that has been judged.
    pub(super) fn admit(&mut self, header: &Header) {
        if header.opcode >= Opcode::Close as u8 {
            return;
        }
        if header.fin {
            *self = Self::default();
        } else {
            self.open = true;
            self.deflated |= header.deflated;
            self.bytes += header.payload;
            self.fragments += 1;
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (close code {})", self.reason, self.code)
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

pub(super) const HEADER_BYTES_MAX: usize = 14;
pub(super) const KEY_BYTES: usize = 4;

pub(super) const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
pub(super) const RSV1: u8 = 0x40;
pub(super) const MASKED: u8 = 0x80;

const RESERVED_BIT: Violation = protocol("reserved bit set");
const UNKNOWN_OPCODE: Violation = protocol("unknown opcode");
const NOTHING_TO_CONTINUE: Violation = protocol("continuation of nothing");
const INTERLEAVED: Violation = protocol("message inside a fragmented message");
const FRAGMENTED_CONTROL: Violation = protocol("fragmented control frame");
const LONG_CONTROL: Violation = protocol("control frame longer than 125 bytes");
const NOT_MASKED: Violation = protocol("frame is not masked");
const LENGTH_NOT_MINIMAL: Violation = protocol("length is not in its shortest form");
const LENGTH_TOP_BIT: Violation = protocol("length has its top bit set");
pub(super) const MESSAGE_TOO_BIG: Violation = too_big("message too big");
const TOO_MANY_FRAGMENTS: Violation = too_big("message in too many fragments");

const fn protocol(reason: &'static str) -> Violation {
    let code = CloseCode::PROTOCOL;
    Violation { code, reason }
}

const fn too_big(reason: &'static str) -> Violation {
    let code = CloseCode::TOO_BIG;
    Violation { code, reason }
}
