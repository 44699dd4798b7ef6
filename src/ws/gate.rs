//! What stands between the socket and the frame reader, and holds a peer to RFC 6455.
//!
//! A [`Gate`] is an [`AsyncRead`] that follows the headers of frames as the bytes pass. It works
//! in the buffer of whoever reads from it and promises two things about every byte it hands on:
//!
//! - The header that the byte belongs to obeys RFC 6455 and the limits. What came before a bad
//!   header is handed on first, then comes an error that holds a [`Violation`].
//! - A header is only handed on in full, and announces little more than what has come. The frame
//!   reader reserves what a header announces, so a long frame is presented as several fragments,
//!   each no longer than what has passed of the frame before it (or [`FRAGMENT_BYTES_MIN`]).
//!   What a peer makes this side reserve is thus at most about twice what it has sent.
//!
//! A message that is compressed begins, as the reader sees it, with a continuation of nothing: the
//! frame reader takes no reserved bit, and must not look for text in compressed bytes. What the
//! message is, text or not, goes to the reader through [`Deflated`].
//!
//! And it tells a pause from an idle connection: when nothing has come and all that came before
//! were whole messages, reading gives [`io::ErrorKind::WouldBlock`] instead of waiting, so that
//! whoever reads can let go of buffers. (A waker is registered then as well.)
//!
//! Payloads are not looked at. Masks, text and close frames are the reader's business.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, Take};

use super::header::{FIN, HEADER_BYTES_MAX, Header, KEY_BYTES, MASKED, Message, Rules, Violation, judge, write_header};
use super::{Opcode, ReadLimits};

/// A stream of frames of which only whole and lawful headers come out.
pub(super) struct Gate<R> {
    io: Take<R>,
    rules: Rules,
    /// Present if permessage-deflate has been agreed on.
    deflated: Option<Arc<Deflated>>,
    frame: Frame,
    message: Message,
    /// The start of a header that has not come in full.
    head: Bytes14,
    /// A header that is finished, but has not been taken.
    ready: Bytes14,
    /// Why no byte comes any more.
    violation: Option<Violation>,
}

/// The frame whose payload passes.
///
/// ```text
///  a long frame:     |<------- passed ------->|<---- due ---->|<------- later ------->|
///  as presented:     [ head, fragment ][ head,   fragment     ][ head, fragment ] ...
/// ```
struct Frame {
    /// Bytes of the presented fragment that have yet to pass.
    due: usize,
    /// Bytes of the frame that come in fragments yet to be presented. 0 for frames that are
    /// presented as they are.
    later: usize,
    /// Bytes of the frame in the fragments presented so far. Only kept while `later` > 0.
    presented: usize,
    /// FIN of the frame, for its last fragment.
    fin: bool,
    /// The masking key of the frame. It holds for all fragments, as all but the last have a
    /// length that is a multiple of its own.
    key: [u8; KEY_BYTES],
}

/// Which kinds of message the compressed ones are that the gate has let in and the reader has not come
/// to: text or binary, in order. No more than fit into the reader's buffer.
#[derive(Debug, Default)]
pub(super) struct Deflated(Mutex<VecDeque<Opcode>>);

impl Deflated {
    fn push(&self, kind: Opcode) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(kind);
    }

    pub(super) fn pop(&self) -> Option<Opcode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl<R: AsyncRead + Unpin> Gate<R> {
    pub(super) fn new(io: R, limits: ReadLimits, deflated: Option<Arc<Deflated>>) -> Self {
        Self {
            io: io.take(0),
            rules: Rules { limits, deflate: deflated.is_some() },
            deflated,
            frame: Frame { due: 0, later: 0, presented: 0, fin: true, key: [0; KEY_BYTES] },
            message: Message::default(),
            head: Bytes14::default(),
            ready: Bytes14::default(),
            violation: None,
        }
    }

    /// Whether everything that came has been handed on and was whole messages.
    fn is_at_rest(&self) -> bool {
        self.frame.due == 0
            && self.frame.later == 0
            && !self.message.open
            && self.head.is_empty()
            && self.ready.is_empty()
    }

    /// What reading says at the end of the stream.
    fn end(&self) -> Poll<io::Result<()>> {
        Poll::Ready(if self.is_at_rest() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) })
    }

    /// Reads once and follows what came. `Ok(0)` is the end of the stream; otherwise as many bytes
    /// were read, of which `buf` got all but those that the gate holds back.
    fn fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let at_header = self.frame.due == 0;
        if at_header && buf.remaining() <= HEADER_BYTES_MAX {
            return self.fill_head(cx);
        }
        // Inside a long frame nothing is read beyond the presented fragment, as a header has to
        // follow it that is not in the stream.
        self.io.set_limit(if self.frame.later > 0 { self.frame.due as u64 } else { READ_BYTES_MAX });
        let start = buf.filled().len();
        buf.put_slice(self.head.as_slice());
        let held = self.head.as_slice().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len() - start - held;
                let passed = if count == 0 {
                    0
                } else {
                    self.head.clear();
                    self.follow(&mut buf.filled_mut()[start..])
                };
                buf.set_filled(start + passed);
                Poll::Ready(Ok(count))
            }
            other => {
                buf.set_filled(start);
                other.map_ok(|()| 0)
            }
        }
    }

    /// As [`fill`](Self::fill), for when `buf` might have no room for a header: reads the bytes
    /// that the header lacks, and no more.
    fn fill_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.head.lacking());
        self.io.set_limit(room.remaining() as u64);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.head.grow(count);
        match judge(self.head.as_slice(), &self.message, &self.rules) {
            Ok(None) => {}
            Ok(Some(header)) => {
                let mut bytes = self.head.bytes;
                let len = self.enter(&header, &mut bytes, header.size);
                self.ready.set(&bytes[..len]);
                self.head.clear();
            }
            Err(violation) => self.violation = Some(violation),
        }
        Poll::Ready(Ok(count))
    }

    /// Follows the frames in `bytes`, which have just come, and gives back how many of them may be
    /// handed on.
    fn follow(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let run = self.frame.due.min(bytes.len() - at);
            self.frame.due -= run;
            at += run;
            if at == bytes.len() {
                return at;
            }
            let rest = &mut bytes[at..];
            match judge(rest, &self.message, &self.rules) {
                Ok(Some(header)) => {
                    let len = rest.len();
                    let kept = self.enter(&header, rest, len);
                    if self.frame.later > 0 {
                        // The rest is payload of this one frame.
                        self.frame.due -= len - header.size;
                        return at + kept;
                    }
                    at += header.size;
                }
                Ok(None) => {
                    self.head.set(rest);
                    return at;
                }
                Err(violation) => {
                    self.violation = Some(violation);
                    return at;
                }
            }
        }
    }

    /// Begins a frame: `bytes[..len]` are its header and what has come after it. Gives back how
    /// many bytes these are after a header that announced too much has been replaced.
    fn enter(&mut self, header: &Header, bytes: &mut [u8], len: usize) -> usize {
        self.message.admit(header);
        if let (true, Some(deflated)) = (header.deflated, &self.deflated) {
            deflated.push(if header.opcode == Opcode::Text as u8 { Opcode::Text } else { Opcode::Binary });
            // The kind and RSV1 go, FIN stays.
            bytes[0] &= FIN;
        }
        let came = len - header.size;
        self.frame.due = header.payload;
        if header.payload <= FRAGMENT_BYTES_MIN || header.payload <= came {
            return len;
        }
        let first = came.next_multiple_of(KEY_BYTES).max(FRAGMENT_BYTES_MIN);
        if header.payload <= first {
            return len;
        }
        self.frame = Frame {
            due: first,
            later: header.payload - first,
            presented: first,
            fin: header.fin,
            key: *bytes[..header.size].last_chunk().expect("a header ends with the masking key"),
        };
        let first_byte = bytes[0] & !FIN;
        let size = write_header(bytes, first_byte, first, self.frame.key);
        bytes.copy_within(header.size..len, size);
        size + came
    }

    /// Makes the header for the next fragment of a long frame.
    fn present(&mut self) {
        let frame = &mut self.frame;
        let len = frame.presented.min(FRAGMENT_BYTES_MAX).min(frame.later);
        frame.due = len;
        frame.later -= len;
        frame.presented += len;
        let first =
            if frame.later == 0 && frame.fin { FIN | Opcode::Continuation as u8 } else { Opcode::Continuation as u8 };
        let mut head = [0; HEADER_BYTES_MAX];
        let size = write_header(&mut head, first, len, frame.key);
        self.ready.set(&head[..size]);
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Gate<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let start = buf.filled().len();
        loop {
            if gate.frame.due == 0 && gate.frame.later > 0 {
                gate.present();
            }
            gate.ready.hand_out(buf);
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(violation) = gate.violation {
                // It stands behind all that was handed on, and nothing else is held.
                debug_assert_eq!(buf.filled().len(), start);
                return Poll::Ready(Err(violation.into()));
            }
            let read = gate.fill(cx, buf);
            if buf.filled().len() > start {
                // Whatever else there is to say is said when nothing is left to be handed on.
                return Poll::Ready(Ok(()));
            }
            match read {
                // A TLS stream that is cut off may say so. Whether anything is missing, the frames
                // tell.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return gate.end();
                }
                Poll::Ready(Ok(0)) => return gate.end(),
                Poll::Ready(Ok(_)) => {}
                // A stream has no business saying so, and it would be taken for this gate's word.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if gate.is_at_rest() => {
                    return Poll::Ready(Err(io::ErrorKind::WouldBlock.into()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Up to a header's worth of bytes. 0 <= `start` <= `end` <= 14
#[derive(Default)]
struct Bytes14 {
    bytes: [u8; HEADER_BYTES_MAX],
    start: u8,
    end: u8,
}

impl Bytes14 {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    fn set(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        (self.start, self.end) = (0, bytes.len() as u8);
    }

    /// The place for the bytes that a header lacks, as far as its length is known. Not empty.
    fn lacking(&mut self) -> &mut [u8] {
        let len = usize::from(self.end);
        let size = match self.bytes[1] & !MASKED {
            _ if len < 2 => 2,
            126 => 8,
            127 => 14,
            _ => 6,
        };
        &mut self.bytes[len..size]
    }

    fn grow(&mut self, count: usize) {
        self.end += count as u8;
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.as_slice().len().min(buf.remaining());
        buf.put_slice(&self.as_slice()[..count]);
        self.start += count as u8;
    }
}

/// What a frame of any length may announce at first. It fits into what the reader has reserved
/// anyway, with room to spare. A multiple of [`KEY_BYTES`].
pub(super) const FRAGMENT_BYTES_MIN: usize = 4096;

/// The longest fragment of a long frame. Longer ones would save little, and this fits into the
/// shorter of the extended lengths. A multiple of [`KEY_BYTES`].
const FRAGMENT_BYTES_MAX: usize = 32 * 1024;

/// The most that is read at once, but for long frames. The reader's buffer grows while reads fill
/// it: with this it stays at some 32 KiB however fast a peer sends.
const READ_BYTES_MAX: u64 = 8 * 1024;
