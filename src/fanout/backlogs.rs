//! The memory of all backlogs together: what slow connections make the server hold beside what topics retain.
//!
//! A backlog is replies that wait, the rest of a frame, and a place in each topic that moved meanwhile. Each connection's
//! is bounded; this bounds their sum, by closing those who are owed most. Shards count at each tick, so that nothing is
//! added up for each message.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mail::Goodbye;
use super::shard::Shard;
use crate::protocol::CloseCode;

/// What the connections of each shard are owed, in bytes, as of its last tick.
#[derive(Clone, Debug)]
pub(super) struct Backlogs {
    of_all: Arc<[AtomicUsize]>,
    own: usize,
}

impl Backlogs {
    /// One for each of so many shards.
    pub(super) fn of(shards: usize) -> impl Iterator<Item = Backlogs> {
        let of_all: Arc<[AtomicUsize]> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        (0..shards).map(move |own| Backlogs { of_all: Arc::clone(&of_all), own })
    }

    /// The shard's own are so many bytes. How many of them are too much, with all together being bounded: no shard
    /// has to do with less than an equal part.
    fn excess(&self, bytes: usize, max: usize) -> usize {
        // Relaxed: each is a figure of its own, and one that is a tick old will do.
        self.of_all[self.own].store(bytes, Ordering::Relaxed);
        let all: usize = self.of_all.iter().map(|of_one| of_one.load(Ordering::Relaxed)).sum();
        all.saturating_sub(max).min(bytes.saturating_sub(max / self.of_all.len()))
    }

    /// The shard is no more.
    pub(super) fn forget(&self) {
        self.of_all[self.own].store(0, Ordering::Relaxed);
    }
}

impl Shard {
    /// Closes those who are owed most, and of two who are owed alike whoever has taken nothing for longer, until
    /// what the others are owed is not too much.
    pub(super) fn close_most_owed(&mut self) {
        let mut owed = Vec::new();
        if self.mailbox.stats().stalled.read() > 0 {
            let stalled = self.conns.iter().filter(|(_, conn)| !conn.closing).filter_map(|(number, conn)| {
                let stalled = conn.stalled.as_ref()?;
                let quiet = self.tick.wrapping_sub(conn.sent);
                Some((conn.lane.capacity() + stalled.bytes(), quiet, number as u32))
            });
            owed.extend(stalled);
        }
        let bytes = owed.iter().map(|(bytes, ..)| bytes).sum();
        let mut excess = self.mailbox.backlogs().excess(bytes, self.options.backlog_bytes_max);
        if excess == 0 {
            return;
        }
        owed.sort_unstable_by_key(|&worst| Reverse(worst));
        for (bytes, _, number) in owed {
            self.mailbox.stats().limited_backlogs.add(1);
            let goodbye = Goodbye { reconnect_ms: Some(0) };
            self.close(number, CloseCode::SLOW, "too slow while the server is short of memory", Some(goodbye));
            excess = excess.saturating_sub(bytes);
            if excess == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_gives_back_what_it_has_beyond_its_part_and_only_if_all_have_too_much() {
        let [one, other] = &Backlogs::of(2).collect::<Vec<_>>()[..] else { unreachable!() };
        assert_eq!(one.excess(90, 100), 0);
        assert_eq!((other.excess(30, 100), one.excess(90, 100)), (0, 20));
        assert_eq!(other.excess(60, 100), 10);
        other.forget();
        assert_eq!((one.excess(90, 100), one.excess(130, 100)), (0, 30));
    }
}
