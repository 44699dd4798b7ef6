//! The bytes that clients and servers of the benches share: frames and the handshake.
//!
//! Only what RFC 6455 makes of short, unfragmented messages; nothing here decides.

use std::io::{ErrorKind, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::Result;

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The example key of RFC 6455, 1.3, and what a server has to make of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame that stands complete in a buffer.
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) deflated: bool,
    /// Unmasked.
    pub(crate) payload: &'a mut [u8],
    /// Bytes of the whole frame, header included.
    pub(crate) bytes: usize,
}

/// The first frame of `bytes`, or `None` while it is not complete.
///
/// # Errors
///
/// When it is fragmented or has reserved bits that nobody asked for.
pub(crate) fn next_frame(bytes: &mut [u8]) -> Result<Option<Frame<'_>>> {
    let &[first, second, ..] = &*bytes else {
        return Ok(None);
    };
    if first & 0xb0 != 0x80 {
        return Err(format!("a frame begins with {first:#04x}").into());
    }
    let (len, mut head) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(&[a, b]) => (usize::from(u16::from_be_bytes([a, b])), 4),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(long) => {
                let long = u64::from_be_bytes(long.try_into()?);
                (usize::try_from(long)?, 10)
            }
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        let Some(key) = bytes.get(head..head + 4) else {
            return Ok(None);
        };
        mask = Some(<[u8; 4]>::try_from(key)?);
        head += 4;
    }
    let end = head.checked_add(len).ok_or("a frame without end")?;
    let Some(payload) = bytes.get_mut(head..end) else {
        return Ok(None);
    };
    if let Some(mask) = mask {
        apply(mask, payload);
    }
    Ok(Some(Frame { opcode: first & 0x0f, deflated: first & 0x40 != 0, payload, bytes: end }))
}

/// Appends a frame as a server sends it: unmasked.
pub(crate) fn push_server_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_head(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// Appends a frame as a client sends it: masked.
pub(crate) fn push_client_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    push_head(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    apply(MASK, &mut out[start..]);
}

fn push_head(opcode: u8, len: usize, masked: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    if let Ok(short @ 0..=125) = u8::try_from(len) {
        out.push(masked | short);
    } else if let Ok(long) = u16::try_from(len) {
        out.push(masked | 126);
        out.extend_from_slice(&long.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The request that opens a connection.
pub(crate) fn upgrade(host: &str, deflate: bool) -> String {
    let deflate = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: fanfare.v1.json\r\n{deflate}\r\n"
    )
}

/// The answer to a client that is trusted to have asked for the right thing.
///
/// # Errors
///
/// When it has sent no key.
pub(crate) fn accepted(head: &[u8]) -> Result<String> {
    const NAME: &[u8] = b"Sec-WebSocket-Key: ";
    let at = find(head, NAME).ok_or("an upgrade without a key")? + NAME.len();
    let key = head[at..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    // RFC 6455, 4.2.2: the key and this, hashed.
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: fanfare.v1.json\r\n\r\n",
        STANDARD.encode(digest)
    ))
}

/// Bytes of the HTTP head at the start of `bytes`, once it is complete.
pub(crate) fn http_head(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// # Errors
///
/// When the answer to [`upgrade`] is not the one that RFC 6455, 4.2.2 asks for.
pub(crate) fn check_accepted(head: &[u8]) -> Result<()> {
    if head.starts_with(b"HTTP/1.1 101 ") && find(head, ACCEPT.as_bytes()).is_some() {
        return Ok(());
    }
    let head = String::from_utf8_lossy(head);
    Err(format!("the upgrade was refused: {}", head.trim_end()).into())
}

/// The number behind the first `key` in `payload`.
pub(crate) fn number_after(payload: &[u8], key: &[u8]) -> Option<u64> {
    let at = find(payload, key)? + key.len();
    number(&payload[at..])
}

/// The decimal number that `text` begins with.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut any = false;
    let value = digits.fold(0u64, |value, digit| {
        any = true;
        value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    any.then_some(value)
}

pub(crate) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Reads once, behind the `rest` of earlier reads, and hands all of it to `take`, which says how much it
/// used; what it did not becomes the new `rest`. Returns `false` once the peer has closed.
///
/// One buffer serves all connections; one that waits for nothing half received holds no memory.
pub(crate) fn read_through(
    mut stream: impl Read,
    rest: &mut Vec<u8>,
    buffer: &mut [u8],
    take: impl FnOnce(&mut [u8]) -> Result<usize>,
) -> Result<bool> {
    let kept = rest.len();
    let room = buffer.get_mut(kept..).filter(|room| !room.is_empty());
    let room = room.ok_or("a frame larger than the buffer")?;
    let read = match stream.read(room) {
        Ok(0) => return Ok(false),
        Ok(read) => read,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    buffer[..kept].copy_from_slice(rest);
    let filled = kept + read;
    let used = take(&mut buffer[..filled])?;
    if used == filled {
        *rest = Vec::new();
    } else {
        rest.clear();
        rest.extend_from_slice(&buffer[used..filled]);
    }
    Ok(true)
}
