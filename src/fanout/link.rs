//! What a session and its shard share of one connection.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use super::transport::Transport;
use crate::broker::{ConnectionId, Form};

/// The socket did not take everything; the session watches for room.
const BLOCKED: u32 = 1;
/// The session waits for something that the shard does, and wants to be woken.
const WATCHED: u32 = 2;
/// All that was to be sent before the end has been sent.
const FLUSHED: u32 = 4;
/// The connection is gone: the socket failed.
const BROKEN: u32 = 8;
/// The server has begun to close: nothing that the peer says counts any more.
const CLOSING: u32 = 16;

/// One connection, between the task that reads it and the shard that writes it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) form: Form,
    transport: Transport,
    /// The bits above.
    state: AtomicU32,
    /// Bytes of replies that are not written yet.
    lane_bytes: AtomicU32,
    /// How many joins and leaves the shard has done. Wraps.
    done: AtomicU32,
    /// When the peer was last heard, in the shard's seconds.
    heard: AtomicU32,
    /// The shard's number for the connection; only the shard reads and writes it.
    slot: AtomicU32,
    session: AtomicWaker,
}

impl Link {
    pub(crate) const NO_SLOT: u32 = u32::MAX;

    pub(crate) fn new(id: ConnectionId, form: Form, transport: Transport) -> Self {
        Link {
            id,
            form,
            transport,
            state: AtomicU32::new(0),
            lane_bytes: AtomicU32::new(0),
            done: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            slot: AtomicU32::new(Self::NO_SLOT),
            session: AtomicWaker::new(),
        }
    }

    /// Brings what a write needs into the cache.
    pub(super) fn warm(&self) {
        black_box(self.id);
        self.transport.warm();
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    // The session's side.

    /// Watches the shard's side: ready with `true` when the socket has room again after it had none.
    /// Wakes the session's task for everything that `until` waits for, too.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.register(cx.waker());
        if !self.has(BLOCKED) {
            return Poll::Pending;
        }
        match self.transport.poll_writable(cx) {
            Poll::Ready(()) => {
                // Relaxed: the shard sets it again only after the mail that follows.
                self.state.fetch_and(!BLOCKED, Ordering::Relaxed);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits until `met`, which looks at this link, or until the connection is broken or closing.
    ///
    /// Only inside the session's task, whose waker [`poll_room`](Self::poll_room) registers.
    pub(crate) async fn until(&self, met: impl Fn(&Self) -> bool) {
        std::future::poll_fn(|cx| {
            if met(self) || self.is_over() {
                return Poll::Ready(());
            }
            self.session.register(cx.waker());
            self.state.fetch_or(WATCHED, Ordering::SeqCst);
            // Looked at again after the bit is up: the shard acts first and reads the bit then.
            if met(self) || self.is_over() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        self.state.fetch_and(!WATCHED, Ordering::Relaxed);
    }

    /// Waits until all that was to be sent before the end has been, or the connection is broken.
    pub(crate) async fn flushed(&self) {
        std::future::poll_fn(|cx| {
            self.session.register(cx.waker());
            if self.has(FLUSHED | BROKEN) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(crate) fn lane_bytes(&self) -> usize {
        self.lane_bytes.load(Ordering::SeqCst) as usize
    }

    pub(crate) fn done(&self) -> u32 {
        self.done.load(Ordering::SeqCst)
    }

    /// Whether the server has ended the connection, or it broke.
    pub(crate) fn is_over(&self) -> bool {
        self.has(CLOSING | BROKEN)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.has(BROKEN)
    }

    pub(crate) fn hear(&self, second: u32) {
        self.heard.store(second, Ordering::Relaxed);
    }

    // Both sides.

    pub(crate) fn add_lane(&self, bytes: usize) {
        self.lane_bytes.fetch_add(u32::try_from(bytes).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    // The shard's side.

    pub(super) fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn sub_lane(&self, bytes: usize) {
        self.lane_bytes.fetch_sub(u32::try_from(bytes).unwrap_or(u32::MAX), Ordering::SeqCst);
        self.nudge();
    }

    pub(super) fn set_done(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
        self.nudge();
    }

    pub(super) fn set_blocked(&self) {
        self.raise(BLOCKED);
    }

    pub(super) fn set_flushed(&self) {
        self.raise(FLUSHED);
    }

    pub(super) fn set_broken(&self) {
        self.raise(BROKEN);
    }

    pub(super) fn set_closing(&self) {
        self.raise(CLOSING);
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    fn raise(&self, bit: u32) {
        self.state.fetch_or(bit, Ordering::SeqCst);
        self.session.wake();
    }

    /// Wakes the session if it waits for something that may have happened.
    fn nudge(&self) {
        if self.has(WATCHED) {
            self.session.wake();
        }
    }

    fn has(&self, bits: u32) -> bool {
        self.state.load(Ordering::SeqCst) & bits != 0
    }
}
