//! Answers: each is the next that was asked for, and true.

use serde_json::Value;

use super::super::ledger::{Ledger, number};
use super::delivery::check_said;
use super::{
    Answer, Followed, Head, Judged, Model, Paced, Rate, Standing, Start, View, Witness, figure, matches, place, text,
};

impl Model {
    pub(super) fn answer(&mut self, kind: &str, event: &Value, ledger: &mut Ledger, witness: &dyn Witness) {
        let (id, answer) = self.answers.pop_front().unwrap_or_else(|| panic!("nothing was asked: {event}"));
        let asked = (answer != Answer::BadRequest).then_some(id);
        assert_eq!(event["id"].as_u64(), asked, "the answer to {answer:?} comes first: {event}");
        let topic = event["topic"].as_str().unwrap_or_default();
        match (kind, answer) {
            ("subscribed", Answer::Subscribed { topic: asked, start, presence, rate, head }) if asked == topic => {
                let is_new = !self.follows.contains_key(topic);
                self.subscribed(event, topic, &start, head, ledger, witness);
                self.begin_pace(event, topic, is_new, &start, rate);
                if presence {
                    self.views.entry(asked).or_insert(None);
                }
            }
            ("error", Answer::Subscribed { topic: asked, rate: Some(rate), .. }) if asked == topic => {
                assert_eq!(text(event, "code"), "bad_request", "{event}");
                let Some(Followed::Name(paced)) = self.follows.get(topic) else {
                    panic!("it was not followed: {event}")
                };
                assert!(paced.is_none_or(|paced| paced.max != rate.max), "it has that rate: {event}");
            }
            ("subscribed", Answer::Following { pattern, heads }) if pattern == topic => {
                assert!(event.get("epoch").is_none() && event.get("offset").is_none(), "{event}");
                let names = witness.topics().into_iter();
                let after = names.filter_map(|name| witness.head(&name).map(|head| (name, head))).collect();
                let composed = ledger.composed();
                self.judge_no_pace(&pattern);
                self.follows.entry(pattern).or_insert(Followed::Pattern { before: heads, after, composed });
            }
            ("unsubscribed", Answer::Unsubscribed { filter }) if filter == topic => {
                let gone = self.follows.remove(topic).unwrap_or_else(|| panic!("it was not followed: {event}"));
                self.hand_on(topic, &gone);
                self.views.remove(topic);
                let follows = &self.follows;
                self.standings.retain(|topic, _| follows.keys().any(|filter| matches(filter, topic)));
            }
            ("error", Answer::Unsubscribed { filter }) if filter == topic => {
                assert_eq!(text(event, "code"), "not_subscribed", "{event}");
                assert!(!self.follows.contains_key(topic), "{event}");
            }
            ("published", Answer::Published { number, counting }) => {
                let place = place(event, text(event, "epoch"), figure(event, "offset"));
                if ledger.sent(number).skip == Some(self.number) {
                    let standing = self.standings.get(topic).filter(|at| at.epoch.as_ref() == Some(&place.epoch));
                    let is_after = standing.is_none_or(|standing| place.offset > standing.begun);
                    assert!(is_after, "it was published after it was subscribed to: {event} {standing:?}");
                    self.own.insert(place.clone());
                }
                ledger.see(&place, number);
                assert_eq!(counting.is_some(), event.get("receivers").is_some(), "{event}");
                if let Some(counting) = counting {
                    ledger.audience.counted(counting, figure(event, "receivers"));
                }
            }
            ("presence", Answer::Presence { topic: asked }) if asked == topic => {
                let told = View::of(event);
                if let Some(Some(view)) = self.views.get(topic)
                    && view.version == told.version
                {
                    assert_eq!(*view, told, "two lists of one version");
                }
            }
            ("history", Answer::History { topic: asked, since, limit, head }) if asked == topic => {
                history(event, topic, since, limit, head, ledger, witness);
            }
            ("pong", Answer::Pong) => {}
            ("resumed", Answer::Resumed) => {
                self.resumed = true;
                ledger.tally.count("resumed");
            }
            ("error", Answer::Resumed | Answer::BadRequest) => {
                assert_eq!(text(event, "code"), "bad_request", "{event}");
            }
            (_, answer) => panic!("{answer:?} was asked for: {event}"),
        }
    }

    fn subscribed(
        &mut self,
        event: &Value,
        topic: &str,
        start: &Start,
        before: Option<Head>,
        ledger: &mut Ledger,
        witness: &dyn Witness,
    ) {
        let (epoch, offset) = (text(event, "epoch"), figure(event, "offset"));
        let after = witness.head(topic).filter(|head| head.epoch == epoch);
        let before = before.filter(|head| head.epoch == epoch);
        // The newest message was at least this one, and at most that one.
        let newest_min = before.as_ref().map_or(0, |head| head.newest).max(ledger.newest(topic, epoch).min(offset));
        let newest_max = after.as_ref().map_or(u64::MAX, |head| head.newest);
        assert!(offset <= newest_max, "before what has been published: {event} {after:?}");
        let standing = self.standings.get(topic);
        let recovered = event.get("recovered").map(|recovered| recovered == &Value::Bool(true));
        let mut asked_to = before.as_ref().map_or(0, |head| head.newest);
        match (start, recovered) {
            (Start::Live, None) => match standing {
                // Where the epoch was not said the topic may have begun anew.
                Some(standing)
                    if standing.epoch.as_deref().map_or(offset + 1 >= standing.next, |known| known == epoch) =>
                {
                    // It changes nothing.
                    assert!(offset + 1 >= standing.next, "a position goes back: {event}, next was {}", standing.next);
                    let (from, asked) = (standing.next, standing.asked_to);
                    self.skip(topic, Some(epoch), from, offset + 1);
                    asked_to = asked;
                }
                _ => {
                    // A pattern may have had it behind already.
                    let behind = self.follows.keys().any(|filter| filter != topic && matches(filter, topic));
                    assert!(offset >= newest_min || behind, "it begins in the past: {event}, {before:?}");
                    asked_to = 0;
                }
            },
            (Start::Since { epoch: asked, offset: from }, Some(true)) => {
                assert_eq!((asked.as_str(), *from), (epoch, offset), "{event}");
                // What had left the ring when it was asked for has not come back.
                let was_held = before.as_ref().is_none_or(|head| head.oldest <= from + 1 || head.newest <= *from);
                assert!(was_held, "it was not held any more: {event}, {before:?}");
                ledger.tally.count("recovered");
            }
            (Start::Since { epoch: asked, offset: from }, Some(false)) => {
                assert!(offset >= newest_min, "it begins in the past: {event}, {before:?}");
                ledger.tally.count("expired");
                asked_to = 0;
                let known = after.as_ref();
                check_reason(event, asked == epoch, *from, newest_min, known.map(|head| head.oldest));
            }
            (Start::Last(count), None) => {
                let end = offset.saturating_add(*count);
                assert!(end >= newest_min, "not the newest {count}: {event} {before:?}");
                let all = end <= newest_max;
                let oldest_min = before.as_ref().map_or(1, |head| head.oldest);
                let oldest_max = after.as_ref().map_or(u64::MAX, |head| head.oldest);
                let held = (oldest_min..=oldest_max).contains(&(offset + 1));
                assert!(all || held, "fewer than {count} and than are held: {event} {before:?} {after:?}");
            }
            _ => panic!("{start:?} was asked for: {event}"),
        }
        self.follows.entry(topic.to_owned()).or_insert(Followed::Name(None));
        let standing = Standing { epoch: Some(epoch.to_owned()), next: offset + 1, begun: offset, asked_to };
        self.standings.insert(topic.to_owned(), standing);
    }
}

impl Model {
    /// A topic has been subscribed to, by its name.
    fn begin_pace(&mut self, event: &Value, topic: &str, is_new: bool, start: &Start, rate: Option<Rate>) {
        let is_covered = self.follows.keys().any(|filter| filter != topic && matches(filter, topic));
        let Some(Followed::Name(paced)) = self.follows.get_mut(topic) else { return };
        let is_judged = *start == Start::Live && !is_covered;
        if is_new {
            let after = figure(event, "offset");
            let judged = |asked_ms| is_judged.then_some(Judged { after, next_ms: asked_ms });
            *paced = rate.map(|Rate { max, asked_ms }| Paced { max, judged: judged(asked_ms) });
        } else if let Some(Rate { max, .. }) = rate {
            assert!(paced.is_some_and(|paced| paced.max == max), "another rate than it had: {event}");
        }
        if let Some(paced) = paced.as_mut().filter(|_| !is_judged) {
            paced.judged = None;
        }
    }

    /// A pattern gives all of the topics that are followed by their names as well.
    fn judge_no_pace(&mut self, pattern: &str) {
        for (topic, followed) in &mut self.follows {
            if let Followed::Name(Some(paced)) = followed
                && matches(pattern, topic)
            {
                paced.judged = None;
            }
        }
    }
}

/// Why a position could not be gone on from: it must be true.
fn check_reason(event: &Value, same_epoch: bool, offset: u64, newest_min: u64, oldest_max: Option<u64>) {
    match text(event, "reason") {
        "epoch" => assert!(!same_epoch, "it was that epoch: {event}"),
        "future" => assert!(same_epoch && offset > newest_min, "it was no future: {event}, {newest_min} was there"),
        "expired" => {
            let held = oldest_max.is_some_and(|oldest| oldest <= offset + 1);
            assert!(same_epoch && !held, "it is held: {event}, from {oldest_max:?}");
        }
        other => panic!("{other}: {event}"),
    }
}

fn history(
    event: &Value,
    topic: &str,
    since: Option<(String, u64)>,
    limit: u64,
    before: Option<Head>,
    ledger: &mut Ledger,
    witness: &dyn Witness,
) {
    let (epoch, newest) = (text(event, "epoch"), figure(event, "offset"));
    let after = witness.head(topic).filter(|head| head.epoch == epoch);
    let newest_min = before.filter(|head| head.epoch == epoch).map_or(0, |head| head.newest);
    assert!(newest >= newest_min && after.as_ref().is_none_or(|head| newest <= head.newest), "{event} {after:?}");
    let messages = event["messages"].as_array().unwrap_or_else(|| panic!("no messages: {event}"));
    assert!(messages.len() as u64 <= limit, "{event}");
    let offsets: Vec<u64> = messages.iter().map(|message| figure(message, "offset")).collect();
    assert!(offsets.windows(2).all(|two| two[0] + 1 == two[1]), "a hole: {event}");
    for message in messages {
        let number = number(&message["data"]);
        let place = place(event, epoch, figure(message, "offset"));
        ledger.see(&place, number);
        check_said(message, number, Some(&place), ledger, witness);
    }
    let more = event["more"] == true;
    let (first, last) = (offsets.first().copied(), offsets.last().copied());
    match (since, event.get("recovered")) {
        (Some((asked, offset)), Some(Value::Bool(false))) => {
            assert!(messages.is_empty(), "{event}");
            let oldest = after.as_ref().map(|head| head.oldest);
            check_reason(event, asked == epoch, offset, newest_min, oldest);
        }
        (Some((asked, offset)), Some(Value::Bool(true))) => {
            assert_eq!(asked, epoch, "{event}");
            assert_eq!(first.unwrap_or(offset + 1), offset + 1, "it begins elsewhere: {event}");
            assert_eq!(more, last.unwrap_or(offset) < newest, "{event}");
        }
        (None, None) => {
            assert_eq!(last.unwrap_or(newest), newest, "it ends before the newest: {event}");
            let oldest = after.as_ref().map_or(u64::MAX, |head| head.oldest);
            let all = first.unwrap_or(newest + 1) <= oldest;
            assert!(all || more || messages.len() as u64 == limit, "{event}, {oldest} is held");
        }
        (since, _) => panic!("{since:?} was asked for: {event}"),
    }
}
