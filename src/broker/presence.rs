//! Who is in a topic: its members, in versions that rise by one.
//!
//! Changes gather and become a version together: at once while the members are few, else at most one a
//! second, so that a crowd which comes in costs each member a bounded number of events. Somebody who
//! knows a version and gets every difference after it knows the members.
//!
//! What one member is sent while `n` members come within `t` seconds is at most
//! `2 * min(n, LISTED_MAX) * e + (PROMPT_MAX + t + 2) * h` bytes, where `e` is what an entry takes and `h` an event
//! without entries: the list as it comes, each who comes after it, an event for each of the first ones and one a
//! second from then on. Beyond [`LISTED_MAX`] only their number is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use once_cell::race::OnceBox;

use super::message::ConnectionId;
use crate::protocol::{self, Data, Encoding, Event};

/// Up to so many members each change is a version of its own.
const PROMPT_MAX: usize = 64;

/// Beyond that changes gather for so long.
const GATHER_MS: u64 = 1_000;

/// Members are told one by one up to so many; beyond it only how many there are.
pub(crate) const LISTED_MAX: usize = 1_000;

/// So many differences are kept for those who were not told yet; who misses more asks anew.
const DIFFS_KEPT: usize = 64;

/// And so much of what is said in them, but always the newest. Written out it is up to twice more.
const DIFF_BYTES_KEPT: usize = 8 * 1024;

/// What a member says of itself, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// Who it is, proven.
    pub(crate) subject: Option<Arc<str>>,
    /// What it says.
    pub(crate) member: Option<Data>,
}

/// One connection in a topic.
#[derive(Debug)]
pub(crate) struct Member {
    connection: String,
    introduction: Introduction,
}

/// As many members as a topic may have.
#[derive(Debug)]
pub(crate) struct TooManyMembers;

/// The members of one topic.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The version that `members` is, and that everybody has been told or will be.
    version: u64,
    members: HashMap<ConnectionId, Arc<Member>, RandomState>,
    /// What the next version changes: who came (or came back with other words), who went.
    changes: HashMap<ConnectionId, Option<Arc<Member>>, RandomState>,
    /// When the version was made.
    made_ms: u64,
    /// How many members there will be with the next version.
    count: usize,
    /// Members whose connection was lost, by their proven subject: another connection of the same one takes
    /// their place.
    departing: HashMap<Arc<str>, Vec<ConnectionId>, RandomState>,
    /// The newest differences, oldest first; the last one made `version`.
    diffs: VecDeque<Arc<Diff>>,
    /// What these hold, in bytes.
    diff_bytes: usize,
}

/// What made a version out of the one before.
#[derive(Debug)]
pub(crate) struct Diff {
    version: u64,
    /// How many there are, where they are not listed.
    count: Option<u64>,
    joined: Vec<Arc<Member>>,
    left: Vec<Arc<Member>>,
    /// The event as it is sent, once for each encoding.
    frames: [OnceBox<Vec<u8>>; 2],
}

/// All members at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) count: u64,
    /// Empty where they are not listed.
    members: Vec<Arc<Member>>,
}

impl Presence {
    /// A connection becomes a member of a topic that may have `members_max`, or says something else of
    /// itself. True if that made a version.
    pub(crate) fn join(
        &self,
        connection: ConnectionId,
        introduction: Introduction,
        members_max: usize,
        now_ms: u64,
    ) -> Result<bool, TooManyMembers> {
        let mut state = self.lock();
        state.stay(connection);
        if let Some(subject) = &introduction.subject
            && state.member(connection).is_none()
            && let Some(lost) = state.departing.get(subject).and_then(|lost| lost.first().copied())
        {
            // In one version: nobody sees the subject leave.
            state.remove(lost);
        }
        match state.member(connection) {
            // It says again what it said.
            Some(known) if known.introduction == introduction => return Ok(false),
            Some(_) => {}
            None if state.count >= members_max => return Err(TooManyMembers),
            None => state.count += 1,
        }
        let member = Member { connection: connection.to_string(), introduction };
        state.changes.insert(connection, Some(Arc::new(member)));
        Ok(state.make_version(now_ms))
    }

    /// A connection is no member any more. True if that made a version.
    pub(crate) fn leave(&self, connection: ConnectionId, now_ms: u64) -> bool {
        let mut state = self.lock();
        state.remove(connection);
        state.make_version(now_ms)
    }

    /// A member's connection was lost: it stays until it leaves, or another one of its subject comes.
    pub(crate) fn depart(&self, connection: ConnectionId) {
        let mut state = self.lock();
        let subject = state.member(connection).and_then(|member| member.introduction.subject.clone());
        if let Some(subject) = subject {
            state.departing.entry(subject).or_default().push(connection);
        }
    }

    /// Makes a version of what has gathered, if it is time. True if there was something.
    pub(crate) fn gather(&self, now_ms: u64) -> bool {
        self.lock().make_version(now_ms)
    }

    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// All members, and which version that is.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let listed = state.members.len() <= LISTED_MAX;
        let mut members: Vec<_> = if listed { state.members.values().cloned().collect() } else { Vec::new() };
        members.sort_unstable_by(|a, b| a.connection.cmp(&b.connection));
        Snapshot { version: state.version, count: state.members.len() as u64, members }
    }

    /// The differences after `version`, in order; `None` if some of them are not kept any more.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Arc<Diff>>> {
        let state = self.lock();
        let missing = usize::try_from(state.version.saturating_sub(version)).unwrap_or(usize::MAX);
        let skipped = state.diffs.len().checked_sub(missing)?;
        Some(state.diffs.iter().skip(skipped).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The member as it will be with the next version.
    fn member(&self, connection: ConnectionId) -> Option<&Arc<Member>> {
        match self.changes.get(&connection) {
            Some(change) => change.as_ref(),
            None => self.members.get(&connection),
        }
    }

    /// The connection is no member with the next version.
    fn remove(&mut self, connection: ConnectionId) {
        self.stay(connection);
        if self.member(connection).is_some() {
            self.count -= 1;
        }
        if self.members.contains_key(&connection) {
            self.changes.insert(connection, None);
        } else {
            // It came and went unseen.
            self.changes.remove(&connection);
        }
    }

    /// The member's connection is not lost, or it does not matter any more.
    fn stay(&mut self, connection: ConnectionId) {
        if self.departing.is_empty() {
            return;
        }
        let Some(subject) = self.member(connection).and_then(|member| member.introduction.subject.clone()) else {
            return;
        };
        if let Some(lost) = self.departing.get_mut(&subject) {
            lost.retain(|other| *other != connection);
            if lost.is_empty() {
                self.departing.remove(&subject);
            }
        }
    }

    fn make_version(&mut self, now_ms: u64) -> bool {
        let is_due = self.members.len() <= PROMPT_MAX || now_ms.saturating_sub(self.made_ms) >= GATHER_MS;
        if self.changes.is_empty() || !is_due {
            return false;
        }
        let were_listed = self.members.len() <= LISTED_MAX;
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for (id, change) in self.changes.drain() {
            match change {
                Some(member) => {
                    self.members.insert(id, Arc::clone(&member));
                    joined.push(member);
                }
                None => left.extend(self.members.remove(&id)),
            }
        }
        let count = (self.members.len() > LISTED_MAX).then_some(self.members.len() as u64);
        self.version += 1;
        self.made_ms = now_ms;
        if count.is_none() && !were_listed {
            // Nobody knows who they are: everybody has to be told anew.
            self.diffs.clear();
            self.diff_bytes = 0;
            return true;
        }
        if count.is_some() {
            (joined, left) = (Vec::new(), Vec::new());
        }
        joined.sort_unstable_by(|a, b| a.connection.cmp(&b.connection));
        left.sort_unstable_by(|a, b| a.connection.cmp(&b.connection));
        let diff = Diff { version: self.version, count, joined, left, frames: Default::default() };
        self.diff_bytes += diff.bytes();
        self.diffs.push_back(Arc::new(diff));
        while self.diffs.len() > 1
            && (self.diffs.len() > DIFFS_KEPT || self.diff_bytes > DIFF_BYTES_KEPT)
            && let Some(oldest) = self.diffs.pop_front()
        {
            self.diff_bytes -= oldest.bytes();
        }
        true
    }
}

impl Diff {
    /// What it holds, apart from the frames that are made of it.
    fn bytes(&self) -> usize {
        self.joined.iter().chain(&self.left).map(|member| member.bytes()).sum()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The event's payload, made once for each encoding.
    pub(crate) fn payload(&self, encoding: Encoding, topic: &str) -> &[u8] {
        self.frames[encoding as usize].get_or_init(|| {
            let joined: Vec<_> = self.joined.iter().map(|member| member.shown()).collect();
            // Who has gone is told by its name alone.
            let left: Vec<_> = self
                .left
                .iter()
                .map(|member| protocol::Member { connection: &member.connection, subject: None, member: None })
                .collect();
            let mut payload = Vec::new();
            let Diff { version, count, .. } = *self;
            Event::PresenceDiff { topic, version, count, joined: &joined, left: &left }.encode(encoding, &mut payload);
            Box::new(payload)
        })
    }
}

impl Snapshot {
    /// Nobody, before anybody came.
    pub(crate) fn empty() -> Self {
        Snapshot { version: 0, count: 0, members: Vec::new() }
    }

    /// The members as an event shows them.
    pub(crate) fn list(&self) -> Vec<protocol::Member<'_>> {
        self.members.iter().map(|member| member.shown()).collect()
    }
}

impl Member {
    fn bytes(&self) -> usize {
        let Introduction { subject, member } = &self.introduction;
        let said = member.as_ref().map_or(0, |data| data.bytes().len());
        size_of::<Self>() + self.connection.len() + subject.as_ref().map_or(0, |subject| subject.len()) + said
    }

    fn shown(&self) -> protocol::Member<'_> {
        protocol::Member {
            connection: &self.connection,
            subject: self.introduction.subject.as_deref(),
            member: self.introduction.member.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10_000;

    fn introduction(text: &str) -> Introduction {
        Introduction { subject: None, member: Some(Data::try_from(format!("{text:?}").as_str()).expect("JSON")) }
    }

    fn join(presence: &Presence, connection: u64, now_ms: u64) -> bool {
        presence.join(ConnectionId(connection), introduction("x"), MAX, now_ms).expect("there is room")
    }

    /// Follows the versions from nothing as a client does; gives the members by their connections.
    fn follow(presence: &Presence) -> Vec<String> {
        let mut members: Vec<String> = Vec::new();
        for (expected, diff) in (1..).zip(presence.since(0).expect("all are kept")) {
            assert_eq!(diff.version, expected);
            members.retain(|known| diff.left.iter().all(|member| member.connection != *known));
            for member in &diff.joined {
                if !members.contains(&member.connection) {
                    members.push(member.connection.clone());
                }
            }
        }
        members.sort();
        members
    }

    fn names(snapshot: &Snapshot) -> Vec<String> {
        snapshot.members.iter().map(|member| member.connection.clone()).collect()
    }

    #[test]
    fn each_change_of_a_few_members_is_a_version() {
        let presence = Presence::default();
        assert!(join(&presence, 1, 0));
        assert!(join(&presence, 2, 0));
        assert!(presence.leave(ConnectionId(1), 0));
        assert!(!presence.leave(ConnectionId(9), 0), "nobody knew it");
        let snapshot = presence.snapshot();
        assert_eq!((snapshot.version, snapshot.count, names(&snapshot)), (3, 1, vec!["2".to_owned()]));
        assert_eq!(follow(&presence), names(&snapshot));
    }

    #[test]
    fn the_changes_of_many_members_gather() {
        let presence = Presence::default();
        let versions = (0..1_000).filter(|&number| join(&presence, number, 5)).count();
        assert_eq!(versions, PROMPT_MAX + 1);
        assert!(!presence.gather(5 + GATHER_MS - 1));
        presence.leave(ConnectionId(0), 6);
        presence.leave(ConnectionId(999), 6);
        assert!(presence.gather(5 + GATHER_MS));
        let snapshot = presence.snapshot();
        assert_eq!((snapshot.version as usize, snapshot.count), (PROMPT_MAX + 2, 998));
        let last = presence.since(snapshot.version - 1).expect("it is kept").remove(0);
        assert_eq!((last.joined.len(), last.left.len()), (934, 1), "one came and went unseen");
        assert!(!presence.gather(100_000), "nothing has changed");
    }

    #[test]
    fn ten_thousand_who_come_within_ten_seconds_cost_each_member_a_bounded_number_of_bytes() {
        let list_bytes = |snapshot: &Snapshot| {
            let (mut payload, members) = (Vec::new(), snapshot.list());
            let Snapshot { version, count, .. } = *snapshot;
            Event::Presence { id: None, topic: "room", version, count, members: &members }
                .encode(Encoding::Json, &mut payload);
            payload.len()
        };
        // An entry with the longest name of a connection and what `introduction` says, and an event without any.
        let entry_bytes = r#"{"connection":"3w5e11264sgsf","member":"x"},"#.len();
        let event_bytes =
            r#"{"type":"presence_diff","topic":"room","version":10000,"count":10000,"joined":[],"left":[]}"#;
        let (count, seconds) = (10_000, 10);
        let bound = 2 * LISTED_MAX.min(count) * entry_bytes + (PROMPT_MAX + seconds + 2) * event_bytes.len();

        let presence = Presence::default();
        // Those who watch: since when, up to which version, and what they have been sent.
        let mut watchers: Vec<(u64, u64, usize)> = Vec::new();
        for number in 0..count as u64 {
            join(&presence, number, number);
            presence.gather(number);
            if [0, 1, 63, 64, 500, 998, 1_001, 5_000, 9_999].contains(&number) {
                let snapshot = presence.snapshot();
                watchers.push((number, snapshot.version, list_bytes(&snapshot)));
            }
            let now_ms = if number + 1 == count as u64 { 20_000 } else { number };
            presence.gather(now_ms);
            for (since, version, bytes) in &mut watchers {
                let diffs = presence.since(*version).unwrap_or_else(|| panic!("{since} has to be told anew"));
                for diff in diffs {
                    *version = diff.version();
                    *bytes += diff.payload(Encoding::Json, "room").len();
                }
            }
        }
        for (since, version, bytes) in watchers {
            assert_eq!(version, presence.version());
            assert!(bytes <= bound, "{since} was sent {bytes} bytes, and {bound} are the bound");
        }
        assert!(presence.version() <= (PROMPT_MAX + seconds + 2) as u64, "{} versions", presence.version());
        assert_eq!(presence.snapshot().count, count as u64);
        assert!(presence.snapshot().members.is_empty());
    }

    #[test]
    fn who_missed_too_many_differences_has_to_ask_anew() {
        let presence = Presence::default();
        for number in 0..200_u64 {
            presence.join(ConnectionId(1), introduction(&number.to_string()), MAX, number).expect("there is room");
        }
        assert!(presence.since(199).is_some_and(|diffs| diffs.len() == 1));
        assert!(presence.since(200).is_some_and(|diffs| diffs.is_empty()));
        assert!(presence.since(200 - DIFFS_KEPT as u64).is_some());
        assert!(presence.since(199 - DIFFS_KEPT as u64).is_none());
    }

    #[test]
    fn who_follows_the_versions_knows_the_members_also_when_they_are_listed_again() {
        let presence = Presence::default();
        for number in 0..990 {
            join(&presence, number, 0);
        }
        presence.gather(10_000);
        let known = presence.snapshot();
        for number in 990..1_020 {
            join(&presence, number, 10_000);
        }
        presence.gather(20_000);
        for number in 0..40 {
            presence.leave(ConnectionId(number), 20_000);
        }
        assert!(presence.gather(30_000));
        assert!(presence.since(known.version).is_none(), "they have to be told anew");
        let listed = presence.snapshot();
        assert_eq!((listed.count, names(&listed).len()), (980, 980));
        assert!(presence.leave(ConnectionId(999), 40_000));
        assert_eq!(presence.since(listed.version).expect("it is kept").len(), 1);
    }

    #[test]
    fn what_is_kept_of_what_was_said_is_bounded() {
        let presence = Presence::default();
        for number in 0..200_u64 {
            let said = format!("{number} {}", "x".repeat(1_000));
            presence.join(ConnectionId(1), introduction(&said), MAX, number).expect("there is room");
        }
        let state = presence.lock();
        assert!(state.diffs.len() < 10 && state.diff_bytes <= DIFF_BYTES_KEPT, "{}", state.diffs.len());
    }

    #[test]
    fn a_topic_has_as_many_members_as_it_may() {
        let presence = Presence::default();
        for number in 0..3 {
            presence.join(ConnectionId(number), introduction("x"), 3, 0).expect("there is room");
        }
        assert!(presence.join(ConnectionId(3), introduction("x"), 3, 0).is_err());
        // Whoever is in may say something else of itself.
        assert!(presence.join(ConnectionId(2), introduction("y"), 3, 0).is_ok());
        presence.leave(ConnectionId(0), 0);
        assert!(presence.join(ConnectionId(3), introduction("x"), 3, 0).is_ok());
    }
}
