//! From the file into the broker.

use std::cmp::Reverse;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::Restored;
use super::block::{self, Unreadable};
use super::file::{Fault, MARKS, MESSAGES, TOPICS};
use crate::broker::{Broker, Mark, Remembered};
use crate::protocol::{Epoch, TopicName};
use crate::ring::Seq;

/// No offset is larger: clients read them as numbers of 53 bits.
const OFFSET_MAX: u64 = 1 << 53;

/// Puts everything into `broker` that it has room for. After an end that was not `clean` nobody's position
/// counts any more, so every topic gets a new epoch.
pub(super) fn restore(file: &ReadTransaction, clean: bool, broker: &Broker) -> Result<Restored, Fault> {
    let (registry, now_ms) = (broker.registry(), broker.now_ms());
    let topics = file.open_table(TOPICS)?;
    let blocks = file.open_table(MESSAGES)?;
    let mut restored = Restored { clean, topics: 0, messages: 0, left_out: 0 };
    let mut unseen = blocks.len()?;
    // Where there is not room for all, it is for those that were published to last.
    let mut order = Vec::new();
    for row in topics.iter()? {
        let (name, row) = row?;
        let name = TopicName::parse(name.value()).map_err(|_| Fault::damaged("a topic has an illegal name"))?;
        let (_, _, touched_ms) = row.value();
        order.push((Reverse(touched_ms), name));
    }
    order.sort_unstable_by_key(|(touched_ms, _)| *touched_ms);

    for (_, name) in order {
        let Some(row) = topics.get(&*name)? else { continue };
        let (epoch, newest, _) = row.value();
        let mut messages = Vec::new();
        let mut next = None;
        for row in blocks.range((&*name, 0)..=(&*name, u64::MAX))? {
            let (key, block) = row?;
            let (_, first) = key.value();
            if next.is_some_and(|next| next != first) {
                return Err(Fault::damaged(format!("messages of {name} are missing")));
            }
            let block = block.value();
            block::messages(block, name.len(), &mut messages)?;
            next = Some(first + u64::from(block::count(block)?));
            unseen -= 1;
        }
        if newest > OFFSET_MAX || newest < messages.len() as u64 || next.is_some_and(|next| next != newest + 1) {
            return Err(Fault::damaged(format!("messages of {name} are numbered wrongly")));
        }
        let epoch = clean.then_some(Epoch(epoch));
        match registry.remember(Remembered { name, epoch, newest: Seq(newest), messages }, now_ms) {
            Ok(Some(messages)) => {
                restored.topics += 1;
                restored.messages += messages;
            }
            Ok(None) => {}
            Err(_) => restored.left_out += 1,
        }
    }
    if unseen != 0 {
        return Err(Fault::damaged("messages belong to no topic"));
    }
    for row in file.open_table(MARKS)?.iter()? {
        let (number, row) = row?;
        let (name, at_ms, epoch, seq) = row.value();
        let mark = Mark { name: Arc::from(name), at_ms: at_ms.min(now_ms), epoch: Epoch(epoch), seq: Seq(seq) };
        registry.remember_mark(number.value(), &mark);
    }
    Ok(restored)
}

impl From<Unreadable> for Fault {
    fn from(_: Unreadable) -> Self {
        Fault::damaged("messages cannot be read")
    }
}
