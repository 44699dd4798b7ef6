//! Where a connection stands that is behind its shard: its socket does not take all there is, or it asked
//! to begin earlier.
//!
//! It costs a place per topic that moved meanwhile and the rest of one partly written frame, never a
//! queue.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::slots::TopicSlots;
use crate::broker::{Form, Message, Topic};
use crate::ring::Seq;

/// What a connection is owed.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    /// The frame that has been written in part. It comes before anything else.
    rest: Option<Rest>,
    /// Where it goes on in each topic that moved meanwhile, by the topic's number in the shard: which nobody
    /// outside can choose, so that a hash without a secret does, and a simulation can be repeated.
    places: HashMap<u32, Place, FixedState>,
    /// Which topic comes first this time.
    turn: usize,
    /// How many places it has stood at.
    noted: u64,
    /// In the shard's list of those that go on in the next turn.
    pub(super) queued: bool,
}

/// Where it goes on in one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The next entry. It may be beyond the shard's cursor, for somebody who knows what the shard has not
    /// come to.
    pub(super) next: Seq,
    /// Entries before this one were asked for: none of them is passed over.
    pub(super) asked_to: Seq,
    /// Which of its places this is: those of a topic that was removed and born anew have this order.
    pub(super) noted: u64,
}

impl Place {
    pub(super) fn new(next: Seq, asked_to: Seq) -> Self {
        Place { next, asked_to, noted: 0 }
    }
}

/// The rest of a frame.
#[derive(Debug)]
pub(super) enum Rest {
    /// Of a message: not its bytes, but where to find them.
    Frame(Partial),
    /// Of something short that was made for this connection.
    Bytes(Vec<u8>),
}

/// A message's frame that has been written in part.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) message: Arc<Message>,
    pub(super) topic: Arc<Topic>,
    pub(super) seq: Seq,
    /// The form it is being written in.
    pub(super) form: Form,
    /// Bytes of the frame that have been written.
    pub(super) at: usize,
}

impl Rest {
    /// The bytes that are left.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Rest::Frame(partial) => &partial.message.frame(partial.form, &partial.topic, partial.seq)[partial.at..],
            Rest::Bytes(bytes) => bytes,
        }
    }
}

impl Stalled {
    pub(super) fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    pub(super) fn set_rest(&mut self, rest: Option<Rest>) {
        self.rest = rest;
    }

    /// Whether it has nothing in hand: neither half a frame nor a place to go on from.
    pub(super) fn is_even(&self) -> bool {
        self.rest.is_none() && self.places.is_empty()
    }

    /// The next entry of that topic, if it is behind there.
    pub(super) fn next(&self, slot: u32) -> Option<Seq> {
        self.places.get(&slot).map(|place| place.next)
    }

    /// Where it is behind.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, Place)> {
        self.places.iter().map(|(&slot, &place)| (slot, place))
    }

    /// A number that is another one each time.
    pub(super) fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Goes on at `next` in a topic in which it is behind.
    pub(super) fn move_on(&mut self, slot: u32, next: Seq) {
        if let Some(place) = self.places.get_mut(&slot) {
            place.next = next;
        }
    }

    /// Notes that a topic moved from `next` on. A place that is noted already stays.
    ///
    /// False when it is behind in `places_max` topics and this would be one more.
    pub(super) fn fall_behind(&mut self, slots: &mut TopicSlots, slot: u32, next: Seq, places_max: usize) -> bool {
        self.stand(slots, slot, Place::new(next, Seq(0)), places_max)
    }

    /// Notes where it stands in a topic. A place that is noted already stays.
    ///
    /// False when it is behind in `places_max` topics and this would be one more.
    pub(super) fn stand(&mut self, slots: &mut TopicSlots, slot: u32, place: Place, places_max: usize) -> bool {
        if self.places.contains_key(&slot) {
            return true;
        }
        if self.places.len() >= places_max {
            return false;
        }
        self.noted += 1;
        self.places.insert(slot, Place { noted: self.noted, ..place });
        slots.pin(slot);
        true
    }

    /// Nothing of that topic is owed any more.
    pub(super) fn forget(&mut self, slots: &mut TopicSlots, slot: u32) {
        if self.places.remove(&slot).is_some() {
            slots.unpin(slot);
        }
    }

    /// Nothing of any topic is owed, but for the rest of a frame.
    pub(super) fn forget_all(&mut self, slots: &mut TopicSlots) {
        for (slot, _) in self.places.drain() {
            slots.unpin(slot);
        }
    }

    /// What it takes of memory.
    pub(super) fn bytes(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.bytes().len());
        rest + self.places.capacity() * size_of::<(u32, Place)>()
    }

    pub(super) fn behind(&self) -> impl Iterator<Item = u32> {
        self.places.keys().copied()
    }
}
