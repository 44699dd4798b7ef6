//! The write side of a connection: bytes that are taken now, or not.
//!
//! A shard writes to a thousand connections in a row and waits for none of them. A plain TCP stream
//! takes what the kernel takes; every other stream (TLS, in memory) gets a bounded pipe that a task
//! of its own empties.

use std::hint::black_box;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a pipe holds before it refuses more: about what a kernel's socket buffer would.
const PIPE_BYTES_MAX: usize = 64 * 1024;

/// Where a shard writes to.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp(Arc<TcpStream>),
    Pipe(Arc<Pipe>),
}

impl Transport {
    /// Writes what is taken at once.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is; any other error means that the connection is gone.
    pub(crate) fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => send(stream, bytes),
            Transport::Pipe(pipe) => pipe.try_write(bytes),
        }
    }

    /// Brings what a write needs into the cache.
    pub(super) fn warm(&self) {
        if let Transport::Tcp(stream) = self {
            black_box(stream.as_raw_fd());
        }
    }

    /// Ready when the next write is worth trying. Only the connection's own task may ask.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // An error shows at the next write.
            Transport::Tcp(stream) => stream.poll_write_ready(cx).map(|_| ()),
            Transport::Pipe(pipe) => pipe.poll_writable(cx),
        }
    }

    /// Nothing more will be written: the peer sees the end after what it has been sent.
    pub(crate) fn finish(&self) {
        match self {
            Transport::Tcp(stream) => {
                // Fails only when the connection is gone, which is what is wanted.
                let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
            }
            Transport::Pipe(pipe) => pipe.finish(),
        }
    }
}

/// Writes past tokio, whose books say that the socket takes writes: nobody asks who stalls. To look there first is
/// a cache miss for each connection and write, a third of what a delivery costs in user space.
fn send(stream: &TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    let sent = match bytes {
        [one] => rustix::net::send(stream, one, FLAGS),
        many => rustix::net::sendmsg(stream, many, &mut SendAncillaryBuffer::default(), FLAGS),
    };
    match sent {
        // Now tokio has to see it too, or `poll_writable` would not wait.
        Err(Errno::AGAIN) => stream.try_write_vectored(bytes),
        sent => Ok(sent?),
    }
}

/// A bounded buffer between a shard and a stream that only a task can write to.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<PipeState>,
    bytes_max: usize,
}

impl Default for Pipe {
    fn default() -> Self {
        Pipe::with_capacity(PIPE_BYTES_MAX)
    }
}

#[derive(Debug, Default)]
struct PipeState {
    /// bytes.len() <= bytes_max of the pipe
    bytes: Vec<u8>,
    finished: bool,
    broken: bool,
    /// The connection's task, which waits for room.
    writer: Option<Waker>,
    /// The pump, which waits for bytes.
    pump: Option<Waker>,
}

impl Pipe {
    pub(crate) fn with_capacity(bytes_max: usize) -> Self {
        Pipe { state: Mutex::default(), bytes_max }
    }

    /// Moves what is written into the pipe on to `stream`, until the pipe is finished or broken.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: bytes in flight are lost.
    pub(crate) async fn pump(&self, mut stream: impl AsyncWrite + Unpin) {
        loop {
            let bytes = std::future::poll_fn(|cx| self.poll_take(cx)).await;
            if bytes.is_empty() {
                // Fails only when the peer is gone.
                let _ = stream.shutdown().await;
                return;
            }
            let written = stream.write_all(&bytes).await;
            if written.is_err() || stream.flush().await.is_err() {
                self.break_off();
                return;
            }
        }
    }

    /// All that waits, in one piece; empty at the end.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut state = self.lock();
        if state.bytes.is_empty() && !state.finished && !state.broken {
            state.pump = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = std::mem::take(&mut state.bytes);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(bytes)
    }

    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.broken || state.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut taken = 0;
        for slice in bytes {
            let room = self.bytes_max - state.bytes.len();
            let part = &slice[..slice.len().min(room)];
            state.bytes.extend_from_slice(part);
            taken += part.len();
        }
        let pump = state.pump.take();
        drop(state);
        if let Some(pump) = pump {
            pump.wake();
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes.len() < self.bytes_max || state.broken {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        let pump = state.pump.take();
        drop(state);
        if let Some(pump) = pump {
            pump.wake();
        }
    }

    pub(super) fn break_off(&self) {
        let mut state = self.lock();
        state.broken = true;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
