//! The topics of a shard.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use foldhash::fast::FixedState;
use foldhash::quality::RandomState;
use slab::Slab;

use super::conn::Member;
use super::forms::Forms;
use super::newest::Newest;
use crate::broker::{Follower, Message, Topic};
use crate::protocol::TopicName;
use crate::ring::Seq;

/// One topic in a shard.
#[derive(Debug)]
pub(super) struct TopicSlot {
    pub(super) topic: Arc<Topic>,
    pub(super) follower: Arc<Follower>,
    /// The next entry to fan out: every connection that is not stalled stands here.
    pub(super) cursor: Seq,
    /// Connections that subscribe to the name.
    pub(super) members: Vec<Member>,
    /// How they want their messages compressed.
    pub(super) forms: Forms,
    /// Connections that subscribe to the name and want no more than so many messages a second.
    pub(super) paced: Vec<Member>,
    /// Which messages are the newest of their key, while somebody is to get only those.
    newest: Option<Box<Newest>>,
    /// Members of the topic that are told who comes and goes, and the version that they know.
    pub(super) watchers: HashMap<u32, u64, FixedState>,
    /// The version that all of them have been told, but for those who are behind.
    pub(super) told: u64,
    /// The shard's patterns that match the name.
    pub(super) patterns: Vec<u32>,
    /// How many stalled connections have a place here.
    pub(super) stalled: u32,
}

impl TopicSlot {
    /// Takes note of which messages are the newest of their key, up to the cursor.
    pub(super) fn note_newest(&mut self) {
        self.newest.get_or_insert_default().update(&self.topic, self.cursor);
    }

    /// Whether there is no newer message of the same key, as it was [noted](Self::note_newest).
    pub(super) fn is_newest(&self, seq: Seq, message: &Message) -> bool {
        self.newest.as_ref().is_none_or(|newest| newest.is_newest(seq, message))
    }

    /// Whether nobody follows the name.
    pub(super) fn is_unnamed(&self) -> bool {
        self.members.is_empty() && self.paced.is_empty()
    }

    /// Forgets what nobody needs to know any more.
    pub(super) fn forget_newest(&mut self) {
        if self.stalled == 0 && self.paced.is_empty() {
            self.newest = None;
        }
    }
}

/// All topics of a shard, by number and by name.
#[derive(Debug, Default)]
pub(super) struct TopicSlots {
    slots: Slab<TopicSlot>,
    by_name: HashMap<TopicName, u32, RandomState>,
    /// Topics that no stalled connection has a place in any more; some may have to be let go of.
    unpinned: Vec<u32>,
}

impl Index<u32> for TopicSlots {
    type Output = TopicSlot;

    fn index(&self, slot: u32) -> &TopicSlot {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for TopicSlots {
    fn index_mut(&mut self, slot: u32) -> &mut TopicSlot {
        &mut self.slots[slot as usize]
    }
}

impl TopicSlots {
    pub(super) fn pin(&mut self, slot: u32) {
        self[slot].stalled += 1;
    }

    pub(super) fn unpin(&mut self, slot: u32) {
        self[slot].stalled -= 1;
        if self[slot].stalled == 0 {
            self[slot].forget_newest();
            self.unpinned.push(slot);
        }
    }

    /// Topics whose last place has been given up since this was asked.
    pub(super) fn take_unpinned(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unpinned)
    }

    pub(super) fn named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The numbers in use are below this.
    pub(super) fn numbers(&self) -> u32 {
        // As many as there have been at once; a shard's topics are bounded far below 2^32.
        self.slots.capacity() as u32
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.slots.contains(slot as usize)
    }

    /// The topic's place here, which is made if need be.
    pub(super) fn of(
        &mut self,
        topic: &Arc<Topic>,
        follower: &Arc<Follower>,
        patterns: impl FnOnce(&str) -> Vec<u32>,
    ) -> u32 {
        if follower.slot() != Follower::NO_SLOT {
            return follower.slot();
        }
        let slot = self.slots.insert(TopicSlot {
            topic: Arc::clone(topic),
            follower: Arc::clone(follower),
            cursor: Seq(follower.passed().0 + 1),
            members: Vec::new(),
            forms: Forms::default(),
            paced: Vec::new(),
            newest: None,
            watchers: HashMap::default(),
            told: 0,
            patterns: patterns(topic.name()),
            stalled: 0,
        }) as u32;
        follower.set_slot(slot);
        self.by_name.insert(topic.name().clone(), slot);
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> TopicSlot {
        let gone = self.slots.remove(slot as usize);
        gone.follower.set_slot(Follower::GONE);
        // A topic that was removed and born anew has another number under the same name.
        if self.named(gone.topic.name()) == Some(slot) {
            self.by_name.remove(gone.topic.name());
        }
        gone
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicSlot> {
        self.slots.iter().map(|(_, slot)| slot)
    }
}
