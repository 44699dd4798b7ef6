//! One connection as its shard sees it.

use std::sync::Arc;

use super::link::Link;
use super::mail::Inheritance;
use super::pace::Paces;
use super::stalled::Stalled;
use crate::broker::ConnectionId;
use crate::protocol::Event;
use crate::ws;

/// A connection's state within a pass and between passes. Kept small: there are many.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) link: Arc<Link>,
    /// Finished frames that go ahead of messages: replies, errors, pings, gaps.
    pub(super) lane: Vec<u8>,
    /// Runs of the current pass that are to be written, by their index in the pass.
    pub(super) pieces: Vec<u32>,
    /// Set while the socket does not take all there is. Then `pieces` is empty.
    pub(super) stalled: Option<Box<Stalled>>,
    /// The place of another connection that it has taken: its name as a member, and the topics that it has
    /// not subscribed to yet.
    pub(super) heir: Option<Box<Inheritance>>,
    /// Of the topics of which it wants no more than so many messages a second.
    pub(super) paces: Option<Box<Paces>>,
    /// What it subscribes to, each with its place in the list of members there.
    pub(super) subs: Vec<Sub>,
    /// The last run that was staged here: a connection that several lists name gets it once.
    pub(super) stamp: u64,
    /// In the list of connections that the current pass is to write to.
    pub(super) touched: bool,
    /// The server has begun to close: no more messages.
    pub(super) closing: bool,
    /// It ends in a way after which nobody comes back.
    pub(super) left_for_good: bool,
    /// The last tick in which something was written.
    pub(super) sent: u32,
    /// The tick of a ping that has not been answered.
    pub(super) pinged: Option<u32>,
    /// How many gaps it has been told of.
    pub(super) gaps: u32,
}

/// One subscription of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sub {
    pub(super) to: List,
    /// Its index in that list.
    pub(super) place: u32,
    /// Whether it is told who is there.
    pub(super) watches: bool,
}

impl Sub {
    /// The topic of which it is told who is there; from now on it is not.
    pub(super) fn take_watched(&mut self) -> Option<u32> {
        match self.to {
            List::Topic(slot) | List::Paced(slot) if std::mem::take(&mut self.watches) => Some(slot),
            _ => None,
        }
    }
}

/// Which list of members, by its number in the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Topic(u32),
    /// Those of a topic who want no more than so many messages a second.
    Paced(u32),
    Pattern(u32),
}

/// The other end of a [`Sub`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) conn: u32,
    /// Its index in the connection's `subs`.
    pub(super) sub: u32,
}

impl Conn {
    pub(super) fn new(link: Arc<Link>, lane: Vec<u8>, tick: u32) -> Self {
        Conn {
            link,
            lane,
            pieces: Vec::new(),
            stalled: None,
            heir: None,
            paces: None,
            subs: Vec::new(),
            stamp: 0,
            touched: false,
            closing: false,
            left_for_good: false,
            sent: tick,
            pinged: None,
            gaps: 0,
        }
    }

    /// What it is called as a member of a topic.
    pub(super) fn member(&self) -> ConnectionId {
        self.heir.as_ref().map_or(self.link.id, |heir| heir.member)
    }

    /// Puts an event of the shard's own into the lane.
    pub(super) fn say(&mut self, event: &Event<'_>) {
        let mut payload = Vec::with_capacity(128);
        event.encode(self.link.form.encoding(), &mut payload);
        let before = self.lane.len();
        ws::push(&mut self.lane, self.link.form.opcode(), &payload);
        self.link.add_lane(self.lane.len() - before);
    }

    /// Puts finished frames of the shard's own into the lane.
    pub(super) fn say_frames(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.lane.len();
        write(&mut self.lane);
        self.link.add_lane(self.lane.len() - before);
    }

    /// The first `bytes` of the lane have been written.
    pub(super) fn lane_written(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if bytes == self.lane.len() {
            // An idle connection keeps no buffer.
            self.lane = Vec::new();
        } else {
            self.lane.drain(..bytes);
        }
        self.link.sub_lane(bytes);
    }

    /// Its subscription to a topic's name, of either kind.
    pub(super) fn sub_to_name(&self, slot: u32) -> Option<usize> {
        self.sub_to(List::Topic(slot)).or_else(|| self.sub_to(List::Paced(slot)))
    }

    pub(super) fn sub_to(&self, list: List) -> Option<usize> {
        self.subs.iter().position(|sub| sub.to == list)
    }
}
