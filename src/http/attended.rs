//! What hyper speaks over: it is looked at for its end, and keeps the answer to an upgrade for the session.
//!
//! HTTP lets a client end its side as soon as it has asked, and whoever does so is answered; hyper does not look at
//! what comes while it writes. A client of an event stream has nothing to read but what comes from now on: that its
//! side has ended means, as servers of all kinds take it, that it has gone.
//!
//! The answer to an upgrade is followed at once by what the session says first. The session writes both, and a
//! connection costs one write less: a sixth of what the kernel does for it until it is subscribed.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What hyper speaks over, looked at for its end while that is wanted.
#[derive(Debug)]
pub(crate) struct Attended<S> {
    stream: S,
    attendance: Attendance,
    /// What is left to the session to write.
    kept: Vec<u8>,
}

/// The same, as the service knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attendance(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: AtomicBool,
    has_ended: AtomicBool,
    is_upgraded: AtomicBool,
}

/// A socket that says when there is something to read.
pub(crate) trait Readable: AsFd {
    /// Whether a session writes to it directly, and so may write the answer to an upgrade too.
    const IS_WRITTEN_DIRECTLY: bool;

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_io<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
}

impl<S> Attended<S> {
    #[cfg(feature = "server")]
    pub(crate) fn new(stream: S, attendance: Attendance) -> Self {
        Attended { stream, attendance, kept: Vec::new() }
    }

    /// The stream, and what has to be written to it first.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.kept)
    }
}

// Relaxed: the connection's one task reads and writes both, wherever it runs.
impl Attendance {
    /// Somebody wants to know from now on.
    pub(super) fn begin(&self) {
        self.0.is_wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.is_wanted.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }

    /// The connection is to be a session's: what hyper writes from now on, the head of its last response and what
    /// it still had of those before, is kept for the session.
    pub(super) fn upgrade(&self) {
        self.0.is_upgraded.store(true, Ordering::Relaxed);
    }

    fn is_upgraded(&self) -> bool {
        self.0.is_upgraded.load(Ordering::Relaxed)
    }
}

impl<S: Readable> Attended<S> {
    fn keeps(&self) -> bool {
        S::IS_WRITTEN_DIRECTLY && self.attendance.is_upgraded()
    }

    fn look(&self, cx: &mut Context<'_>) {
        let State { is_wanted, has_ended, .. } = &*self.attendance.0;
        if is_wanted.load(Ordering::Relaxed) && !has_ended.load(Ordering::Relaxed) && self.poll_end(cx).is_ready() {
            has_ended.store(true, Ordering::Relaxed);
            // The stream of events has been asked for more before, and is to be asked again.
            cx.waker().wake_by_ref();
        }
    }

    /// Ready when the peer has ended its side, or is gone. Somebody who sends another request meanwhile is not
    /// looked at any more: it is hyper's to read.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.stream.try_io(|| Ok(recv(self.stream.as_fd(), &mut [0], RecvFlags::PEEK)?.0)) {
                Ok(1..) => return Poll::Pending,
                // It was ready before hyper read. Now it has to become so again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attended<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Readable + Unpin> AsyncWrite for Attended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.keeps() {
            self.kept.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps() {
            let before = self.kept.len();
            bufs.iter().for_each(|buf| self.kept.extend_from_slice(buf));
            return Poll::Ready(Ok(self.kept.len() - before));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper does this whenever it has done all there is.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(cx);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Readable for TcpStream {
    const IS_WRITTEN_DIRECTLY: bool = true;

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_io<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.try_io(Interest::READABLE, read)
    }
}

impl Readable for UnixStream {
    const IS_WRITTEN_DIRECTLY: bool = false;

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_io<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.try_io(Interest::READABLE, read)
    }
}
