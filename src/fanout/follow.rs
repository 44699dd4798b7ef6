//! Who follows what: joins, leaves, and the patterns of a shard.
//!
//! A pattern is walked once per shard, in stretches, when its first connection joins; from then on
//! topics are born followed. Its `subscribed` is sent when the walk is done and what had been
//! published before has been fanned out, so that nothing published after it is missed.

use std::ops::Index;
use std::sync::Arc;

use slab::Slab;

use super::conn::{List, Member, Sub};
use super::forms::Forms;
use super::link::Link;
use super::mail::{Asker, Start, Terms};
use super::pace::Pace;
use super::shard::Shard;
use super::slots::TopicSlots;
use super::stalled::Place;
use crate::broker::{Broker, Inbox, PatternTree, Subscriber, TooManyMembers, TooManyTopics, Topic};
use crate::protocol::{ErrorCode, Event, Filter, Pattern, Position, Recovery, RecoveryFailure, TopicName};
use crate::ring::Seq;

/// How many topics a turn looks at for patterns that are being joined or left.
const TURN_WALK_MAX: usize = 512;

/// The patterns of a shard.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    slots: Slab<PatternSlot>,
    tree: PatternTree<u32>,
    /// Patterns whose walk is done and that have connections to let in.
    settling: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct PatternSlot {
    pattern: Pattern,
    pub(super) members: Vec<Member>,
    /// How they want their messages compressed.
    pub(super) forms: Forms,
    /// Connections that join once the walk is done and `unsettled` topics have been fanned out.
    waiting: Vec<(Arc<Link>, Asker)>,
    unsettled: usize,
    state: Walked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walked {
    /// The topics that exist are being walked.
    Joining,
    /// All topics that match are followed.
    Whole,
    /// Nobody is left: its topics are being let go of.
    Leaving,
}

/// A walk over topics, a stretch at a time.
#[derive(Debug)]
pub(super) enum Walk {
    /// Follows the topics that match, from that name on.
    Join { pattern: u32, after: Option<TopicName> },
    /// Takes the pattern from the shard's topics, from that number on.
    Leave { pattern: u32, next: u32 },
}

impl Index<u32> for Patterns {
    type Output = PatternSlot;

    fn index(&self, pattern: u32) -> &PatternSlot {
        &self.slots[pattern as usize]
    }
}

impl Patterns {
    /// The patterns that match a name.
    pub(super) fn matching(&self, name: &str) -> Vec<u32> {
        let mut found = Vec::new();
        self.tree.matches(name, |&pattern| found.push(pattern));
        found
    }

    /// So many dirty topics have been fanned out.
    pub(super) fn settle(&mut self, topics: usize) {
        for &pattern in &self.settling {
            let slot = &mut self.slots[pattern as usize];
            slot.unsettled = slot.unsettled.saturating_sub(topics);
        }
    }

    /// Whether connections wait to be let in.
    pub(super) fn is_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    pub(super) fn unfollow_all(&self, broker: &Broker, inbox: &Arc<Inbox>) {
        for (_, slot) in &self.slots {
            if slot.state != Walked::Leaving {
                broker.registry().unfollow_pattern(&slot.pattern, inbox);
            }
            for _ in &slot.members {
                broker.registry().count_pattern_subscriber(&slot.pattern, false);
            }
        }
    }

    fn slot(&mut self, pattern: u32) -> &mut PatternSlot {
        &mut self.slots[pattern as usize]
    }
}

impl Shard {
    pub(super) fn join(&mut self, conn: u32, target: Filter, terms: Terms, asker: Asker) {
        // What is staged goes first: it must not come between the answer and what follows it.
        self.flush(conn);
        let list = match &target {
            Filter::Topic(name) => self.slots.named(name).map(List::Topic),
            Filter::Pattern(pattern) => self.patterns.tree.get_mut(pattern).map(|pattern| List::Pattern(*pattern)),
        };
        let state = &self.conns[conn as usize];
        let again = list.is_some_and(|list| match list {
            List::Topic(slot) | List::Paced(slot) => state.sub_to_name(slot).is_some(),
            List::Pattern(_) => state.sub_to(list).is_some(),
        });
        if !again && state.subs.len() >= self.options.subscriptions_per_connection_max {
            self.mailbox.stats().limited_subscriptions.add(1);
            self.refuse(
                conn,
                &target,
                &asker,
                ErrorCode::TooManySubscriptions,
                "as many subscriptions as a connection may have",
            );
            return;
        }
        match target {
            Filter::Pattern(pattern) if again => self.subscribed(conn, &pattern, &asker, None, None),
            Filter::Pattern(pattern) => self.join_pattern(conn, &pattern, asker),
            Filter::Topic(name) => self.join_topic(conn, &name, terms, &asker, again),
        }
    }

    fn join_topic(&mut self, conn: u32, name: &TopicName, terms: Terms, asker: &Asker, again: bool) {
        let slot = match self.slots.named(name) {
            Some(slot) if again => slot,
            _ => match self.follow(name) {
                Ok(slot) => slot,
                Err(TooManyTopics) => {
                    let target = Filter::Topic(name.clone());
                    self.refuse(conn, &target, asker, ErrorCode::Overloaded, "as many topics as the server may hold");
                    return;
                }
            },
        };
        self.level(slot);
        // Levelling may have staged messages that another subscription of this connection matches.
        self.flush(conn);
        let Terms { start, member, max_rate } = terms;
        if let Some(rate) = max_rate
            && again
            && self.pace(conn, slot).is_none_or(|pace| !pace.has(rate))
        {
            let message = "`max_rate` stays as it was subscribed: unsubscribe first";
            self.refuse(conn, &Filter::Topic(name.clone()), asker, ErrorCode::BadRequest, message);
            return;
        }
        let watches = member.is_some();
        if let Some(introduction) = member
            && let Err(TooManyMembers) = self.enter(conn, slot, introduction)
        {
            if !again {
                self.slots[slot].topic.leave(self.broker.now_ms());
                self.release(slot);
            }
            let target = Filter::Topic(name.clone());
            self.refuse(conn, &target, asker, ErrorCode::Overloaded, "as many members as a topic may have");
            return;
        }
        if !again {
            match max_rate {
                Some(rate) => self.add_paced(conn, slot, rate),
                None => self.add_sub(conn, List::Topic(slot)),
            }
        }
        if !again && self.settle_earlier(conn, slot).is_break() {
            self.close_too_slow(conn);
            return;
        }
        let (next, recovery) = self.begin_at(conn, slot, start);
        let position = Position { epoch: self.slots[slot].topic.epoch(), offset: next.0 - 1 };
        self.subscribed(conn, name, asker, Some(position), recovery);
        if watches {
            self.watch(conn, slot);
        }
        self.resume(conn);
    }

    /// Moves a connection to where it wants to begin in a topic, if that can be; gives the place of what
    /// it gets next, and what became of the position that it asked for.
    ///
    /// What is behind the shard's cursor it catches up with as a slow connection does: from the ring, at
    /// the pace of its socket. The shard goes on at the cursor, so there is neither a hole nor a
    /// message twice where the two meet.
    fn begin_at(&mut self, conn: u32, slot: u32, start: Start) -> (Seq, Option<Recovery>) {
        let cursor = self.slots[slot].cursor;
        let topic = &self.slots[slot].topic;
        let (next, recovery) = match start {
            Start::Live => {
                let stalled = self.conns[conn as usize].stalled.as_ref();
                let place = stalled.and_then(|stalled| stalled.next(slot));
                return (place.or(self.pace(conn, slot).map(Pace::next)).unwrap_or(cursor), None);
            }
            // Judged by the newest message: somebody may know one that the shard has not come to.
            Start::Since(since) => match topic.resume(since, topic.ring().newest()) {
                Ok(next) => (next, Some(Recovery::Recovered)),
                Err(reason) => (cursor, Some(Recovery::Failed(reason))),
            },
            Start::Last(count) => {
                let oldest = topic.ring().oldest().min(cursor);
                (Seq(cursor.0.saturating_sub(count)).max(oldest), None)
            }
        };
        if self.place(conn, slot, next) {
            return (next, recovery);
        }
        // In too many topics already: it begins here and now.
        self.place(conn, slot, cursor);
        (cursor, recovery.map(|_| Recovery::Failed(RecoveryFailure::Expired)))
    }

    /// Has a connection go on at `next` in a topic. False if it is behind in as many as it may be.
    pub(super) fn place(&mut self, conn: u32, slot: u32, next: Seq) -> bool {
        let cursor = self.slots[slot].cursor;
        let state = &mut self.conns[conn as usize];
        if let Some(stalled) = &mut state.stalled {
            stalled.forget(&mut self.slots, slot);
        }
        // What was asked for comes as fast as it can; then the pace begins.
        if let Some(pace) = state.paces.as_mut().and_then(|paces| paces.get_mut(&slot)) {
            pace.begin_at(cursor);
        }
        if next == cursor {
            return true;
        }
        let stalled = state.stalled.get_or_insert_with(|| {
            self.mailbox.stats().stalled.add(1);
            Box::default()
        });
        stalled.stand(&mut self.slots, slot, Place::new(next, cursor), self.options.behind_topics_max)
    }

    /// Follows the topic of that name for one more connection; gives its number here.
    fn follow(&mut self, name: &TopicName) -> Result<u32, TooManyTopics> {
        loop {
            let topic = self.broker.registry().topic(name, self.broker.now_ms())?;
            // A topic that has just been removed is born anew by the next attempt.
            if let Ok(follower) = topic.follow(self.mailbox.inbox(), Subscriber::OfName) {
                let patterns = &self.patterns;
                return Ok(self.slots.of(&topic, &follower, |name| patterns.matching(name)));
            }
            self.broker.registry().forget(&topic);
        }
    }

    fn join_pattern(&mut self, conn: u32, pattern: &Pattern, asker: Asker) {
        let waiting = (Arc::clone(&self.conns[conn as usize].link), asker);
        let known = self.patterns.tree.get_mut(pattern).map(|pattern| *pattern);
        let number = known.unwrap_or_else(|| {
            let state = Walked::Joining;
            let slot = PatternSlot {
                pattern: pattern.clone(),
                members: Vec::new(),
                forms: Forms::default(),
                waiting: Vec::new(),
                unsettled: 0,
                state,
            };
            let number = self.patterns.slots.insert(slot) as u32;
            self.patterns.tree.entry(pattern, || number);
            // First the pattern, then the walk: a topic born in between is met twice, none is missed.
            self.broker.registry().follow_pattern(pattern, self.mailbox.inbox());
            self.walks.push_back(Walk::Join { pattern: number, after: None });
            number
        });
        self.patterns.slot(number).waiting.push(waiting);
        if self.patterns[number].state == Walked::Whole {
            self.settle_pattern(number);
        }
    }

    /// Lets the waiting connections in once all that is dirty now has been fanned out.
    fn settle_pattern(&mut self, number: u32) {
        // Topics whose last run was cut short count as well, and so does the pass that is under way.
        let unsettled = self.mailbox.inbox().len();
        self.patterns.slot(number).unsettled = unsettled;
        if !self.patterns.settling.contains(&number) {
            self.patterns.settling.push(number);
        }
    }

    /// Answers the joins of patterns that have settled.
    pub(super) fn complete_joins(&mut self) {
        for number in std::mem::take(&mut self.patterns.settling) {
            if self.patterns[number].unsettled > 0 {
                self.patterns.settling.push(number);
                continue;
            }
            let pattern = self.patterns[number].pattern.clone();
            for (link, asker) in std::mem::take(&mut self.patterns.slot(number).waiting) {
                let conn = link.slot();
                // RFC 6455, 5.5.1: nothing is sent after a close frame.
                if conn == Link::NO_SLOT || self.conns[conn as usize].closing {
                    continue;
                }
                self.flush(conn);
                self.add_sub(conn, List::Pattern(number));
                self.subscribed(conn, &pattern, &asker, None, None);
                self.give_held(conn, number);
            }
            self.drop_pattern_if_unused(number);
        }
    }

    /// A stretch of the walk that has waited longest.
    pub(super) fn walk(&mut self) {
        match self.walks.pop_front() {
            None => {}
            Some(Walk::Join { pattern, after }) => self.walk_join(pattern, after.as_ref()),
            Some(Walk::Leave { pattern, next }) => self.walk_leave(pattern, next),
        }
    }

    fn walk_join(&mut self, pattern: u32, after: Option<&TopicName>) {
        let slot = &self.patterns[pattern];
        let (topics, after) = self.broker.registry().matching(&slot.pattern, after, TURN_WALK_MAX);
        for topic in &topics {
            self.attach(topic, pattern);
        }
        if after.is_some() {
            self.walks.push_back(Walk::Join { pattern, after });
            return;
        }
        self.patterns.slot(pattern).state = Walked::Whole;
        self.settle_pattern(pattern);
    }

    /// A topic that existed before the pattern was joined belongs to it from here on.
    fn attach(&mut self, topic: &Arc<Topic>, pattern: u32) {
        let Ok(follower) = topic.follow(self.mailbox.inbox(), Subscriber::OfPattern) else { return };
        let patterns = &self.patterns;
        let slot = self.slots.of(topic, &follower, |name| patterns.matching(name));
        let of_topic = &mut self.slots[slot].patterns;
        if !of_topic.contains(&pattern) {
            of_topic.push(pattern);
        }
    }

    fn walk_leave(&mut self, pattern: u32, next: u32) {
        let end = self.slots.numbers();
        let stretch = next..end.min(next.saturating_add(TURN_WALK_MAX as u32));
        for slot in stretch.clone() {
            if self.slots.contains(slot) {
                self.slots[slot].patterns.retain(|&other| other != pattern);
                self.release(slot);
            }
        }
        if stretch.end < end {
            self.walks.push_back(Walk::Leave { pattern, next: stretch.end });
        } else {
            self.patterns.slots.remove(pattern as usize);
        }
    }

    fn drop_pattern_if_unused(&mut self, number: u32) {
        let slot = &mut self.patterns.slots[number as usize];
        if slot.state == Walked::Whole && slot.members.is_empty() && slot.waiting.is_empty() {
            slot.state = Walked::Leaving;
            self.patterns.tree.remove(&slot.pattern);
            self.broker.registry().unfollow_pattern(&slot.pattern, self.mailbox.inbox());
            self.walks.push_back(Walk::Leave { pattern: number, next: 0 });
        }
    }

    pub(super) fn leave(&mut self, conn: u32, target: &Filter, asker: &Asker) {
        let list = match target {
            Filter::Topic(name) => self.slots.named(name).map(List::Topic),
            Filter::Pattern(pattern) => self.patterns.tree.get_mut(pattern).map(|pattern| List::Pattern(*pattern)),
        };
        let state = &self.conns[conn as usize];
        let sub = list.and_then(|list| match list {
            List::Topic(slot) | List::Paced(slot) => state.sub_to_name(slot),
            List::Pattern(_) => state.sub_to(list),
        });
        let Some(sub) = sub else {
            self.refuse(conn, target, asker, ErrorCode::NotSubscribed, "not subscribed");
            return;
        };
        // Nothing of it comes after its `unsubscribed`.
        self.flush(conn);
        self.remove_sub(conn, sub);
        let state = &mut self.conns[conn as usize];
        if let Some(id) = &asker.id {
            state.say(&Event::Unsubscribed { id: Some(id), topic: target.as_str() });
        }
        state.link.set_done();
        self.touch(conn);
    }

    pub(super) fn leave_all(&mut self, conn: u32) {
        while let Some(last) = self.conns[conn as usize].subs.len().checked_sub(1) {
            self.remove_sub(conn, last);
        }
    }

    fn add_sub(&mut self, conn: u32, list: List) {
        let state = &mut self.conns[conn as usize];
        let sub = state.subs.len() as u32;
        let (members, forms) = members_of(&mut self.slots, &mut self.patterns, list);
        if let Some(forms) = forms {
            forms.add(state.link.form);
        }
        if state.subs.is_empty() {
            // Most have one or two, and a vector would begin with four.
            state.subs.reserve_exact(1);
        }
        state.subs.push(Sub { to: list, place: members.len() as u32, watches: false });
        members.push(Member { conn, sub });
        if let List::Pattern(pattern) = list {
            self.broker.registry().count_pattern_subscriber(&self.patterns[pattern].pattern, true);
        }
        self.mailbox.stats().subscriptions.add(1);
    }

    fn add_paced(&mut self, conn: u32, slot: u32, rate: u16) {
        self.add_sub(conn, List::Paced(slot));
        let pace = Pace::new(rate, self.slots[slot].cursor);
        self.conns[conn as usize].paces.get_or_insert_default().insert(slot, pace);
    }

    fn pace(&self, conn: u32, slot: u32) -> Option<&Pace> {
        self.conns[conn as usize].paces.as_ref()?.get(&slot)
    }

    fn remove_sub(&mut self, conn: u32, sub: usize) {
        let state = &mut self.conns[conn as usize];
        let Sub { to, place, watches } = state.subs.swap_remove(sub);
        // The subscription and the member that took the free places have moved.
        if let Some(moved) = state.subs.get(sub) {
            let (members, _) = members_of(&mut self.slots, &mut self.patterns, moved.to);
            members[moved.place as usize].sub = sub as u32;
        }
        let (members, forms) = members_of(&mut self.slots, &mut self.patterns, to);
        if let Some(forms) = forms {
            forms.remove(state.link.form);
        }
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.conns[moved.conn as usize].subs[moved.sub as usize].place = place;
        }
        self.mailbox.stats().subscriptions.sub(1);
        match to {
            List::Topic(slot) | List::Paced(slot) => {
                if watches {
                    self.unwatch(conn, slot);
                }
                self.forget_uncovered(conn, to);
                if let Some(paces) = &mut self.conns[conn as usize].paces {
                    paces.remove(&slot);
                }
                self.slots[slot].forget_newest();
                self.slots[slot].topic.leave(self.broker.now_ms());
                self.release(slot);
            }
            List::Pattern(pattern) => {
                self.forget_uncovered(conn, to);
                self.broker.registry().count_pattern_subscriber(&self.patterns[pattern].pattern, false);
                self.drop_pattern_if_unused(pattern);
            }
        }
    }

    /// A stalled connection is owed nothing of topics that it no longer follows.
    fn forget_uncovered(&mut self, conn: u32, left: List) {
        let state = &mut self.conns[conn as usize];
        let Some(stalled) = &mut state.stalled else { return };
        let covered = |slot: u32| {
            state.subs.iter().any(|sub| match sub.to {
                List::Topic(topic) | List::Paced(topic) => topic == slot,
                List::Pattern(pattern) => self.slots[slot].patterns.contains(&pattern),
            })
        };
        // Only what the list that was left is about can have lost its cover.
        let of_list = |slot: u32| match left {
            List::Topic(topic) | List::Paced(topic) => topic == slot,
            List::Pattern(pattern) => self.slots[slot].patterns.contains(&pattern),
        };
        let uncovered: Vec<u32> = stalled.behind().filter(|&slot| of_list(slot) && !covered(slot)).collect();
        for slot in uncovered {
            stalled.forget(&mut self.slots, slot);
        }
    }

    fn subscribed(
        &mut self,
        conn: u32,
        topic: &str,
        asker: &Asker,
        position: Option<Position>,
        recovery: Option<Recovery>,
    ) {
        let state = &mut self.conns[conn as usize];
        state.say(&Event::Subscribed { id: asker.id.as_ref(), topic, position, recovery });
        state.link.set_done();
        self.touch(conn);
    }

    fn refuse(&mut self, conn: u32, target: &Filter, asker: &Asker, code: ErrorCode, message: &'static str) {
        const RETRY_MS: u64 = 1_000;
        let retry_after_ms = (code == ErrorCode::Overloaded).then_some(RETRY_MS);
        let state = &mut self.conns[conn as usize];
        let topic = Some(target.as_str());
        let Asker { id, index } = asker;
        let index = index.filter(|_| id.is_none());
        state.say(&Event::Error { id: id.as_ref(), index, topic, code, message, retry_after_ms });
        state.link.set_done();
        self.touch(conn);
    }
}

/// The members of a list, and how they want their messages compressed, where these are made beforehand.
fn members_of<'a>(
    slots: &'a mut TopicSlots,
    patterns: &'a mut Patterns,
    list: List,
) -> (&'a mut Vec<Member>, Option<&'a mut Forms>) {
    match list {
        List::Topic(slot) => {
            let slot = &mut slots[slot];
            (&mut slot.members, Some(&mut slot.forms))
        }
        List::Paced(slot) => (&mut slots[slot].paced, None),
        List::Pattern(pattern) => {
            let slot = patterns.slot(pattern);
            (&mut slot.members, Some(&mut slot.forms))
        }
    }
}
