//! Leases: connections that may go on until credentials come, or until theirs end.
//!
//! One queue per shard, looked at with every tick, and one entry in it per connection that has one;
//! the others cost nothing. Not part of the [`Wheel`](super::keep_alive::Wheel), which goes round in a
//! heartbeat: a lease may last for days.

use std::collections::{BTreeSet, HashMap};

use super::mail::Goodbye;
use super::shard::Shard;
use crate::protocol::{CloseCode, Event};

/// Until when a connection may go on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// For ever: what was said before does not hold any more.
    Endless,
    /// Credentials have to come within so many milliseconds.
    Credentials { within_ms: u64 },
    /// Its credentials end in so many milliseconds.
    Expires { in_ms: u64 },
}

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// No credentials have come.
    Late,
    /// Tell it that its credentials end in so many milliseconds.
    Warn { in_ms: u64 },
    /// Its credentials have ended.
    Expired,
}

/// The leases of a shard's connections.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// When to look at which connection; as many as there are in `of`.
    queue: BTreeSet<(u64, u32)>,
    of: HashMap<u32, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its place in the queue.
    next_ms: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Unknown,
    /// To be told before it ends.
    Untold {
        end_ms: u64,
    },
    Told,
}

impl Leases {
    /// The lease of a connection, in place of what it had. `warn_ms` before its credentials end it is told,
    /// or when half of a shorter lease is over.
    pub(super) fn set(&mut self, conn: u32, lease: Lease, now_ms: u64, warn_ms: u64) {
        self.forget(conn);
        let (next_ms, stage) = match lease {
            Lease::Endless => return,
            Lease::Credentials { within_ms } => (now_ms.saturating_add(within_ms), Stage::Unknown),
            Lease::Expires { in_ms } => {
                let end_ms = now_ms.saturating_add(in_ms);
                (end_ms - warn_ms.min(in_ms / 2), Stage::Untold { end_ms })
            }
        };
        self.put(conn, Entry { next_ms, stage });
    }

    pub(super) fn forget(&mut self, conn: u32) {
        if let Some(Entry { next_ms, .. }) = self.of.remove(&conn) {
            self.queue.remove(&(next_ms, conn));
        }
    }

    /// The next connection that something is to be done about by `now_ms`.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<(u32, Due)> {
        let &(next_ms, conn) = self.queue.first().filter(|(next_ms, _)| *next_ms <= now_ms)?;
        self.queue.remove(&(next_ms, conn));
        let Entry { stage, .. } = self.of.remove(&conn)?;
        let due = match stage {
            Stage::Unknown => Due::Late,
            Stage::Untold { end_ms } if now_ms < end_ms => {
                self.put(conn, Entry { next_ms: end_ms, stage: Stage::Told });
                Due::Warn { in_ms: end_ms - now_ms }
            }
            Stage::Untold { .. } | Stage::Told => Due::Expired,
        };
        Some((conn, due))
    }

    fn put(&mut self, conn: u32, entry: Entry) {
        self.queue.insert((entry.next_ms, conn));
        self.of.insert(conn, entry);
    }
}

impl Shard {
    pub(super) fn set_lease(&mut self, conn: u32, lease: Lease) {
        self.leases.set(conn, lease, self.broker.now_ms(), self.options.expiring_ms);
    }

    /// Does what is due by now.
    pub(super) fn end_leases(&mut self) {
        let now_ms = self.broker.now_ms();
        while let Some((conn, due)) = self.leases.next(now_ms) {
            if self.conns[conn as usize].closing {
                continue;
            }
            let (code, reason) = match due {
                Due::Warn { in_ms } => {
                    self.conns[conn as usize].say(&Event::Expiring { expires_in_ms: in_ms });
                    self.touch(conn);
                    continue;
                }
                Due::Late => (CloseCode::TIMEOUT, "no credentials came in time"),
                Due::Expired => (CloseCode::UNAUTHORIZED, "the credentials have ended"),
            };
            self.mailbox.stats().closed_expired.add(1);
            self.close(conn, code, reason, Some(Goodbye { reconnect_ms: None }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is due by `now_ms`.
    fn due(leases: &mut Leases, now_ms: u64) -> Vec<(u32, Due)> {
        std::iter::from_fn(|| leases.next(now_ms)).collect()
    }

    #[test]
    fn a_connection_is_told_once_and_then_ended() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Expires { in_ms: 100 }, 1_000, 30);
        assert_eq!(due(&mut leases, 1_069), []);
        assert_eq!(due(&mut leases, 1_071), [(1, Due::Warn { in_ms: 29 })]);
        assert_eq!(due(&mut leases, 1_099), []);
        assert_eq!(due(&mut leases, 1_100), [(1, Due::Expired)]);
        assert_eq!(due(&mut leases, u64::MAX), []);
    }

    #[test]
    fn a_short_lease_is_told_of_at_its_half() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Expires { in_ms: 40 }, 0, 30);
        assert_eq!(due(&mut leases, 19), []);
        assert_eq!(due(&mut leases, 20), [(1, Due::Warn { in_ms: 20 })]);
    }

    #[test]
    fn what_is_over_before_anybody_looks_ends_untold() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Expires { in_ms: 100 }, 0, 30);
        leases.set(2, Lease::Expires { in_ms: 0 }, 0, 30);
        assert_eq!(due(&mut leases, 500), [(2, Due::Expired), (1, Due::Expired)]);
    }

    #[test]
    fn a_new_lease_takes_the_place_of_the_old_and_leaves_nothing_behind() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Credentials { within_ms: 10 }, 0, 30);
        for now_ms in 0..1_000 {
            leases.set(1, Lease::Expires { in_ms: 100_000 }, now_ms, 30);
        }
        assert_eq!((leases.queue.len(), leases.of.len()), (1, 1));
        assert_eq!(due(&mut leases, 50_000), []);
        leases.set(1, Lease::Endless, 50_000, 30);
        assert_eq!((leases.queue.len(), leases.of.len()), (0, 0));
    }

    #[test]
    fn who_shows_nothing_in_time_is_late() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Credentials { within_ms: 10 }, 0, 30);
        leases.set(2, Lease::Credentials { within_ms: 10 }, 0, 30);
        leases.forget(2);
        assert_eq!(due(&mut leases, 9), []);
        assert_eq!(due(&mut leases, 10), [(1, Due::Late)]);
    }

    #[test]
    fn leases_beyond_all_time_never_end() {
        let mut leases = Leases::default();
        leases.set(1, Lease::Expires { in_ms: u64::MAX }, 5, 30);
        assert_eq!(due(&mut leases, u64::MAX - 31), []);
    }
}
