//! Messages and gaps: each goes on where the last one ended, and begins where it has to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ledger::{Ledger, Place, number};
use super::{Behind, Followed, Head, Model, Paced, Standing, Witness, at, figure, matches, place, text};

impl Model {
    pub(super) fn message(&mut self, event: &Value, ledger: &mut Ledger, witness: &dyn Witness) {
        let (topic, offset) = (text(event, "topic"), figure(event, "offset"));
        let said = event["epoch"].as_str();
        assert!(said.is_some() || offset > 1, "the first message of a numbering says its epoch: {event}");
        ledger.tally.count("messages");
        let number = number(&event["data"]);
        let known = ledger.place_of(number).filter(|place| place.offset == offset);
        let known = known.map(|place| place.epoch.clone());
        let epoch = self.step(event, topic, offset, offset, said.or(known.as_deref()), ledger);
        assert_ne!(ledger.sent(number).skip, Some(self.number), "it is to be left out: {event}");
        let place = epoch.map(|epoch| place(event, &epoch, offset));
        match &place {
            Some(place) => ledger.see(place, number),
            None => assert_eq!(ledger.sent(number).topic, topic, "{event}"),
        }
        check_said(event, number, place.as_ref(), ledger, witness);
        self.keep_pace(topic, offset, ledger.sent(number).at_min, witness);
    }

    /// What comes by a rate comes no faster.
    fn keep_pace(&mut self, topic: &str, offset: u64, published_ms: u64, witness: &dyn Witness) {
        let Some(Followed::Name(Some(Paced { max, judged: Some(judged) }))) = self.follows.get_mut(topic) else {
            return;
        };
        if offset > judged.after {
            // Sent no earlier than it was published, and than so long after the one before was.
            let (sent_ms, now_ms) = (judged.next_ms.max(published_ms), *witness.clock_ms().end());
            assert!(now_ms >= sent_ms, "{topic}, {offset} comes {} ms early, at {max} a second", sent_ms - now_ms);
            judged.next_ms = sent_ms + 1_000_u64.div_ceil(*max);
        }
    }

    pub(super) fn gap(&mut self, event: &Value, ledger: &mut Ledger, witness: &dyn Witness) {
        let (topic, epoch) = (text(event, "topic"), text(event, "epoch"));
        let (from, to) = (figure(event, "from"), figure(event, "to"));
        assert!(from <= to, "{event}");
        self.step(event, topic, from, to, Some(epoch), ledger);
        ledger.tally.count("gaps");
        let overflow = witness.overflow(topic);
        // Whoever asked for a rate is not slow for that.
        let is_paced = matches!(self.follows.get(topic), Some(Followed::Name(Some(_))));
        assert!(overflow != Behind::Disconnect || is_paced, "{event}");
        match text(event, "reason") {
            "slow" => {
                if let Some(head) = witness.head(topic).filter(|head| head.epoch == epoch) {
                    assert!(head.oldest > to, "what a gap leaves out is still held: {event}, {head:?}");
                }
            }
            "latest" => {
                assert!(overflow == Behind::Latest || is_paced, "{event}");
                let asked_to = self.standings[topic].asked_to;
                assert!(from > asked_to, "what was asked for is passed over: {event}, asked up to {asked_to}");
                ledger.tally.count(if is_paced { "held back by a rate" } else { "passed over for newer ones" });
                (from..=to).for_each(|offset| ledger.conflate(place(event, epoch, offset)));
            }
            other => panic!("{other}: {event}"),
        }
    }

    /// The next of a topic is `from..=to`; gives the topic's epoch, where it is known.
    fn step(
        &mut self,
        event: &Value,
        topic: &str,
        from: u64,
        to: u64,
        said: Option<&str>,
        ledger: &mut Ledger,
    ) -> Option<String> {
        let by_name = self.follows.contains_key(topic);
        let covered = by_name || self.follows.keys().any(|filter| matches(filter, topic));
        assert!(covered, "nobody follows it, now: {event}");
        let is_new = match self.standings.get(topic) {
            None => true,
            // A topic that is followed by a pattern alone may go, and begin anew: with what comes after its own, perhaps.
            Some(Standing { epoch: Some(known), .. }) => !by_name && said.is_some_and(|said| said != known),
            // Where nothing has said its epoch yet it goes on, unless it goes back.
            Some(Standing { epoch: None, next, .. }) => !by_name && said.is_some() && from < *next,
        };
        if is_new {
            assert!(!by_name, "its position was said: {event}");
            if let Some(Standing { epoch: Some(old), next, .. }) = self.standings.get(topic).cloned() {
                ledger.tally.count("topics born anew");
                self.skip(topic, Some(&old), next, ledger.newest(topic, &old) + 1);
            }
            let first = self.first_of(event, topic, said, from, ledger);
            let standing = Standing { epoch: said.map(str::to_owned), next: first, begun: 0, asked_to: 0 };
            self.standings.insert(topic.to_owned(), standing);
        }
        let standing = self.standings.get_mut(topic).expect("it has just been looked up");
        if let Some(said) = said {
            let known = standing.epoch.get_or_insert_with(|| said.to_owned());
            assert_eq!(known, said, "another epoch in the midst of a topic: {event}");
        }
        let (next, epoch) = (standing.next, standing.epoch.clone());
        assert!(from >= next, "again, or out of its turn: {event}, {next} was next");
        standing.next = to + 1;
        self.skip(topic, epoch.as_deref(), next, from);
        epoch
    }

    /// Where a topic that a pattern brings up, with `from`, has to begin.
    fn first_of(&self, event: &Value, topic: &str, epoch: Option<&str>, from: u64, ledger: &Ledger) -> u64 {
        let Some(epoch) = epoch else { return from };
        if self.standings.contains_key(topic) {
            return 1;
        }
        let newest = |heads: &BTreeMap<String, Head>| {
            heads.get(topic).filter(|head| head.epoch == epoch).map(|head| head.newest)
        };
        let (mut before_all, mut first) = (u64::MAX, from);
        for (_, followed) in self.follows.iter().filter(|(filter, _)| matches(filter, topic)) {
            let Followed::Pattern { before, after, composed } = followed else { continue };
            // Not older than the question,
            before_all = before_all.min(newest(before).unwrap_or(0));
            // and not newer than the answer, or the beginning of what has begun since.
            let began_since = ledger.at(&at(topic, epoch, 1)).is_some_and(|number| number >= *composed);
            let after = newest(after).or(began_since.then_some(0));
            first = first.min(after.map_or(from, |newest| newest + 1));
        }
        assert!(from > before_all, "older than the subscription: {event}, {before_all} was there");
        first
    }

    /// A pattern is not followed any more: what others match as well has been followed for as long as it was.
    pub(super) fn hand_on(&mut self, gone: &str, followed: &Followed) {
        let Followed::Pattern { before, .. } = followed else { return };
        for other in self.follows.values_mut() {
            let Followed::Pattern { before: of_other, .. } = other else { continue };
            of_other.retain(|topic, _| !matches(gone, topic) || before.contains_key(topic));
            for (topic, head) in of_other {
                if let Some(earlier) = before.get(topic).filter(|_| matches(gone, topic)) {
                    *head = if earlier.epoch == head.epoch && head.newest < earlier.newest {
                        head.clone()
                    } else {
                        earlier.clone()
                    };
                }
            }
        }
    }

    /// Offsets that are passed over in silence: they must be its own.
    pub(super) fn skip(&mut self, topic: &str, epoch: Option<&str>, from: u64, to: u64) {
        for offset in from..to {
            // A pattern's topic may not have said its epoch yet.
            self.holes.push(at(topic, epoch.unwrap_or_default(), offset));
        }
    }

    /// The offset that comes next in a topic that is followed.
    pub(super) fn next_of(&self, topic: &str, epoch: &str) -> Option<u64> {
        let standing = self.standings.get(topic);
        if let Some(standing) = standing.filter(|at| at.epoch.as_ref().is_none_or(|known| known == epoch)) {
            return Some(standing.next);
        }
        // No message of it has come: the first one since the pattern was answered.
        let patterns = self.follows.iter().filter(|(filter, _)| matches(filter, topic));
        let nexts = patterns.filter_map(|(_, followed)| match followed {
            Followed::Pattern { after, .. } => {
                Some(after.get(topic).filter(|head| head.epoch == epoch).map_or(1, |head| head.newest + 1))
            }
            Followed::Name(_) => None,
        });
        nexts.min()
    }
}

/// A message says when and by whom it was published where its topic has it say so, and the truth.
pub(super) fn check_said(said: &Value, number: u64, place: Option<&Place>, ledger: &mut Ledger, witness: &dyn Witness) {
    let sent = ledger.sent(number).clone();
    let says = witness.says(&sent.topic);
    let from = sent.from.as_deref().filter(|_| says.from);
    assert_eq!(said.get("from").map(|from| from.as_str().unwrap_or_default()), from, "{said}");
    if from.is_some() {
        ledger.tally.count("named their publisher");
    }
    assert_eq!(says.at, said.get("at").is_some(), "{said}");
    if says.at {
        let (at, at_max) = (figure(said, "at"), *witness.clock_ms().end());
        assert!((sent.at_min..=at_max).contains(&at), "published from {} to {at_max}: {said}", sent.at_min);
        if let Some(place) = place {
            ledger.see_time(place, at);
        }
        ledger.tally.count("named their time");
    }
}
