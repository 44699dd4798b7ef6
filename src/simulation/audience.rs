//! Who follows what, as far as clients know: how many `receivers` a publish may say it has.
//!
//! Whoever has been told `subscribed`, and has not asked to leave, is one of them, if the connection lasts. Whoever
//! has asked to follow may be one, until it has been told otherwise. Where all is quiet the two are the same.

use std::collections::{BTreeMap, BTreeSet};

use super::model::matches;

#[derive(Clone, Debug, Default)]
pub(crate) struct Audience {
    ears: BTreeMap<u64, Ear>,
    /// Those within the process that follow everything.
    others: u64,
    /// Whether the server has noticed by now who has gone.
    is_quiet: bool,
    /// Rises with everything that is heard.
    tick: u64,
    counts: Vec<Count>,
}

/// What a connection follows.
#[derive(Clone, Debug, Default)]
struct Ear {
    sure: BTreeSet<String>,
    possible: BTreeSet<String>,
    /// What it followed or may have followed, and until when.
    former: BTreeMap<String, u64>,
    /// How often it became unsure of something.
    doubts: u64,
    /// When the client has ended it, or the network,
    over: Option<u64>,
    /// or the server, which said so then.
    gone: Option<u64>,
}

/// What is known of a topic's followers while an answer is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counting {
    topic: String,
    skip: Option<u64>,
    /// With their doubts until then.
    sure: BTreeMap<u64, u64>,
    begun: u64,
    /// Whether the server had noticed by then who had gone.
    was_quiet: bool,
}

/// A number that was answered.
#[derive(Clone, Debug)]
struct Count {
    topic: String,
    receivers: u64,
    /// Who is among them unless the connection has ended meanwhile.
    sure: BTreeSet<u64>,
    /// As many there may be, with those within the process.
    most: u64,
}

impl Audience {
    /// So many within the process follow everything, from now on.
    pub(crate) fn add_others(&mut self, count: u64) {
        self.others += count;
    }

    /// What a connection follows now for sure, and what it may follow.
    pub(crate) fn update(&mut self, line: u64, sure: BTreeSet<String>, possible: BTreeSet<String>) {
        self.tick += 1;
        let ear = self.ears.entry(line).or_default();
        for filter in ear.possible.difference(&possible) {
            ear.former.insert(filter.clone(), self.tick);
        }
        ear.doubts += u64::from(!ear.sure.is_subset(&sure));
        (ear.sure, ear.possible) = (sure, possible);
    }

    /// Nothing more is heard from a connection. `is_gone` says that the server has ended it.
    pub(crate) fn end(&mut self, line: u64, is_gone: bool) {
        self.tick += 1;
        let ear = self.ears.entry(line).or_default();
        ear.over = ear.over.or(Some(self.tick));
        ear.gone = ear.gone.or(is_gone.then_some(self.tick));
    }

    /// From now on the server has noticed who has gone.
    pub(crate) fn settle(&mut self) {
        self.is_quiet = true;
    }

    /// Something is about to be published that is left out for `skip`.
    pub(crate) fn begin(&self, topic: &str, skip: Option<u64>) -> Counting {
        let sure = self.ears.iter().filter(|(_, ear)| ear.over.is_none() && any_matches(&ear.sure, topic));
        Counting {
            topic: topic.to_owned(),
            skip,
            sure: sure.map(|(line, ear)| (*line, ear.doubts)).collect(),
            begun: self.tick,
            was_quiet: self.is_quiet,
        }
    }

    /// That is how many it was for. Too many are noticed here, too few in the end.
    pub(crate) fn counted(&mut self, counting: Counting, receivers: u64) {
        let Counting { topic, skip, sure, begun, was_quiet } = counting;
        let mut possible = self.possible(&topic, begun, was_quiet);
        possible.retain(|line| Some(*line) != skip);
        let is_still = |(line, doubts): (u64, u64)| {
            let ear = &self.ears[&line];
            (Some(line) != skip && ear.doubts == doubts).then_some(line)
        };
        let sure = sure.into_iter().filter_map(is_still).collect();
        let most = possible.len() as u64 + self.others;
        assert!(receivers <= most, "{topic} has {receivers} receivers, of {possible:?} and {}", self.others);
        self.counts.push(Count { topic, receivers, sure, most });
    }

    /// How many a topic is followed by, once nobody waits for an answer.
    pub(crate) fn exactly(&self, topic: &str) -> Option<u64> {
        let Counting { sure, begun, was_quiet, .. } = self.begin(topic, None);
        let possible = self.possible(topic, begun + 1, was_quiet);
        sure.into_keys().eq(possible.iter().copied()).then_some(possible.len() as u64 + self.others)
    }

    /// Who may have followed a topic at some time since `begun`.
    fn possible(&self, topic: &str, begun: u64, was_quiet: bool) -> BTreeSet<u64> {
        let is_there = |ear: &Ear| {
            ear.gone.is_none_or(|gone| gone >= begun) && !(was_quiet && ear.over.is_some_and(|over| over < begun))
        };
        let followed = |ear: &Ear| ear.former.iter().any(|(filter, until)| *until >= begun && matches(filter, topic));
        let possible = |ear: &Ear| is_there(ear) && (any_matches(&ear.possible, topic) || followed(ear));
        self.ears.iter().filter(|(_, ear)| possible(ear)).map(|(line, _)| *line).collect()
    }

    /// These connections have lasted: they were among those whom everything was for that they followed. Gives how
    /// many numbers there were, and of how many of them nothing was left to chance.
    pub(crate) fn check(&self, lasting: &BTreeSet<u64>) -> (u64, u64) {
        let mut exact = 0;
        for Count { topic, receivers, sure, most } in &self.counts {
            let least = sure.intersection(lasting).count() as u64 + self.others;
            assert!(*receivers >= least, "{topic} has {receivers} receivers, and is followed by {sure:?}");
            exact += u64::from(least == *most);
        }
        (self.counts.len() as u64, exact)
    }
}

/// Whether one of them stands for the topic.
fn any_matches(filters: &BTreeSet<String>, topic: &str) -> bool {
    filters.iter().any(|filter| matches(filter, topic))
}
