//! WebSocket frames as a client reads and writes them (RFC 6455, 5.2): read in place, written masked.

use thiserror::Error;

/// A frame that stands complete at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) fin: bool,
    pub(super) compressed: bool,
    pub(super) payload: &'a [u8],
    /// Bytes of all of it, header included.
    pub(super) bytes: usize,
}

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// What a server must not send.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a frame with reserved bits that nobody agreed on")]
    Reserved,
    #[error("a masked frame; servers do not mask")]
    Masked,
    #[error("a frame of {0} bytes, far longer than what was published")]
    TooLong(u64),
}

/// The first frame of `bytes`, or `None` while its end has not come.
///
/// # Errors
///
/// When it has no business here; one longer than `bytes_max` is never waited for.
#[inline]
pub(super) fn next(bytes: &[u8], bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let &[first, second, ..] = bytes else {
        return Ok(None);
    };
    if first & 0x30 != 0 {
        return Err(FrameError::Reserved);
    }
    if second & 0x80 != 0 {
        // RFC 6455, 5.1: "A server MUST NOT mask any frames that it sends to the client."
        return Err(FrameError::Masked);
    }
    let (len, head) = match second {
        126 => match bytes {
            &[_, _, a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 4),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|long| long.try_into().ok()) {
            Some(long) => (u64::from_be_bytes(long), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if len > bytes_max as u64 {
        return Err(FrameError::TooLong(len));
    }
    let end = head + len as usize;
    let Some(payload) = bytes.get(head..end) else {
        return Ok(None);
    };
    Ok(Some(Frame { opcode: first & 0x0f, fin: first & 0x80 != 0, compressed: first & 0x40 != 0, payload, bytes: end }))
}

/// Frames on their way to the server.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    mask: u32,
}

/// The longest header of a client's frame.
const HEAD_BYTES_MAX: usize = 14;

impl Outbox {
    /// Appends a frame whose payload `write` makes.
    pub(super) fn frame(&mut self, opcode: u8, write: impl FnOnce(&mut Vec<u8>)) {
        // The payload's length decides the header's: room is left for the longest, and what is left over goes.
        let start = self.bytes.len();
        self.bytes.resize(start + HEAD_BYTES_MAX, 0);
        write(&mut self.bytes);
        // RFC 6455, 5.3 wants masks that nobody can foresee, which protects proxies from hostile pages. There
        // is no page here, but a key that never changed would spare the server work that clients make.
        self.mask = self.mask.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let mask = self.mask.to_be_bytes();
        let payload = start + HEAD_BYTES_MAX;
        let len = self.bytes.len() - payload;
        apply(mask, &mut self.bytes[payload..]);
        let mut head = [0; HEAD_BYTES_MAX];
        head[0] = 0x80 | opcode;
        let used = match len {
            0..=125 => {
                head[1] = 0x80 | len as u8;
                2
            }
            126..=0xffff => {
                head[1] = 0x80 | 126;
                head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            _ => {
                head[1] = 0x80 | 127;
                head[2..10].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        head[used..used + 4].copy_from_slice(&mask);
        let used = used + 4;
        self.bytes[start..start + used].copy_from_slice(&head[..used]);
        self.bytes.copy_within(payload.., start + used);
        self.bytes.truncate(start + used + len);
    }

    pub(super) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.frame(TEXT, write);
    }

    pub(super) fn binary(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.frame(BINARY, write);
    }

    /// The farewell of a client that leaves as it should.
    pub(super) fn close(&mut self) {
        self.frame(CLOSE, |out| out.extend_from_slice(&1000_u16.to_be_bytes()));
    }
}

/// RFC 6455, 5.3, four bytes at a time.
fn apply(mask: [u8; 4], payload: &mut [u8]) {
    let mut fours = payload.chunks_exact_mut(4);
    for four in &mut fours {
        for (byte, key) in four.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in fours.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{BINARY, FrameError, Outbox, TEXT, next};
    use crate::ws;

    const MAX: usize = 1 << 20;

    #[test]
    fn what_the_server_writes_is_read_in_place() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; len];
            let mut bytes = Vec::new();
            ws::push(&mut bytes, ws::Opcode::Text, &payload);
            let frame = next(&bytes, MAX).expect("right").expect("complete");
            assert_eq!((frame.opcode, frame.fin, frame.compressed), (TEXT, true, false));
            assert_eq!((frame.payload.len(), frame.bytes), (len, bytes.len()));
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                assert_eq!(next(&bytes[..cut.min(bytes.len() - 1)], MAX), Ok(None));
            }
        }
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        assert_eq!(next(&[0x91, 0], MAX), Err(FrameError::Reserved));
        assert_eq!(next(&[0x81, 0x80], MAX), Err(FrameError::Masked));
        assert_eq!(next(&[0x81, 127, 0, 0, 0, 0, 0, 16, 0, 1], MAX), Err(FrameError::TooLong((1 << 20) + 1)));
        assert_eq!(next(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0], MAX), Err(FrameError::TooLong(255 << 56)));
    }

    #[tokio::test]
    async fn what_is_written_is_what_a_server_reads() {
        let mut out = Outbox::default();
        let lengths = [0, 1, 5, 125, 126, 1000, 65_535, 65_536];
        for len in lengths {
            out.frame(BINARY, |out| out.extend((0..len).map(|n| n as u8)));
        }
        let limits = ws::ReadLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
        let mut reader = ws::Reader::new(&out.bytes[..], limits);
        for len in lengths {
            let expected: Vec<u8> = (0..len).map(|n| n as u8).collect();
            match reader.next().await.expect("right") {
                ws::Incoming::Binary(bytes) => assert_eq!(bytes, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
