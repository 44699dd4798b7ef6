//! A network for tests and fuzzing: a stream that comes in pieces, with a pause after each, and what
//! is read from it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::gate::{Deflated, FRAGMENT_BYTES_MIN, Gate};
use super::header::{RSV1, Rules, Violation};
use super::naive::{self, End};
use super::{Deflate, DeflateOptions, Incoming, ReadError, ReadLimits, Reader};

/// A stream that brings pieces, and after each (the last one too) has nothing for a moment.
pub(super) struct Pieces<'a> {
    pieces: VecDeque<&'a [u8]>,
    pause: bool,
    taken: Rc<Cell<usize>>,
}

impl<'a> Pieces<'a> {
    /// Cuts `stream` into pieces of these sizes, over and over.
    pub(super) fn new(mut stream: &'a [u8], sizes: &[usize]) -> Self {
        let mut pieces = VecDeque::new();
        let mut sizes = sizes.iter().cycle();
        while !stream.is_empty() {
            let size = sizes.next().map_or(stream.len(), |&size| size.max(1));
            let (piece, rest) = stream.split_at(size.min(stream.len()));
            pieces.push_back(piece);
            stream = rest;
        }
        Self { pieces, pause: false, taken: Rc::default() }
    }

    /// How many bytes have been taken, also when somebody else owns the stream.
    pub(super) fn taken(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.taken)
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        assert!(buf.remaining() > 0, "a read for no bytes looks like an end");
        if std::mem::take(&mut self.pause) {
            return Poll::Pending;
        }
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(Ok(()));
        };
        let (now, later) = piece.split_at(piece.len().min(buf.remaining()));
        buf.put_slice(now);
        self.taken.update(|taken| taken + now.len());
        if later.is_empty() {
            self.pause = true;
        } else {
            self.pieces.push_front(later);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads all that comes, in pieces of these sizes. Holds the reader to its word on idling: at each
/// pause it says so exactly if what has come is whole messages.
pub(super) fn read(stream: &[u8], sizes: &[usize], rules: Rules) -> (Vec<Incoming>, End) {
    let pieces = Pieces::new(stream, sizes);
    let taken = pieces.taken();
    let rests = naive::rests(stream, rules);
    let is_at_rest = || rests.binary_search(&taken.get()).is_ok();
    let mut reader = if rules.deflate {
        Reader::inflating(pieces, rules.limits, &deflate())
    } else {
        Reader::new(pieces, rules.limits)
    };
    let mut events = Vec::new();
    let error = loop {
        let mut next = pin!(reader.next());
        let result = loop {
            match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => break result,
                Poll::Pending => assert!(!is_at_rest(), "waits although {taken:?} are at rest"),
            }
        };
        match result {
            Ok(Incoming::Idle) => assert!(is_at_rest(), "idles although {taken:?} are not at rest"),
            Ok(event) => events.push(event),
            Err(error) => break error,
        }
    };
    let end = match error {
        ReadError::Violation { code, .. } => End::Violation(code.0),
        ReadError::Eof { .. } if matches!(events.last(), Some(Incoming::Close(_))) => End::Closed,
        ReadError::Eof { mid_message } => End::Eof { mid_message },
        ReadError::Io(error) => unreachable!("the stream does not fail: {error}"),
    };
    (events, end)
}

/// What comes out of a gate, and how it ends, when read into buffers of these sizes. Holds the gate
/// to its word on what a header announces.
pub(super) fn pass(stream: &[u8], sizes: &[usize], buffers: &[usize], rules: Rules) -> (Vec<u8>, End) {
    let pieces = Pieces::new(stream, sizes);
    let taken = pieces.taken();
    let deflated = Arc::<Deflated>::default();
    let mut gate = Gate::new(pieces, rules.limits, rules.deflate.then(|| Arc::clone(&deflated)));
    let mut out = Vec::new();
    let mut buffers = buffers.iter().cycle();
    let end = loop {
        let mut buffer = vec![0; buffers.next().map_or(8192, |&size| size.max(1))];
        let mut buffer = ReadBuf::new(&mut buffer);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut gate).poll_read(&mut cx, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                break End::Eof { mid_message: false };
            }
            Poll::Ready(Ok(())) => {
                out.extend_from_slice(buffer.filled());
                let announced = naive::outstanding(&out);
                // Up to three bytes more, as fragments are cut at multiples of the key.
                let came = taken.get() + 3;
                assert!(announced <= came.max(FRAGMENT_BYTES_MIN), "{announced} bytes are announced after {taken:?}");
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break End::Eof { mid_message: true };
            }
            Poll::Ready(Err(error)) => match error.downcast::<Violation>() {
                Ok(violation) => break End::Violation(violation.code.0),
                Err(error) => unreachable!("the stream does not fail: {error}"),
            },
        }
    };
    restore(&mut out, &deflated);
    (out, end)
}

/// Gives the first frames of compressed messages, which a gate presents as continuations of nothing,
/// back what they were.
fn restore(stream: &mut [u8], deflated: &Deflated) {
    let starts: Vec<usize> = naive::frames(stream).map(|frame| frame.start).collect();
    let mut open = false;
    for start in starts {
        let first = &mut stream[start];
        if *first & 0x08 != 0 {
            continue;
        }
        if *first & 0x0F == 0 && !open {
            *first |= RSV1 | deflated.pop().expect("the gate tells what it is") as u8;
        }
        open = *first & 0x80 == 0;
    }
    assert_eq!(deflated.pop(), None);
}

/// What is agreed when a client asks for nothing special.
fn deflate() -> Deflate {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::SEC_WEBSOCKET_EXTENSIONS, http::HeaderValue::from_static("permessage-deflate"));
    Deflate::negotiate(&headers, &DeflateOptions::default()).expect("the simplest offer is accepted")
}

impl From<ReadLimits> for Rules {
    fn from(limits: ReadLimits) -> Self {
        Rules { limits, deflate: false }
    }
}
