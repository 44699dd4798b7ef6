//! Pings, and the end of peers that answer none: one timing wheel per shard, no timer per connection.

use super::mail::Goodbye;
use super::shard::Shard;
use crate::broker::ConnectionId;
use crate::protocol::CloseCode;
use crate::ws::{self, Opcode};

/// Ticks per heartbeat: how finely the wheel sees time.
const TICKS_PER_HEARTBEAT: u64 = 16;

/// The connections in the order in which they are to be looked at.
#[derive(Debug)]
pub(super) struct Wheel {
    tick_ms: u64,
    /// In ticks, both; the heartbeat is one tick early, so that it is never late.
    heartbeat: u32,
    timeout: u32,
    /// One bucket per tick of the longest wait, round and round.
    buckets: Vec<Vec<(u32, ConnectionId)>>,
}

impl Wheel {
    pub(super) fn new(heartbeat_ms: u64, timeout_ms: u64) -> Self {
        let tick_ms = (heartbeat_ms / TICKS_PER_HEARTBEAT).clamp(10, 2_000);
        // Bounded by a day of the shortest ticks, far below 2^32.
        let ticks = |ms: u64| u32::try_from(ms / tick_ms).unwrap_or(u32::MAX / 4).max(1);
        let heartbeat = ticks(heartbeat_ms).saturating_sub(2).max(1);
        let timeout = ticks(timeout_ms);
        let buckets = vec![Vec::new(); heartbeat.min(1024) as usize + 1];
        Wheel { tick_ms, heartbeat, timeout, buckets }
    }

    pub(super) fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    pub(super) fn heartbeat(&self) -> u32 {
        self.heartbeat
    }

    /// Looks at the connection `after` ticks, or when the wheel has gone round if that is sooner.
    pub(super) fn add(&mut self, conn: u32, id: ConnectionId, now: u32, after: u32) {
        let round = self.buckets.len() as u32;
        let at = now.wrapping_add(after.clamp(1, round - 1)) % round;
        self.buckets[at as usize].push((conn, id));
    }

    fn round(&self) -> u32 {
        self.buckets.len() as u32
    }

    fn due(&mut self, now: u32) -> Vec<(u32, ConnectionId)> {
        let round = self.buckets.len() as u32;
        std::mem::take(&mut self.buckets[(now % round) as usize])
    }
}

impl Shard {
    /// Time has come to `now`, in ticks. Pings whoever was silent or was told nothing for a heartbeat,
    /// and closes whoever has not been heard since a ping for too long.
    pub(super) fn tick(&mut self, now: u32) {
        /// So many ticks at once mean that the process stood still: what peers have sent is unread.
        const PAUSE_TICKS: u32 = 4;
        let passed = now.wrapping_sub(self.tick);
        let due: Vec<_> =
            (0..passed.min(self.wheel.round())).flat_map(|tick| self.wheel.due(now.wrapping_sub(tick))).collect();
        self.tick = now;
        self.mailbox.set_tick(now);
        self.gather_presence();
        self.close_overrun();
        self.close_most_owed();
        for (conn, id) in due {
            self.look_at(conn, id, passed >= PAUSE_TICKS);
        }
        self.end_leases();
    }

    fn look_at(&mut self, number: u32, id: ConnectionId, paused: bool) {
        let now = self.tick;
        let Some(conn) = self.conns.get_mut(number as usize) else { return };
        if conn.link.id != id || conn.closing {
            return;
        }
        let heard = conn.link.heard();
        let since = |tick: u32| now.wrapping_sub(tick);
        if conn.pinged.is_some_and(|pinged| since(heard) <= since(pinged)) {
            conn.pinged = None;
        }
        if paused {
            // Nobody is late for an answer that could not be read.
            conn.pinged = conn.pinged.map(|_| now);
        }
        if let Some(pinged) = conn.pinged {
            if since(pinged) >= self.wheel.timeout {
                self.mailbox.stats().closed_silent.add(1);
                let goodbye = Goodbye { reconnect_ms: Some(0) };
                self.close(number, CloseCode::TIMEOUT, "no answer to pings", Some(goodbye));
                return;
            }
            self.wheel.add(number, id, now, self.wheel.timeout - since(pinged));
            return;
        }
        let quiet = since(heard).max(since(conn.sent));
        let after = if quiet >= self.wheel.heartbeat {
            conn.say_frames(|lane| ws::push(lane, Opcode::Ping, &[]));
            conn.pinged = Some(now);
            self.touch(number);
            self.wheel.timeout.min(self.wheel.heartbeat)
        } else {
            self.wheel.heartbeat - quiet
        };
        self.wheel.add(number, id, now, after);
    }
}
