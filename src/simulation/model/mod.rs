//! What one connection must see: every event is held against what was asked, and what went before.
//!
//! Knows the protocol and nothing of the server, so that it judges a simulated connection and one over real
//! sockets alike. Where somebody knows how a topic really stands, a [`Witness`], more can be said.

mod answers;
mod delivery;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use serde_json::Value;

use super::audience::Counting;
use super::ledger::{Ledger, Place};

/// How a topic stands at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: String,
    pub(crate) newest: u64,
    /// The oldest message that is held; one more than the newest where none is.
    pub(crate) oldest: u64,
}

/// Somebody who knows how topics really stand.
pub(crate) trait Witness {
    /// How a topic stands now; `None` if it is not there.
    fn head(&self, topic: &str) -> Option<Head>;

    /// What becomes of those who fall behind in it.
    fn overflow(&self, topic: &str) -> Behind;

    /// What its messages say beside their data.
    fn says(&self, topic: &str) -> Says;

    /// What the server's clock shows, as far as is known.
    fn clock_ms(&self) -> RangeInclusive<u64>;

    /// All topics that are there.
    fn topics(&self) -> Vec<String>;
}

/// What becomes of those who fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Gap,
    Latest,
    Disconnect,
}

/// Whether messages say when they were published, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) at: bool,
    pub(crate) from: bool,
}

/// At most so many messages a second, and when that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) max: u64,
    pub(crate) asked_ms: u64,
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Live,
    Since { epoch: String, offset: u64 },
    Last(u64),
}

/// An answer that has to come, and how things stood when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To one item; with presence its words as a member.
    Subscribed {
        topic: String,
        start: Start,
        presence: bool,
        rate: Option<Rate>,
        head: Option<Head>,
    },
    /// To a pattern, with all heads.
    Following {
        pattern: String,
        heads: BTreeMap<String, Head>,
    },
    Unsubscribed {
        filter: String,
    },
    /// With whom it may be for, if that was asked.
    Published {
        number: u64,
        counting: Option<Counting>,
    },
    Presence {
        topic: String,
    },
    History {
        topic: String,
        since: Option<(String, u64)>,
        limit: u64,
        head: Option<Head>,
    },
    Pong,
    Resumed,
    BadRequest,
}

/// Where the connection stands in a topic.
#[derive(Clone, Debug)]
struct Standing {
    /// Unknown until something says it: a pattern's first message need not.
    epoch: Option<String>,
    next: u64,
    /// The offset that its last `subscribed` said.
    begun: u64,
    /// What was asked for, by position or number, is not passed over: up to here.
    asked_to: u64,
}

/// Who is in a topic, as far as the connection has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) version: u64,
    pub(crate) members: BTreeMap<String, Value>,
}

impl View {
    /// As a `presence` event tells it.
    pub(crate) fn of(event: &Value) -> View {
        View { version: figure(event, "version"), members: members(event, "members") }
    }
}

#[derive(Clone, Debug)]
enum Followed {
    Name(Option<Paced>),
    /// How topics stood before it was asked for and when it was answered, and how many messages had been
    /// composed by then.
    Pattern {
        before: BTreeMap<String, Head>,
        after: BTreeMap<String, Head>,
        composed: u64,
    },
}

/// A subscription with a rate.
#[derive(Clone, Copy, Debug)]
struct Paced {
    max: u64,
    /// `None` where more may come: what was asked for comes as fast as it can, and so does all of it where a pattern
    /// matches too.
    judged: Option<Judged>,
}

/// How fast it may come by a rate.
#[derive(Clone, Copy, Debug)]
struct Judged {
    /// What is older is not held against it.
    after: u64,
    /// When the next can have been sent, at the earliest.
    next_ms: u64,
}

pub(crate) struct Model {
    /// The connection's number in this test.
    pub(crate) number: u64,
    /// Who it has proven to be.
    subject: Option<String>,
    pub(crate) id: String,
    pub(crate) secret: String,
    answers: VecDeque<(u64, Answer)>,
    follows: BTreeMap<String, Followed>,
    standings: BTreeMap<String, Standing>,
    /// Topics that it is told about who comes and goes.
    views: BTreeMap<String, Option<View>>,
    /// Offsets that did not come: they must be its own.
    holes: Vec<Place>,
    /// Places of messages of its own that are left out for it.
    own: BTreeSet<Place>,
    /// Topics and members that it saw leave.
    pub(crate) lefts: Vec<(String, String)>,
    pub(crate) resumed: bool,
    /// The close code, once it has come.
    pub(crate) closed: Option<u64>,
    pub(crate) goodbye: bool,
}

impl Model {
    pub(crate) fn new(number: u64, subject: Option<String>) -> Self {
        Model {
            number,
            subject,
            id: String::new(),
            secret: String::new(),
            answers: VecDeque::new(),
            follows: BTreeMap::new(),
            standings: BTreeMap::new(),
            views: BTreeMap::new(),
            holes: Vec::new(),
            own: BTreeSet::new(),
            lefts: Vec::new(),
            resumed: false,
            closed: None,
            goodbye: false,
        }
    }

    /// A command has been sent, whose answers these are.
    pub(crate) fn asked(&mut self, id: u64, answers: impl IntoIterator<Item = Answer>, ledger: &mut Ledger) {
        self.answers.extend(answers.into_iter().map(|answer| (id, answer)));
        self.tell_audience(ledger);
    }

    /// Answers that have not come.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().map(|(_, answer)| answer)
    }

    pub(crate) fn follows(&self) -> impl Iterator<Item = &String> {
        self.follows.keys()
    }

    /// Whether it follows a topic, or has asked to.
    pub(crate) fn may_follow(&self, topic: &str) -> bool {
        self.possible().any(|filter| matches(filter, topic))
    }

    /// What it follows, or has asked to.
    fn possible(&self) -> impl Iterator<Item = &String> {
        let asked = self.waiting().filter_map(|answer| match answer {
            Answer::Subscribed { topic: filter, .. } | Answer::Following { pattern: filter, .. } => Some(filter),
            _ => None,
        });
        asked.chain(self.follows())
    }

    /// What it follows may have changed.
    fn tell_audience(&self, ledger: &mut Ledger) {
        let mut sure: BTreeSet<String> = self.follows().cloned().collect();
        for answer in self.waiting() {
            if let Answer::Unsubscribed { filter } = answer {
                sure.remove(filter);
            }
        }
        ledger.audience.update(self.number, sure, self.possible().cloned().collect());
    }

    pub(crate) fn views(&self) -> &BTreeMap<String, Option<View>> {
        &self.views
    }

    /// The positions from which somebody could go on.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (&String, &String, u64)> {
        self.standings.iter().filter_map(|(topic, at)| at.epoch.as_ref().map(|epoch| (topic, epoch, at.next - 1)))
    }

    /// An event has come.
    pub(crate) fn hear(&mut self, event: &Value, ledger: &mut Ledger, witness: &dyn Witness) {
        assert!(self.closed.is_none(), "after the close frame: {event}");
        assert!(!self.goodbye, "after the goodbye: {event}");
        let kind = event["type"].as_str().unwrap_or_default();
        assert_eq!(kind == "welcome", self.id.is_empty(), "welcome is first, and once: {event}");
        match kind {
            "welcome" => {
                self.id = text(event, "connection").to_owned();
                self.secret = text(event, "resume").to_owned();
                ledger.tally.count("connections");
            }
            "message" => self.message(event, ledger, witness),
            "gap" => self.gap(event, ledger, witness),
            "presence_diff" => self.presence_diff(event, ledger),
            "presence" if event.get("id").is_none() => self.presence(event),
            "goodbye" => self.goodbye = true,
            _ => {
                self.answer(kind, event, ledger, witness);
                self.tell_audience(ledger);
            }
        }
    }

    // Presence.

    fn presence(&mut self, event: &Value) {
        let topic = text(event, "topic");
        let told = View::of(event);
        assert_eq!(figure(event, "count"), told.members.len() as u64, "{event}");
        let listed = event["members"].as_array().into_iter().flatten();
        let me = listed.into_iter().find(|member| member["member"]["c"] == self.number);
        let me = me.unwrap_or_else(|| panic!("it is not in there itself: {event}"));
        assert_eq!(me["subject"].as_str(), self.subject.as_deref(), "{event}");
        let view = self.views.get_mut(topic).unwrap_or_else(|| panic!("nobody watches it: {event}"));
        assert!(view.as_ref().is_none_or(|view| view.version <= told.version), "a version goes back: {event}");
        *view = Some(told);
    }

    fn presence_diff(&mut self, event: &Value, ledger: &mut Ledger) {
        let topic = text(event, "topic");
        let view = self.views.get_mut(topic).unwrap_or_else(|| panic!("nobody watches it: {event}"));
        let view = view.as_mut().unwrap_or_else(|| panic!("the list comes first: {event}"));
        ledger.tally.count("presence changes");
        assert_eq!(figure(event, "version"), view.version + 1, "a version is missing: {event}");
        view.version += 1;
        for left in members(event, "left").into_keys() {
            assert!(view.members.remove(&left).is_some(), "it was not there: {event}");
            self.lefts.push((topic.to_owned(), left));
        }
        view.members.extend(members(event, "joined"));
    }

    // The end.

    fn owns(&self, hole: &Place) -> bool {
        let place = |own: &&Place| (&own.topic, own.offset) == (&hole.topic, hole.offset);
        self.own.contains(hole) || (hole.epoch.is_empty() && self.own.iter().any(|own| place(&own)))
    }

    /// Nothing more will come. What was passed over in silence has to be its own.
    pub(crate) fn finish(&self, ledger: &mut Ledger) {
        // Answers to some may have been lost with the connection.
        let mut unanswered = self.waiting().filter(|answer| {
            matches!(answer, Answer::Published { number, .. } if ledger.sent(*number).skip == Some(self.number))
        }).count();
        for hole in &self.holes {
            let is_own = self.owns(hole)
                || match ledger.at(hole) {
                    Some(number) => ledger.sent(number).skip == Some(self.number),
                    None => {
                        let may_be = unanswered > 0;
                        unanswered = unanswered.saturating_sub(1);
                        may_be
                    }
                };
            assert!(is_own, "connection {} was not told of {hole:?}", self.number);
        }
        ledger.tally.count_many("left out for their publishers", self.holes.len() as u64);
        ledger.audience.end(self.number, self.closed.is_some());
    }

    /// Whether everything that was published up to these heads has come, and everybody who is there is known.
    pub(crate) fn is_level(&self, heads: &BTreeMap<String, Head>, there: &BTreeMap<String, View>) -> bool {
        let is_at = |(topic, head): (&String, &Head)| {
            let next = self.next_of(topic, &head.epoch);
            next.is_none_or(|next| {
                (next..=head.newest).all(|offset| self.own.contains(&at(topic, &head.epoch, offset)))
            })
        };
        let knows = |(topic, view): (&String, &Option<View>)| view.as_ref() == there.get(topic);
        self.answers.is_empty() && heads.iter().all(is_at) && self.views.iter().all(knows)
    }

    /// All is quiet: everything that was published has come, and everybody who is there is known.
    pub(crate) fn check_quiet(&self, ledger: &Ledger, witness: &dyn Witness) {
        let number = self.number;
        assert!(self.answers.is_empty(), "connection {number} waits for {:?}", self.answers);
        for topic in witness.topics() {
            let Some(head) = witness.head(&topic) else { continue };
            assert!(ledger.newest(&topic, &head.epoch) <= head.newest, "{topic}: {head:?}");
            let Some(mut next) = self.next_of(&topic, &head.epoch) else { continue };
            while next <= head.newest && self.own.contains(&at(&topic, &head.epoch, next)) {
                next += 1;
            }
            let standing = self.standings.get(&topic);
            assert_eq!(
                next,
                head.newest + 1,
                "connection {number} in {topic}: {head:?}, {standing:?}, {:?}",
                self.follows
            );
        }
        for (topic, standing) in &self.standings {
            let Some(epoch) = &standing.epoch else { continue };
            let rest = standing.next..=ledger.newest(topic, epoch);
            for place in rest.map(|offset| at(topic, epoch, offset)) {
                assert!(self.own.contains(&place), "connection {number} was not told of {place:?}");
            }
        }
        for (topic, view) in &self.views {
            assert!(view.is_some(), "connection {number} was not told who is in {topic}");
        }
    }
}

fn at(topic: &str, epoch: &str, offset: u64) -> Place {
    Place { topic: topic.to_owned(), epoch: epoch.to_owned(), offset }
}

/// Whether a name or pattern stands for a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (mut filters, mut names) = (filter.split('.'), topic.split('.'));
    loop {
        match (filters.next(), names.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

fn members(event: &Value, list: &str) -> BTreeMap<String, Value> {
    let list = event[list].as_array().unwrap_or_else(|| panic!("no {list}: {event}"));
    let all: BTreeMap<_, _> =
        list.iter().map(|member| (text(member, "connection").to_owned(), member["member"].clone())).collect();
    assert_eq!(all.len(), list.len(), "one of them twice: {event}");
    all
}

fn place(event: &Value, epoch: &str, offset: u64) -> Place {
    at(text(event, "topic"), epoch, offset)
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_else(|| panic!("no {key}: {event}"))
}

fn figure(event: &Value, key: &str) -> u64 {
    event[key].as_u64().unwrap_or_else(|| panic!("no {key}: {event}"))
}
