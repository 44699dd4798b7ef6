//! Members, and what they are told of one another.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::Keepsake;
use super::super::mail::{HandOver, Terms, What};
use super::{FAST, Peer, Rig, ShardOptions, asker};
use crate::broker::{History, Introduction};
use crate::protocol::{CloseCode, Data, Filter};

/// What a client knows of who is there, as it has been told.
#[derive(Default)]
struct Known {
    version: Option<u64>,
    members: BTreeMap<String, Value>,
}

impl Known {
    /// Takes what came. Versions rise by one.
    fn take(&mut self, events: impl IntoIterator<Item = Value>) {
        for event in events {
            let version = event["version"].as_u64().expect("a version");
            let list = |field: &str| event[field].as_array().cloned().unwrap_or_default();
            let name = |member: &Value| member["connection"].as_str().expect("a name").to_owned();
            match event["type"].as_str() {
                Some("presence") => {
                    self.members =
                        list("members").iter().map(|member| (name(member), member["member"].clone())).collect();
                    assert_eq!(event["count"], self.members.len());
                }
                Some("presence_diff") => {
                    assert_eq!(self.version.map(|known| known + 1), Some(version), "{event}");
                    for member in list("left") {
                        assert!(self.members.remove(&name(&member)).is_some(), "{event}");
                    }
                    for member in list("joined") {
                        self.members.insert(name(&member), member["member"].clone());
                    }
                }
                _ => panic!("{event}"),
            }
            self.version = Some(version);
        }
    }

    fn names(&self) -> Vec<&str> {
        self.members.values().map(|member| member.as_str().unwrap_or("")).collect()
    }
}

/// Without a grace, but for where it is asked for.
fn rig(options: ShardOptions) -> Rig {
    Rig::new(History::default(), ShardOptions { presence_grace_ms: 0, ..options })
}

fn forgiving_rig() -> Rig {
    Rig::new(History::default(), ShardOptions { presence_grace_ms: 1_000, ..ShardOptions::default() })
}

fn join(rig: &mut Rig, peer: &Peer, says: &str) {
    join_as(rig, peer, None, says);
}

fn join_as(rig: &mut Rig, peer: &Peer, subject: Option<&str>, says: &str) {
    let member = Data::try_from(json!(says).to_string().as_str()).expect("JSON");
    let introduction = Introduction { subject: subject.map(Into::into), member: Some(member) };
    let terms = Terms { member: Some(introduction), ..Terms::default() };
    rig.post(peer, What::Join(Filter::parse("room").expect("a name"), terms, asker(1)));
}

/// A member that has been told who is there.
fn member(rig: &mut Rig, says: &str) -> (Peer, Known) {
    let mut peer = rig.connect(FAST);
    join(rig, &peer, says);
    peer.expect("subscribed");
    let mut known = Known::default();
    known.take([peer.expect("presence")]);
    (peer, known)
}

fn told(peer: &mut Peer) -> Vec<Value> {
    std::iter::from_fn(|| peer.next()).collect()
}

#[test]
fn members_are_told_who_is_there_who_comes_and_who_goes() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, mut ana_knows) = member(&mut rig, "ana");
    assert_eq!(ana_knows.names(), ["ana"]);
    let (bob, bob_knows) = member(&mut rig, "bob");
    assert_eq!(bob_knows.names().len(), 2);
    ana_knows.take(told(&mut ana));
    assert_eq!(ana_knows.members, bob_knows.members);
    rig.post(&bob, What::Gone(Keepsake::new(())));
    ana_knows.take(told(&mut ana));
    assert_eq!(ana_knows.names(), ["ana"]);
    rig.unsubscribe(&ana, "room");
    ana.expect("unsubscribed");
    let (mut eve, eve_knows) = member(&mut rig, "eve");
    assert_eq!((eve_knows.names(), ana.next()), (vec!["eve"], None));
    eve.expect_nothing();
}

#[test]
fn subscribers_without_presence_are_neither_told_nor_members() {
    let mut rig = rig(ShardOptions::default());
    let mut plain = rig.connect(FAST);
    rig.subscribe(&plain, "room");
    plain.expect("subscribed");
    let (_ana, knows) = member(&mut rig, "ana");
    assert_eq!(knows.names(), ["ana"]);
    plain.expect_nothing();
    // It may become one later; its subscription stays as it is.
    join(&mut rig, &plain, "late");
    plain.expect("subscribed");
    let mut knows = Known::default();
    knows.take([plain.expect("presence")]);
    assert_eq!(knows.names().len(), 2);
}

#[test]
fn to_say_something_else_is_told_as_well() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let (bob, _) = member(&mut rig, "bob");
    join(&mut rig, &bob, "robert");
    knows.take(told(&mut ana));
    let mut names = knows.names();
    names.sort_unstable();
    assert_eq!(names, ["ana", "robert"]);
}

#[test]
fn a_change_keeps_its_place_among_the_messages() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, _) = member(&mut rig, "ana");
    assert!(rig.publish_as("room", "1", None));
    let (_bob, _) = member(&mut rig, "bob");
    rig.publish("room", "2");
    let kinds: Vec<_> = told(&mut ana).iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect();
    assert_eq!(kinds, ["message", "presence_diff", "message"]);
}

#[test]
fn who_is_slow_is_told_when_it_has_caught_up() {
    for changes in [3, 200] {
        let mut rig = rig(ShardOptions::default());
        let mut slow = rig.connect(200);
        join(&mut rig, &slow, "slow");
        rig.read_all(&mut slow);
        slow.expect("subscribed");
        let mut knows = Known::default();
        knows.take([slow.expect("presence")]);
        // Nobody reads its socket for a while.
        for _ in 0..20 {
            rig.publish("room", "\"something that fills its socket\"");
        }
        let (bob, _) = member(&mut rig, "bob");
        for change in 0..changes {
            join(&mut rig, &bob, &format!("bob again, {change}"));
        }
        let (_eve, expected) = member(&mut rig, "eve");
        rig.read_all(&mut slow);
        let (messages, presence): (Vec<_>, Vec<_>) =
            told(&mut slow).into_iter().partition(|event| event["type"] == "message");
        assert_eq!(messages.len(), 20);
        knows.take(presence);
        assert_eq!((knows.version, &knows.members), (expected.version, &expected.members), "after {changes} changes");
    }
}

#[test]
fn the_changes_of_a_crowd_are_told_as_time_goes_by() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let crowd: Vec<Peer> = (0..300)
        .map(|_| {
            let peer = rig.connect(FAST);
            join(&mut rig, &peer, "one of many");
            peer
        })
        .collect();
    let before = told(&mut ana);
    assert!(before.len() < 80, "{} events for 300 who came", before.len());
    knows.take(before);
    // The clock of the broker is the real one here: what has gathered is made a version by asking.
    let topic = rig.broker.registry().get("room").expect("it is followed");
    assert!(topic.presence().gather(1 << 40));
    topic.announce();
    rig.turn();
    knows.take(told(&mut ana));
    assert_eq!(knows.members.len(), 301);
    for peer in &crowd {
        rig.post(peer, What::Gone(Keepsake::new(())));
    }
    assert!(topic.presence().gather(1 << 41));
    topic.announce();
    rig.turn();
    knows.take(told(&mut ana));
    assert_eq!(knows.names(), ["ana"]);
}

#[test]
fn a_topic_that_is_full_refuses_one_more_and_keeps_nothing_of_it() {
    let mut rig = rig(ShardOptions { members_per_topic_max: 1, ..ShardOptions::default() });
    let (_ana, _) = member(&mut rig, "ana");
    let mut bob = rig.connect(FAST);
    join(&mut rig, &bob, "bob");
    let error = bob.expect("error");
    assert_eq!((&error["code"], &error["topic"]), (&json!("overloaded"), &json!("room")));
    rig.publish("room", "1");
    bob.expect_nothing();
    assert_eq!(rig.broker.registry().get("room").expect("it is followed").subscribers(), 1);
}

#[test]
fn members_of_a_shard_that_ends_are_gone() {
    let mut rig = rig(ShardOptions::default());
    let (_ana, _) = member(&mut rig, "ana");
    let topic = rig.broker.registry().get("room").expect("it is followed");
    assert_eq!(topic.presence().snapshot().count, 1);
    drop(rig);
    assert_eq!(topic.presence().snapshot().count, 0);
}

/// `to` takes the place of `from`.
fn take_over(rig: &mut Rig, from: &Peer, to: &Peer) {
    let hand_over = HandOver::new(&to.link, &rig.mailbox);
    rig.post(from, What::HandOver(hand_over));
    // The other shard, which is the same one here, has mail of it.
    rig.turn();
}

#[test]
fn whoever_takes_anothers_place_stays_a_member_unseen_by_the_others() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let (mut old, _) = member(&mut rig, "bob");
    knows.take(told(&mut ana));
    let mut new = rig.connect(FAST);
    let done = new.link.done();
    take_over(&mut rig, &old, &new);
    assert_eq!(new.link.done(), done + 1);
    old.take();
    assert_eq!(old.closed, Some(4409));
    rig.post(&old, What::Gone(Keepsake::new(())));
    // It says the same of itself again: nothing has changed.
    join(&mut rig, &new, "bob");
    new.expect("subscribed");
    assert_eq!(new.expect("presence")["members"].as_array().map(Vec::len), Some(2));
    ana.expect_nothing();
    rig.post(&new, What::Gone(Keepsake::new(())));
    knows.take(told(&mut ana));
    assert_eq!(knows.names(), ["ana"]);
}

#[test]
fn what_is_inherited_ends_with_its_heir() {
    let mut rig = rig(ShardOptions::default());
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let (old, _) = member(&mut rig, "bob");
    knows.take(told(&mut ana));
    let new = rig.connect(FAST);
    take_over(&mut rig, &old, &new);
    rig.post(&old, What::Gone(Keepsake::new(())));
    ana.expect_nothing();
    // It never subscribed.
    rig.post(&new, What::Gone(Keepsake::new(())));
    knows.take(told(&mut ana));
    assert_eq!(knows.names(), ["ana"]);
}

#[test]
fn an_heir_of_nobody_is_told_so() {
    let mut rig = rig(ShardOptions::default());
    let gone = rig.connect(FAST);
    rig.post(&gone, What::Gone(Keepsake::new(())));
    let new = rig.connect(FAST);
    let done = new.link.done();
    take_over(&mut rig, &gone, &new);
    assert_eq!(new.link.done(), done + 1);
    // A member already keeps its own name, and the other one's place is given up.
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let (bob, _) = member(&mut rig, "bob");
    knows.take(told(&mut ana));
    take_over(&mut rig, &bob, &ana);
    knows.take(told(&mut ana));
    assert_eq!(knows.names(), ["ana"]);
}

#[test]
fn who_is_lost_stays_for_a_grace() {
    let mut rig = forgiving_rig();
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let (bob, _) = member(&mut rig, "bob");
    rig.post(&bob, What::Gone(Keepsake::new(())));
    rig.pass(999);
    knows.take(told(&mut ana));
    assert_eq!(knows.names().len(), 2);
    rig.pass(1);
    knows.take(told(&mut ana));
    assert_eq!(knows.names(), ["ana"]);
    assert_eq!(rig.shard.due_ms(), None);
}

#[test]
fn who_says_farewell_is_gone_at_once() {
    for (code, stays) in [(CloseCode::NORMAL, false), (CloseCode::GOING_AWAY, true), (CloseCode::FORBIDDEN, false)] {
        let mut rig = forgiving_rig();
        let (mut ana, mut knows) = member(&mut rig, "ana");
        let (bob, _) = member(&mut rig, "bob");
        rig.post(&bob, What::Close { code, reason: "", goodbye: None });
        rig.post(&bob, What::Gone(Keepsake::new(())));
        knows.take(told(&mut ana));
        assert_eq!(knows.names().len(), if stays { 2 } else { 1 }, "{code:?}");
    }
}

#[test]
fn who_comes_back_as_the_same_subject_takes_its_own_place_in_one_version() {
    let mut rig = forgiving_rig();
    let (mut ana, mut knows) = member(&mut rig, "ana");
    let other = rig.connect(FAST);
    join_as(&mut rig, &other, Some("bob"), "bob");
    let old = rig.connect(FAST);
    join_as(&mut rig, &old, Some("bob"), "bob's other window");
    rig.post(&old, What::Gone(Keepsake::new(())));
    knows.take(told(&mut ana));
    let before = knows.version.expect("a version");
    let new = rig.connect(FAST);
    join_as(&mut rig, &new, Some("bob"), "bob, loaded again");
    let diff = ana.expect("presence_diff");
    assert_eq!(diff["left"], json!([{"connection": old.link.id.to_string()}]));
    assert_eq!(diff["joined"][0]["connection"], new.link.id.to_string());
    knows.take([diff]);
    assert_eq!(knows.version, Some(before + 1));
    // The end of the grace changes nothing any more, and those who are there are nobody's to replace.
    rig.pass(1_000);
    ana.expect_nothing();
    assert_eq!(knows.names().len(), 3);
}

#[test]
fn the_place_of_a_lost_connection_can_be_taken_by_its_secret_unseen() {
    let mut rig = forgiving_rig();
    let (mut ana, _) = member(&mut rig, "ana");
    let (bob, _) = member(&mut rig, "bob");
    ana.expect("presence_diff");
    let secret = Arc::new(());
    rig.post(&bob, What::Gone(Keepsake::new(Arc::clone(&secret))));
    let mut new = rig.connect(FAST);
    rig.post(&new, What::Reclaim(bob.link.id, HandOver::new(&new.link, &rig.mailbox)));
    assert_eq!(Arc::strong_count(&secret), 1, "it can be taken once");
    join(&mut rig, &new, "bob");
    new.expect("subscribed");
    let mut knows = Known::default();
    knows.take([new.expect("presence")]);
    assert_eq!(knows.names().len(), 2);
    rig.pass(5_000);
    ana.expect_nothing();
    rig.unsubscribe(&new, "room");
    assert_eq!(ana.expect("presence_diff")["left"], json!([{"connection": bob.link.id.to_string()}]));
}

#[test]
fn a_place_can_be_taken_of_a_connection_that_ends_before_its_shard_is_asked() {
    let lost: &[fn() -> What] =
        &[|| What::Gone(Keepsake::new(())), || What::Close { code: CloseCode::GOING_AWAY, reason: "", goodbye: None }];
    for ends in lost {
        let mut rig = forgiving_rig();
        let (mut ana, _) = member(&mut rig, "ana");
        let (bob, _) = member(&mut rig, "bob");
        ana.expect("presence_diff");
        rig.post(&bob, ends());
        let mut new = rig.connect(FAST);
        take_over(&mut rig, &bob, &new);
        join(&mut rig, &new, "bob");
        new.expect("subscribed");
        assert_eq!(new.expect("presence")["members"].as_array().map(Vec::len), Some(2));
        rig.pass(5_000);
        ana.expect_nothing();
    }
}

#[test]
fn a_place_whose_grace_has_passed_is_nobodys() {
    let mut rig = forgiving_rig();
    let (bob, _) = member(&mut rig, "bob");
    let secret = Arc::new(());
    rig.post(&bob, What::Gone(Keepsake::new(Arc::clone(&secret))));
    rig.pass(1_000);
    assert_eq!(Arc::strong_count(&secret), 1);
    let new = rig.connect(FAST);
    rig.post(&new, What::Reclaim(bob.link.id, HandOver::new(&new.link, &rig.mailbox)));
    // The bell has rung for what the shard has posted to itself.
    rig.turn();
    assert_eq!(new.link.done(), 1, "it is told, and waits for nothing");
    join(&mut rig, &new, "bob");
    let (_, knows) = member(&mut rig, "eve");
    assert_eq!(knows.members.keys().filter(|name| **name == bob.link.id.to_string()).count(), 0);
}
