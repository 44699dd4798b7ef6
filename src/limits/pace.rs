//! How refusals are spaced out.
//!
//! To refuse a command costs nearly as much as to carry it out, so a sender that goes on is not read from for a
//! while: its own socket holds it back, which costs the server nothing, as closing it and letting it in again
//! would.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rate::Moment;

/// What each refused command is worth. An address gets so through five hundred a second, on however many
/// connections.
const OF_EACH: Duration = Duration::from_millis(2);

/// Nobody is held back for longer at a time: it is to hear of it when its connection is closed.
const LONGEST: Duration = Duration::from_secs(10);

/// Until when what has been refused is paid for, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// How long the sender of so many refused commands is to wait, behind others that share this.
    pub(super) fn wait(&self, commands: u32, now: Moment) -> Duration {
        let worth = nanos(OF_EACH).saturating_mul(u64::from(commands));
        let paid = |until: u64| until.max(now.0).saturating_add(worth).min(now.0.saturating_add(nanos(LONGEST)));
        let next = |until: u64| Some(paid(until));
        // It always has a next value.
        let (Ok(before) | Err(before)) = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Duration::from_nanos(paid(before) - now.0)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_spaced_out_and_nobody_waits_for_ever() {
        let pace = Pace::default();
        let at = |ms: u64| Moment(ms * 1_000_000);
        let wait = |commands, ms| pace.wait(commands, at(ms)).as_millis();
        assert_eq!(wait(1, 1_000), 2);
        assert_eq!(wait(10, 1_000), 22);
        // What is paid for is forgotten.
        assert_eq!(wait(1, 1_021), 3);
        assert_eq!(wait(1, 5_000), 2);
        assert_eq!(wait(1_000, 5_000), 2_002);
        assert_eq!((wait(u32::MAX, 5_000), wait(1, 5_000)), (10_000, 10_000));
        assert_eq!(wait(1, 15_000), 2);
    }
}
