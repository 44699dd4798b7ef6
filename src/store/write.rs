//! From the broker into the file: what has changed since the last time, in one transaction.
//!
//! The rings are read as they are, while messages are published: what comes meanwhile is written now or the
//! next time, whole or not at all.

use std::ops::ControlFlow;
use std::sync::Arc;

use redb::{Database, ReadableTable, Table};

use super::block::{self, Block};
use super::file::{Fault, MARKS, MESSAGES, MarkRow, TOPICS};
use crate::broker::{Broker, Mark, Topic};
use crate::protocol::TopicName;
use crate::ring::Seq;

/// How many topics, or marks, are asked for at a time, while others wait for the registry's lock.
const STRETCH: usize = 512;

/// What the file is known to have.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Of the publishes that may be repeated, the number of the next.
    next_mark: u64,
    /// Whether it is known that the file has what the topics say it has. If not, all of it is compared.
    is_known: bool,
}

impl Progress {
    /// After a clean end the file has what has just been read from it.
    pub(super) fn after(clean: bool) -> Self {
        Progress { next_mark: 0, is_known: clean }
    }
}

/// Writes what has changed. If that fails it is not known any more what the file has.
pub(super) fn write(database: &Database, broker: &Broker, progress: &mut Progress) -> Result<(), Fault> {
    let Progress { mut next_mark, is_known } = std::mem::take(progress);
    let registry = broker.registry();
    let transaction = database.begin_write()?;
    let mut written = Vec::new();
    let mut changed = false;
    {
        let mut marks = transaction.open_table(MARKS)?;
        if !is_known {
            // Numbered by another process, maybe with holes.
            changed |= marks.first()?.is_some();
            marks.retain(|_, _| false)?;
        }
        // Before the topics: a publish that is known as one that was there has its message in the file.
        changed |= write_marks(&mut marks, broker, &mut next_mark)?;
        let mut file = Rows { topics: transaction.open_table(TOPICS)?, messages: transaction.open_table(MESSAGES)? };
        let mut gone = registry.take_forgotten();
        if !is_known {
            gone = file.names()?;
        }
        for name in gone.iter().filter(|name| registry.get(name).is_none()) {
            file.remove(name)?;
            changed = true;
        }
        let mut after = None;
        loop {
            let stretch = registry.stretch(after.as_ref(), STRETCH);
            for topic in &stretch {
                let ring = topic.ring();
                if !is_known || topic.stored() != ring.newest().0.wrapping_add(ring.oldest().0) {
                    written.push((Arc::clone(topic), file.write(topic)?));
                }
            }
            let Some(last) = stretch.last() else { break };
            after = Some(last.name().clone());
        }
        changed |= write_late_marks(&mut marks, &file, broker, next_mark)?;
    }
    if changed || !written.is_empty() {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    for stretch in written.chunks(STRETCH) {
        registry.settle(stretch);
    }
    *progress = Progress { next_mark, is_known: true };
    Ok(())
}

/// Adds the publishes that may be repeated from `next` on, and removes those that are forgotten.
fn write_marks(rows: &mut Table<'_, u64, MarkRow>, broker: &Broker, next: &mut u64) -> Result<bool, Fault> {
    let mut changed = false;
    let (oldest, _) = broker.registry().marks(0, 0);
    if rows.first()?.is_some_and(|(number, _)| number.value() < oldest) {
        rows.retain_in(..oldest, |_, _| false)?;
        changed = true;
    }
    // No further than this: somebody who publishes all the time must not be followed for ever.
    let end = broker.registry().marks_end();
    while *next < end {
        let (first, marks) = broker.registry().marks(*next, STRETCH);
        *next = first + marks.len() as u64;
        for (number, mark) in (first..).zip(&marks) {
            insert_mark(rows, number, mark)?;
        }
        changed = true;
    }
    Ok(changed)
}

/// Adds those of the publishes from `next` on, which came while topics were written, whose messages are in the
/// file: after a crash a message that is there must not be published again. The next time has all of them.
fn write_late_marks(
    marks: &mut Table<'_, u64, MarkRow>,
    file: &Rows<'_>,
    broker: &Broker,
    mut next: u64,
) -> Result<bool, Fault> {
    let mut changed = false;
    // Waits for whoever has placed a message and not yet remembered it.
    let end = broker.registry().marks_end();
    while next < end {
        let (first, late) = broker.registry().marks(next, STRETCH);
        next = first + late.len() as u64;
        for (number, mark) in (first..).zip(&late) {
            // A topic's name holds no NUL.
            let topic = mark.name.split('\0').next().unwrap_or_default();
            let written = file.topics.get(topic)?.map(|row| row.value());
            if written.is_some_and(|(epoch, newest, _)| epoch == mark.epoch.0 && mark.seq.0 <= newest) {
                insert_mark(marks, number, mark)?;
                changed = true;
            }
        }
    }
    Ok(changed)
}

fn insert_mark(marks: &mut Table<'_, u64, MarkRow>, number: u64, mark: &Mark) -> Result<(), Fault> {
    marks.insert(number, (&*mark.name, mark.at_ms, mark.epoch.0, mark.seq.0))?;
    Ok(())
}

/// The rows of topics.
struct Rows<'txn> {
    topics: Table<'txn, &'static str, (u64, u64, u64)>,
    messages: Table<'txn, (&'static str, u64), &'static [u8]>,
}

impl Rows<'_> {
    fn names(&self) -> Result<Vec<TopicName>, Fault> {
        let mut names = Vec::new();
        for row in self.topics.iter()? {
            let (name, _) = row?;
            names.push(TopicName::parse(name.value()).map_err(|_| Fault::damaged("a topic has an illegal name"))?);
        }
        Ok(names)
    }

    fn remove(&mut self, name: &str) -> Result<(), Fault> {
        self.topics.remove(name)?;
        self.remove_before(name, u64::MAX)
    }

    /// Removes the blocks that begin before `end`.
    fn remove_before(&mut self, name: &str, end: u64) -> Result<(), Fault> {
        Ok(self.messages.retain_in((name, 0)..(name, end), |_, _| false)?)
    }

    /// Makes the rows of a topic what its ring is; gives what [`Topic::stored`] is to say.
    fn write(&mut self, topic: &Topic) -> Result<u64, Fault> {
        let (name, epoch, ring) = (&**topic.name(), topic.epoch().0, topic.ring());
        let is_other = self.topics.get(name)?.is_some_and(|row| row.value().0 != epoch);
        if is_other {
            self.remove_before(name, u64::MAX)?;
        }
        // No further than this: somebody who publishes all the time must not be followed for ever.
        let last = ring.newest();
        let mut oldest = ring.oldest();
        self.trim(name, oldest)?;
        let (mut first, mut block) = self.last_block(name)?.unwrap_or((oldest, Block::new()));
        loop {
            let from = Seq(first.0 + block.count());
            let before = block.count();
            let read = ring.read(from, |seq, message| {
                if seq <= last && block.push(message) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            match read {
                Ok(_) => {}
                Err(lagged) => {
                    // Everything that was written has left the ring meanwhile.
                    self.remove_before(name, u64::MAX)?;
                    oldest = lagged.resume;
                    (first, block) = (oldest, Block::new());
                    continue;
                }
            }
            if block.count() > before {
                self.messages.insert((name, first.0), block.bytes())?;
            }
            let next = Seq(first.0 + block.count());
            if next > last {
                let newest = next.0 - 1;
                self.topics.insert(name, (epoch, newest, topic.touched_ms()))?;
                return Ok(newest.wrapping_add(oldest.0));
            }
            (first, block) = (next, Block::new());
        }
    }

    /// Removes what is older than `oldest`; of the block that it is in, the part before it.
    fn trim(&mut self, name: &str, oldest: Seq) -> Result<(), Fault> {
        let rest = match self.messages.range((name, 0)..(name, oldest.0))?.next_back() {
            None => return Ok(()),
            Some(row) => {
                let (key, block) = row?;
                let (_, first) = key.value();
                let gone = u32::try_from(oldest.0 - first).unwrap_or(u32::MAX);
                let block = block.value();
                (block::count(block)? > gone).then(|| block::without(block, gone)).transpose()?
            }
        };
        self.remove_before(name, oldest.0)?;
        if let Some(rest) = rest {
            self.messages.insert((name, oldest.0), &*rest)?;
        }
        Ok(())
    }

    /// The last block of a topic, to go on with.
    fn last_block(&self, name: &str) -> Result<Option<(Seq, Block)>, Fault> {
        let Some(row) = self.messages.range((name, 0)..=(name, u64::MAX))?.next_back() else { return Ok(None) };
        let (key, block) = row?;
        Ok(Some((Seq(key.value().1), Block::read(block.value())?)))
    }
}
