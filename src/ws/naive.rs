//! RFC 6455 and RFC 7692 read slowly and obviously, from a stream that has come in full: the judge of
//! [`Reader`](super::Reader) and of the gate in tests and under fuzzing.

use std::ops::Range;

use bytes::Bytes;

use super::header::Rules;
use super::inflate::{History, InflateError, inflate};
use super::{CloseCode, Incoming};

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Violation(u16),
    Eof {
        mid_message: bool,
    },
    /// It ends inside a frame of text, and what has come is not UTF-8: whoever looks at a frame
    /// before it has come in full finds 1007, others the end of the stream.
    EofInBadText,
    /// A close frame: what follows is not read.
    Closed,
}

/// All that is in `stream`.
pub(super) fn read(stream: &[u8], rules: Rules) -> (Vec<Incoming>, End) {
    let mut events = Vec::new();
    let end = read_into(&mut events, &mut Vec::new(), stream, rules);
    (events, end)
}

/// The places in `stream` before which there are whole messages and nothing else.
pub(super) fn rests(stream: &[u8], rules: Rules) -> Vec<usize> {
    let mut rests = Vec::new();
    read_into(&mut Vec::new(), &mut rests, stream, rules);
    rests
}

/// A message of which frames have come.
#[derive(Clone, Copy, Default)]
struct Kind {
    is_text: bool,
    is_deflated: bool,
}

fn read_into(events: &mut Vec<Incoming>, rests: &mut Vec<usize>, mut stream: &[u8], rules: Rules) -> End {
    let stream_len = stream.len();
    let mut message: Option<(Kind, Vec<u8>, usize)> = None;
    loop {
        if message.is_none() {
            rests.push(stream_len - stream.len());
        }
        if stream.is_empty() {
            return End::Eof { mid_message: message.is_some() };
        }
        let cut = End::Eof { mid_message: true };

        let fin = stream[0] >= 128;
        let opcode = stream[0] % 16;
        let is_control = opcode >= 8;
        let has_rsv1 = stream[0] & 0x40 != 0;
        if stream[0] & 0x30 != 0
            || has_rsv1 && !(rules.deflate && (opcode == 1 || opcode == 2))
            || ![0, 1, 2, 8, 9, 10].contains(&opcode)
            || is_control && !fin
            || opcode == 0 && message.is_none()
            || (opcode == 1 || opcode == 2) && message.is_some()
        {
            return End::Violation(1002);
        }

        if stream.len() < 2 {
            return cut;
        }
        if stream[1] < 128 {
            return End::Violation(1002);
        }
        let length_size = match stream[1] - 128 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if stream.len() < 2 + length_size {
            return cut;
        }
        let length = match length_size {
            0 => u128::from(stream[1] - 128),
            size => stream[2..2 + size].iter().fold(0, |length, &byte| length * 256 + u128::from(byte)),
        };
        if length_size == 2 && length < 126
            || length_size == 8 && !(65_536..1 << 63).contains(&length)
            || is_control && length > 125
        {
            return End::Violation(1002);
        }
        let so_far = message.as_ref().map_or(0, |(_, bytes, _)| bytes.len());
        let fragments = message.as_ref().map_or(0, |(_, _, fragments)| *fragments);
        let kind = match &message {
            Some((kind, _, _)) => *kind,
            None => Kind { is_text: opcode == 1, is_deflated: has_rsv1 },
        };
        if !is_control
            && (so_far as u128 + length > rules.message_bytes_max(kind.is_deflated) as u128
                || fragments + 1 > rules.limits.fragments_max.max(1))
        {
            return End::Violation(1009);
        }

        stream = &stream[2 + length_size..];
        if stream.len() < 4 {
            return cut;
        }
        let (key, rest) = stream.split_at(4);
        let came = rest.len().min(length as usize);
        let mut payload = rest[..came].to_vec();
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[at % 4];
        }
        // What is compressed is text or not once it has been inflated.
        let is_text = !is_control && kind.is_text && !kind.is_deflated;
        if came < length as usize {
            if is_text {
                let mut text = message.map_or(Vec::new(), |(_, bytes, _)| bytes);
                text.extend(payload);
                if is_hopeless(&text) {
                    return End::EofInBadText;
                }
            }
            return cut;
        }
        stream = &rest[came..];

        match opcode {
            8 => {
                let end = match payload.len() {
                    0 => Ok(None),
                    1 => Err(1002),
                    _ => {
                        let code = u16::from_be_bytes([payload[0], payload[1]]);
                        match String::from_utf8(payload[2..].to_vec()) {
                            _ if !CloseCode::is_allowed_on_wire(code) => Err(1002),
                            Ok(reason) => Ok(Some((CloseCode(code), reason))),
                            Err(_) => Err(1007),
                        }
                    }
                };
                return match end {
                    Ok(close) => {
                        events.push(Incoming::Close(close));
                        End::Closed
                    }
                    Err(code) => End::Violation(code),
                };
            }
            9 => events.push(Incoming::Ping(payload.into())),
            10 => events.push(Incoming::Pong(payload.into())),
            _ => {
                let (_, bytes, fragments) = message.get_or_insert_with(|| (kind, Vec::new(), 0));
                bytes.extend(payload);
                *fragments += 1;
                if is_text && is_hopeless(bytes) {
                    return End::Violation(1007);
                }
                if fin && let Some((_, bytes, _)) = message.take() {
                    let bytes = if kind.is_deflated {
                        match inflate(&bytes, &mut History::of(0), rules.limits.message_bytes_max, <[u8]>::to_vec) {
                            Ok(bytes) => bytes,
                            Err(InflateError::TooLong) => return End::Violation(1009),
                            Err(InflateError::Malformed) => return End::Violation(1007),
                        }
                    } else {
                        bytes
                    };
                    if kind.is_text {
                        match String::from_utf8(bytes) {
                            Ok(text) => events.push(Incoming::Text(text.into())),
                            Err(_) => return End::Violation(1007),
                        }
                    } else {
                        events.push(Incoming::Binary(Bytes::from(bytes)));
                    }
                }
            }
        }
    }
}

/// How many bytes the last frame of `stream` announces that have not come. The stream is known to
/// be lawful; a header that has not come in full announces nothing.
pub(super) fn outstanding(stream: &[u8]) -> usize {
    frames(stream).last().map_or(0, |frame| frame.end.saturating_sub(stream.len()))
}

/// Where the frames of a lawful stream are, the last of them perhaps beyond its end. One whose header
/// has not come in full is none.
pub(super) fn frames(stream: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = stream.get(at..)?;
        let (length, header) = match rest {
            [_, second, high, low, ..] if second % 128 == 126 => (usize::from(u16::from_be_bytes([*high, *low])), 8),
            [_, second, rest @ ..] if second % 128 == 127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 14),
            [_, second, ..] if second % 128 < 126 => (usize::from(second % 128), 6),
            _ => return None,
        };
        if rest.len() < header {
            return None;
        }
        let frame = at..at + header + length;
        at = frame.end;
        Some(frame)
    })
}

/// Whether no continuation makes it UTF-8.
fn is_hopeless(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some())
}
