//! The ring beside a `VecDeque` that does the same in the plainest way: the body of the property tests
//! and of the fuzz target.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Cursor, Entry, Lagged, PushError, Pushed, Retention, Ring, Seq};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    id: u64,
    weight: usize,
    at_ms: u64,
}

impl Entry for Item {
    fn weight(&self) -> usize {
        self.weight
    }

    fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

/// The naive ring.
struct Oracle {
    items: VecDeque<(u64, Item)>,
    newest: u64,
    retention: Retention,
    window: u64,
    closed: bool,
}

impl Oracle {
    fn oldest(&self) -> u64 {
        self.items.front().map_or(self.newest + 1, |(seq, _)| *seq)
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|(_, item)| item.weight).sum()
    }

    fn evict_while(&mut self, passed: Seq, over: impl Fn(&Self, &Item) -> bool) -> usize {
        let mut freed = 0;
        while let Some(&(seq, item)) = self.items.front()
            && Seq(seq) <= passed
            && over(self, &item)
        {
            self.items.pop_front();
            freed += item.weight;
        }
        freed
    }

    fn evict(&mut self, now_ms: u64, passed: Seq) -> usize {
        self.evict_while(passed, |this, oldest| {
            this.items.len() > this.retention.entries_max
                || this.bytes() > this.retention.bytes_max
                || now_ms.saturating_sub(oldest.at_ms) > this.retention.age_ms_max
        })
    }

    fn shrink(&mut self, bytes_max: usize, passed: Seq) -> usize {
        self.evict_while(passed, |this, _| bytes_max == 0 || this.bytes() > bytes_max)
    }

    fn push(&mut self, item: Item, passed: Seq) -> Result<Pushed, PushError<Item>> {
        let seq = self.newest + 1;
        if passed < Seq(seq) && seq - passed.0 > self.window {
            return Err(PushError::Full(item));
        }
        if self.closed {
            return Err(PushError::Closed(item));
        }
        self.newest = seq;
        self.items.push_back((seq, item));
        Ok(Pushed { seq: Seq(seq), evicted_bytes: self.evict(item.at_ms, passed) })
    }

    fn read(&self, from: Seq, take: usize) -> Result<(Seq, Vec<(u64, Item)>), Lagged> {
        let from = from.0.max(1);
        let oldest = self.oldest();
        if from < oldest {
            return Err(Lagged { missed: oldest - from, resume: Seq(oldest) });
        }
        let after = self.items.iter().filter(|(seq, _)| *seq >= from);
        let read: Vec<_> = after.take(take).copied().collect();
        Ok((Seq(from + read.len() as u64), read))
    }
}

/// Does what `data` spells out to a ring and to the oracle, and compares all that can be seen of them.
///
/// # Panics
///
/// When they differ.
pub fn fuzz_ops(data: &[u8]) {
    let mut data = data.iter().copied();
    let mut byte = move || data.next();
    let (Some(entries), Some(bytes), Some(age), Some(shape)) = (byte(), byte(), byte(), byte()) else {
        return;
    };
    let retention = Retention {
        entries_max: usize::from(entries % 40),
        bytes_max: usize::from(bytes) * 8,
        age_ms_max: u64::from(age),
    };
    let window = u64::from(shape % 16) + 1;
    let slots = 4..=4 << (shape >> 6);
    let ring = Arc::new(Ring::with_window(retention, window, slots));
    let mut oracle = Oracle { items: VecDeque::new(), newest: 0, retention, window, closed: false };
    let mut cursor = Cursor::new(Arc::clone(&ring), Seq(1));
    let (mut id, mut now_ms, mut passed) = (0, 0, Seq::MAX);

    while let (Some(op), Some(arg)) = (byte(), byte()) {
        match op % 16 {
            0..=6 => {
                id += 1;
                let weight = usize::from(arg) * usize::from(op >> 4) / 8;
                let item = Item { id, weight, at_ms: now_ms };
                let pushed = ring.push(Arc::new(item), || passed);
                let pushed = pushed.map_err(|refused| match refused {
                    PushError::Full(item) => PushError::Full(*item),
                    PushError::Closed(item) => PushError::Closed(*item),
                });
                assert_eq!(pushed, oracle.push(item, passed));
            }
            7 => {
                now_ms += u64::from(arg);
                assert_eq!(ring.evict(now_ms, passed), oracle.evict(now_ms, passed));
            }
            8 => {
                let bytes_max = usize::from(arg) * 8;
                assert_eq!(ring.shrink(bytes_max, passed), oracle.shrink(bytes_max, passed));
            }
            9 | 10 => {
                let from = Seq((oracle.newest + 3).saturating_sub(u64::from(arg)));
                let take = usize::from(op >> 4) + 1;
                let mut read = Vec::new();
                let next = ring.read(from, |seq, item| {
                    read.push((seq.0, **item));
                    if read.len() == take { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                assert_eq!(next.map(|next| (next, read)), oracle.read(from, take));
            }
            11 => {
                let at = cursor.at();
                let next = cursor.next().map(|item| item.map(|item| *item));
                match oracle.read(at, 1) {
                    Ok((position, read)) => {
                        assert_eq!(next, Ok(read.first().map(|(_, item)| *item)));
                        assert_eq!(cursor.at(), position);
                    }
                    Err(lagged) => {
                        assert_eq!(next, Err(lagged));
                        assert_eq!(cursor.at(), lagged.resume);
                    }
                }
            }
            // A reader that holds publishers back comes at the end, moves on, and goes.
            12 => passed = Seq(oracle.newest),
            13 if passed != Seq::MAX => {
                passed = Seq((passed.0 + u64::from(arg % 8)).min(oracle.newest));
            }
            14 => passed = Seq::MAX,
            15 if arg < 4 => {
                let newest = Seq(oracle.newest.saturating_sub(u64::from(arg)));
                let closes = !oracle.closed && newest.0 == oracle.newest;
                assert_eq!(ring.close_after(newest), closes);
                oracle.closed |= closes;
            }
            _ => {}
        }
        assert_eq!(ring.newest(), Seq(oracle.newest));
        assert_eq!(ring.oldest(), Seq(oracle.oldest()));
        assert_eq!(ring.retained_entries(), oracle.items.len());
        assert_eq!(ring.retained_bytes(), oracle.bytes());
        assert_eq!(ring.is_closed(), oracle.closed);
    }
}
