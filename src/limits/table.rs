//! A bounded table of meters by key.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;

use super::rate::Moment;

const SHARDS: usize = 16;

/// How often what is not used any more is let go, and how often while there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SWEEP_EVERY_FULL: Duration = Duration::from_secs(1);

/// One `V` for each key that was used of late, up to a number; those beyond share one.
///
/// Keys are chosen by strangers: whoever has many addresses must not be able to fill the memory, nor, for
/// longer than it takes, to crowd out others.
pub(super) struct Table<K, V> {
    /// Which shard a key is in is up to `hasher`; each has a hasher of its own, or its slots would
    /// all collide.
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
    /// Of all shards together; at most `held_max` but for races of as many threads as there are.
    held: AtomicUsize,
    held_max: usize,
    make: Box<dyn Fn() -> V + Send + Sync>,
    /// What keys beyond `held_max` get.
    shared: Arc<V>,
    /// How long a slot is kept after its last use: by then all its meters are full again.
    idle_ns: u64,
    next_sweep: AtomicU64,
    overflowed: AtomicU64,
}

type Shard<K, V> = HashMap<K, Slot<V>, RandomState>;

struct Slot<V> {
    used: Moment,
    it: Arc<V>,
}

impl<K: Eq + Hash, V> Table<K, V> {
    /// A table that holds up to `held_max`, each for as long as somebody else holds it and `idle` longer.
    pub(super) fn new(held_max: usize, idle: Duration, make: impl Fn() -> V + Send + Sync + 'static) -> Self {
        Table {
            shards: Default::default(),
            hasher: RandomState::default(),
            held: AtomicUsize::new(0),
            held_max,
            shared: Arc::new(make()),
            make: Box::new(make),
            idle_ns: nanos(idle),
            next_sweep: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// What belongs to the key, and whether it shares that with others for want of room.
    pub(super) fn of(&self, key: K, now: Moment) -> (Arc<V>, bool) {
        self.sweep_if_due(now);
        let shard = &self.shards[self.hasher.hash_one(&key) as usize % SHARDS];
        // What it guards is whole after every statement, so a panic elsewhere does not spoil it.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shard.get_mut(&key) {
            slot.used = now;
            return (Arc::clone(&slot.it), false);
        }
        if self.held.load(Ordering::Relaxed) >= self.held_max {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return (Arc::clone(&self.shared), true);
        }
        let it = Arc::new((self.make)());
        self.held.fetch_add(1, Ordering::Relaxed);
        shard.insert(key, Slot { used: now, it: Arc::clone(&it) });
        (it, false)
    }

    /// How many keys have something of their own.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How often somebody had to share.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    fn sweep_if_due(&self, now: Moment) {
        let due = self.next_sweep.load(Ordering::Relaxed);
        // Without room the next sweep may come earlier than was planned.
        let is_full = self.held() >= self.held_max;
        let due_now = if is_full { due.saturating_sub(nanos(SWEEP_EVERY - SWEEP_EVERY_FULL)) } else { due };
        let next = now.0 + nanos(SWEEP_EVERY);
        if now.0 >= due_now && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.sweep(now);
        }
    }

    fn sweep(&self, now: Moment) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, slot| {
                if Arc::strong_count(&slot.it) > 1 {
                    // What is held is in use. Nobody can take hold of it but through this lock.
                    slot.used = now;
                }
                now.0.saturating_sub(slot.used.0) < self.idle_ns
            });
            self.held.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if shard.capacity() > 4 * shard.len() {
                shard.shrink_to_fit();
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("held", &self.held).field("held_max", &self.held_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(3);

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn table(held_max: usize) -> Table<u32, ()> {
        Table::new(held_max, IDLE, || ())
    }

    #[test]
    fn a_key_gets_the_same_again() {
        let table = table(10);
        let (one, shares) = table.of(1, at(0));
        assert!(!shares);
        assert!(Arc::ptr_eq(&one, &table.of(1, at(1)).0));
        assert!(!Arc::ptr_eq(&one, &table.of(2, at(1)).0));
        assert_eq!((table.held(), table.overflowed()), (2, 0));
    }

    #[test]
    fn keys_beyond_the_bound_share_one() {
        let table = table(2);
        let kept = [table.of(1, at(0)).0, table.of(2, at(0)).0];
        let (three, shares) = table.of(3, at(0));
        assert!(shares);
        assert!(Arc::ptr_eq(&three, &table.of(4, at(0)).0));
        assert!(Arc::ptr_eq(&kept[0], &table.of(1, at(0)).0));
        assert_eq!((table.held(), table.overflowed()), (2, 2));
    }

    #[test]
    fn what_is_not_used_makes_room_within_seconds() {
        let table = table(100);
        for key in 0..100 {
            table.of(key, at(0));
        }
        assert!(table.of(100, at(500)).1);
        assert!(table.of(100, at(2_999)).1);
        // The sweep of a full table comes after a second, and finds them idle since three.
        assert!(!table.of(100, at(3_999)).1);
        assert_eq!(table.held(), 1);
    }

    #[test]
    fn what_somebody_holds_stays_until_it_was_idle_for_long_enough() {
        let table = table(100);
        let (held, _) = table.of(1, at(0));
        table.of(2, at(0));
        table.of(3, at(20_000));
        assert!(Arc::ptr_eq(&held, &table.of(1, at(20_001)).0));
        assert_eq!(table.held(), 2, "of three keys only the second was idle");
        drop(held);
        table.of(3, at(40_000));
        assert_eq!(table.held(), 1);
    }

    #[test]
    fn a_million_keys_take_no_more_room_than_the_bound() {
        let table: Table<u32, [u64; 4]> = Table::new(1_000, IDLE, Default::default);
        for key in 0..1_000_000 {
            table.of(key, at(u64::from(key) / 1_000));
            assert!(table.held() <= 1_000);
        }
        let slots: usize = table.shards.iter().map(|shard| shard.lock().expect("no panic").capacity()).sum();
        assert!(slots <= 8_000, "{slots}");
        table.of(0, at(60_000));
        let slots: usize = table.shards.iter().map(|shard| shard.lock().expect("no panic").capacity()).sum();
        assert!(slots <= 8, "{slots}");
    }
}
