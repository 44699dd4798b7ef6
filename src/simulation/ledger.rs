//! What has been published, and where everybody saw it: one message has one place, one place one message.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::audience::Audience;

/// A place in a topic's numbering.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// A message, before it has a place.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    /// What it is about.
    pub(crate) key: Option<String>,
    /// The connection that it is left out for: its publisher's.
    pub(crate) skip: Option<u64>,
    /// Who publishes it, proven.
    pub(crate) from: Option<String>,
    /// By the server's clock it was no earlier.
    pub(crate) at_min: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// By the messages' numbers, which are their data.
    sent: Vec<Sent>,
    places: BTreeMap<Place, u64>,
    /// Where each of them stands; by epoch as well, where a topic may be born anew with what it had.
    placed: BTreeMap<(u64, String), Place>,
    /// Whether what was published may stand in several numberings.
    renumbers: bool,
    /// What gaps with the reason `latest` stood for.
    conflated: BTreeSet<Place>,
    /// When messages say they were published.
    published: BTreeMap<Place, u64>,
    pub(crate) audience: Audience,
    pub(crate) tally: Tally,
}

/// What came of it all, to see that a run was about something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// What many seeds together must have come to.
const EXPECTED: [&str; 19] = [
    "compressed",
    "connections",
    "expired",
    "gaps",
    "held back by a rate",
    "left out for their publishers",
    "messages",
    "named their publisher",
    "named their time",
    "passed over for newer ones",
    "presence changes",
    "receivers counted",
    "receivers known exactly",
    "recovered",
    "repeated publishes",
    "resumed",
    "taken for dead",
    "too slow",
    "topics born anew",
];

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &'static str, count: u64) {
        assert!(EXPECTED.contains(&what), "{what}");
        *self.0.entry(what).or_default() += count;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        other.0.iter().for_each(|(what, count)| self.count_many(what, *count));
    }

    /// What it never came to.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        EXPECTED.into_iter().filter(|what| self.0.get(what).is_none_or(|count| *count == 0)).collect()
    }
}

impl Ledger {
    /// Of a server that is killed and started again: it may have kept what was published, and number it anew, or
    /// have forgotten that it was there.
    pub(crate) fn of_restarts() -> Self {
        Ledger { renumbers: true, ..Ledger::default() }
    }

    /// A new message; its number.
    pub(crate) fn compose(&mut self, sent: Sent) -> u64 {
        self.sent.push(sent);
        self.sent.len() as u64 - 1
    }

    pub(crate) fn sent(&self, number: u64) -> &Sent {
        self.sent.get(usize::try_from(number).expect("a number of ours")).expect("a message that was sent")
    }

    /// Somebody has seen the message at this place.
    pub(crate) fn see(&mut self, place: &Place, number: u64) {
        assert_eq!(self.sent(number).topic, place.topic, "message {number} of another topic at {place:?}");
        let there = *self.places.entry(place.clone()).or_insert(number);
        assert_eq!(there, number, "two messages at {place:?}");
        let numbering = if self.renumbers { place.epoch.clone() } else { String::new() };
        let known = self.placed.entry((number, numbering)).or_insert_with(|| place.clone());
        assert_eq!(known, place, "message {number} stands at two places");
    }

    /// Somebody has been told that the message at this place was published then.
    pub(crate) fn see_time(&mut self, place: &Place, at: u64) {
        let known = *self.published.entry(place.clone()).or_insert(at);
        assert_eq!(known, at, "two times of one message, at {place:?}");
    }

    /// How many messages there are, placed or not.
    pub(crate) fn composed(&self) -> u64 {
        self.sent.len() as u64
    }

    /// Where a message stands, if anybody has seen it and it stands nowhere else.
    pub(crate) fn place_of(&self, number: u64) -> Option<&Place> {
        self.placed.get(&(number, String::new()))
    }

    /// The message at a place, if anybody has seen it.
    pub(crate) fn at(&self, place: &Place) -> Option<u64> {
        self.places.get(place).copied()
    }

    pub(crate) fn conflate(&mut self, place: Place) {
        self.conflated.insert(place);
    }

    /// Everything that was passed over has a later message of its key.
    pub(crate) fn check_conflated(&self) {
        let key_at = |place: &Place| self.at(place).map(|number| self.sent(number).key.clone());
        for place in &self.conflated {
            let Some(key) = key_at(place) else { continue };
            let key = key.unwrap_or_else(|| panic!("a message without a key was passed over: {place:?}"));
            let later = Place { offset: place.offset + 1, ..place.clone() };
            let same = |(other, number): (&Place, &u64)| {
                (&other.topic, &other.epoch) == (&place.topic, &place.epoch)
                    && self.sent(*number).key.as_ref() == Some(&key)
            };
            assert!(self.places.range(later..).any(same), "the newest of its key was passed over: {place:?}");
        }
    }

    /// The newest offset of a numbering that anybody has seen.
    pub(crate) fn newest(&self, topic: &str, epoch: &str) -> u64 {
        let place = |offset| Place { topic: topic.to_owned(), epoch: epoch.to_owned(), offset };
        let last = self.places.range(place(0)..=place(u64::MAX)).next_back();
        last.map_or(0, |(place, _)| place.offset)
    }

    /// How many numberings of a topic anybody has seen.
    pub(crate) fn numberings(&self, topic: &str) -> u64 {
        let epochs = self.places.keys().filter(|place| place.topic == topic).map(|place| &place.epoch);
        epochs.collect::<BTreeSet<_>>().len() as u64
    }
}

/// The data of a message: its number, and what makes it large.
pub(crate) fn data(number: u64, filler: usize) -> Value {
    if filler == 0 { json!({"n": number}) } else { json!({"n": number, "f": "x".repeat(filler)}) }
}

/// The number of the message with these data.
pub(crate) fn number(data: &Value) -> u64 {
    data["n"].as_u64().unwrap_or_else(|| panic!("not data of this test: {data}"))
}
