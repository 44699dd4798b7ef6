//! A network in memory: delays, splits, stalls and cuts connections, as a seed says.
//!
//! Bytes of one direction keep their order, as TCP's do; connections know nothing of each other, so what is
//! sent on two of them arrives in any order. Time is the runtime's, which a test pauses.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::random::Random;

/// How a connection's network behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// What is sent takes from 0 up to so long.
    pub(super) delay_ms_max: u64,
    /// Bytes on their way to the client, at most: a socket buffer.
    pub(super) capacity: usize,
    /// Reads and writes take no more than this at once.
    pub(super) piece_bytes_max: u64,
}

impl Weather {
    /// Whether it takes no more than some ten kilobytes a second.
    pub(super) fn is_slow(&self) -> bool {
        self.capacity <= 5_000 && self.delay_ms_max >= 40
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Both sides are told; what was on its way is lost.
    Reset,
    /// Neither side is told anything any more, as when a cable is pulled.
    Silent,
}

/// One end of a connection.
pub(super) struct End {
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
    /// Rings when the next bytes arrive.
    alarm: Pin<Box<Sleep>>,
}

/// One direction.
struct Lane {
    weather: Weather,
    random: Random,
    /// What is on its way, and when it arrives: later or no earlier than what is ahead of it.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nothing arrives before.
    stalled_until: Instant,
    /// The writer has ended its side; the reader is told behind the last piece.
    finished: bool,
    cut: Option<Cut>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends of a new connection: the client's and the server's.
pub(super) fn connection(weather: Weather, seed: u64) -> (End, End) {
    let lane = |capacity, salt| {
        Arc::new(Mutex::new(Lane {
            weather: Weather { capacity, ..weather },
            random: Random::new(seed ^ salt),
            pieces: VecDeque::new(),
            bytes: 0,
            stalled_until: Instant::now(),
            finished: false,
            cut: None,
            reader: None,
            writer: None,
        }))
    };
    // Clients of this test write without waiting: their direction has no bound.
    let (up, down) = (lane(usize::MAX, 1), lane(weather.capacity, 2));
    let end = |incoming: &Arc<Mutex<Lane>>, outgoing: &Arc<Mutex<Lane>>| End {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        alarm: Box::pin(sleep_until(Instant::now())),
    };
    (end(&down, &up), end(&up, &down))
}

impl End {
    /// Sends all of it, whatever is on its way already.
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut lane = lock(&self.outgoing);
        if lane.cut.is_none() && !lane.finished {
            lane.put(bytes.to_vec());
        }
    }

    /// Lets nothing through in either direction for so long.
    pub(super) fn stall(&self, time: Duration) {
        for lane in [&self.incoming, &self.outgoing] {
            lock(lane).stalled_until = Instant::now() + time;
        }
    }

    pub(super) fn cut(&self, cut: Cut) {
        for lane in [&self.incoming, &self.outgoing] {
            lock(lane).end(cut);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut outgoing = lock(&self.outgoing);
        outgoing.finished = true;
        outgoing.wake();
        drop(outgoing);
        // Whoever still writes to it learns that nobody is there.
        let mut incoming = lock(&self.incoming);
        if incoming.cut.is_none() {
            incoming.end(Cut::Reset);
        }
    }
}

impl Lane {
    fn put(&mut self, bytes: Vec<u8>) {
        let delay = Duration::from_millis(self.random.below(self.weather.delay_ms_max + 1));
        let after = self.pieces.back().map_or_else(Instant::now, |(at, _)| *at);
        self.bytes += bytes.len();
        self.pieces.push_back((after.max(Instant::now() + delay), bytes));
        self.wake();
    }

    fn end(&mut self, cut: Cut) {
        self.cut = Some(cut);
        self.pieces.clear();
        self.bytes = 0;
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// How much is taken at once of so much.
    fn piece(&mut self, bytes: usize) -> usize {
        let max = 1 + self.random.below(self.weather.piece_bytes_max);
        bytes.min(usize::try_from(max).unwrap_or(usize::MAX))
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let incoming = Arc::clone(&self.incoming);
        let mut lane = lock(&incoming);
        match lane.cut {
            Some(Cut::Reset) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(Cut::Silent) => return Poll::Pending,
            None => {}
        }
        lane.reader = Some(cx.waker().clone());
        let Some(&(at, _)) = lane.pieces.front() else {
            return if lane.finished { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let at = at.max(lane.stalled_until);
        if at > Instant::now() {
            self.alarm.as_mut().reset(at);
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let Some((at, mut piece)) = lane.pieces.pop_front() else { return Poll::Pending };
        let count = lane.piece(piece.len()).min(buf.remaining());
        buf.put_slice(&piece[..count]);
        piece.drain(..count);
        if !piece.is_empty() {
            lane.pieces.push_front((at, piece));
        }
        lane.bytes -= count;
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.outgoing);
        if lane.cut == Some(Cut::Reset) || lane.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = lane.weather.capacity.saturating_sub(lane.bytes);
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = lane.piece(bytes.len()).min(room);
        // What goes into a pulled cable fills the socket's buffer, and goes nowhere.
        lane.put(bytes[..count].to_vec());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = lock(&self.outgoing);
        lane.finished = true;
        lane.wake();
        Poll::Ready(Ok(()))
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}
