//! The read side of a connection, whatever it came as.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, ReadHalf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::fanout::{Pipe, Transport};

/// Unsent bytes that the kernel takes for one connection, beyond what is on its way. Few enough that a
/// slow subscriber is noticed early, enough to keep a fast one busy while others have their turn.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A stream that is neither plain TCP nor known by its type.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a session reads from.
pub(crate) struct Stream {
    /// Bytes that came with the request, before any of the socket's.
    ahead: Bytes,
    source: Source,
}

enum Source {
    Tcp(Arc<TcpStream>),
    Other { read: ReadHalf<Box<dyn Duplex>>, _pump: Pump },
}

/// Ends the task that empties the pipe with the session: a peer that does not read must not keep it.
struct Pump(AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stream {
    /// A plain TCP stream, which shards write to directly.
    pub(crate) fn tcp(stream: TcpStream, ahead: &[u8]) -> (Self, Transport) {
        // Small replies must not wait for an acknowledgement. Fails only on a dead socket.
        let _ = stream.set_nodelay(true);
        // Fails only where the system does not have it; the kernel's buffer is then the bound.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        let stream = Arc::new(stream);
        (Stream { ahead: own(ahead), source: Source::Tcp(Arc::clone(&stream)) }, Transport::Tcp(stream))
    }

    /// Any other stream, written to through a pipe that a task of its own empties.
    pub(crate) fn other(stream: Box<dyn Duplex>, ahead: &[u8]) -> (Self, Transport) {
        Self::through(Pipe::default(), stream, ahead)
    }

    /// A stream that is written to through this pipe.
    pub(crate) fn through(pipe: Pipe, stream: Box<dyn Duplex>, ahead: &[u8]) -> (Self, Transport) {
        let (read, write) = tokio::io::split(stream);
        let pipe = Arc::new(pipe);
        let pump = Arc::clone(&pipe);
        let pump = tokio::spawn(async move { pump.pump(write).await });
        let source = Source::Other { read, _pump: Pump(pump.abort_handle()) };
        (Stream { ahead: own(ahead), source }, Transport::Pipe(pipe))
    }

    /// Ready when a read is worth trying.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.source {
            // An error shows at the read that follows.
            Source::Tcp(stream) if self.ahead.is_empty() => stream.poll_read_ready(cx).map(drop),
            // Other streams tell by being read.
            _ => Poll::Ready(()),
        }
    }

    /// Whether a reader of an idle connection can be let go of and made anew later.
    pub(crate) fn tells_readable(&self) -> bool {
        matches!(self.source, Source::Tcp(_))
    }
}

/// Reads what is there. If that is less than there was room for it is all (epoll(7), "How do I know that…"), which
/// tokio is told as well: it would find out by another call.
fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut received = None;
    let all = buffer.len();
    let read = stream.try_io(Interest::READABLE, || {
        let (count, _) = rustix::net::recv(stream, &mut *buffer, RecvFlags::DONTWAIT)?;
        received = Some(count);
        if (1..all).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    });
    received.map_or(read, Ok)
}

/// The same bytes, and none of the buffer they came in: hyper's, 8 KiB even when they are none.
fn own(ahead: &[u8]) -> Bytes {
    if ahead.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(ahead) }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.source {
            Source::Other { read, .. } => Pin::new(read).poll_read(cx, buf),
            Source::Tcp(stream) => loop {
                ready!(stream.poll_read_ready(cx))?;
                match receive(stream, buf.initialize_unfilled()) {
                    Ok(count) => {
                        buf.advance(count);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            },
        }
    }
}
