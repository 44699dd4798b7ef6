//! Beginning somewhere else than at the head: what was missed, then what comes, without a seam.

use serde_json::{Value, json};

use super::super::Keepsake;
use super::super::mail::{Start, What};
use super::{FAST, Peer, Rig, ShardOptions, asker, terms};
use crate::broker::History;
use crate::protocol::{Epoch, Filter, Since};

fn rig(entries: usize) -> Rig {
    Rig::new(History { entries, ..History::default() }, ShardOptions::default())
}

fn publish(rig: &mut Rig, topic: &str, count: usize) {
    for _ in 0..count {
        rig.publish(topic, "1");
    }
}

fn epoch(rig: &Rig, topic: &str) -> Epoch {
    rig.broker.registry().get(topic).expect("the topic exists").epoch()
}

/// Subscribes from there; gives the answer.
fn join(rig: &mut Rig, peer: &mut Peer, topic: &str, start: Start) -> Value {
    rig.post(peer, What::Join(Filter::parse(topic).expect("a name"), terms(start), asker(1)));
    loop {
        rig.read(peer);
        if let Some(event) = peer.next() {
            return event;
        }
    }
}

fn since(rig: &Rig, topic: &str, offset: u64) -> Start {
    Start::Since(Since { epoch: Some(epoch(rig, topic)), offset })
}

/// The offsets of the messages that come, all of one topic.
fn offsets(rig: &mut Rig, peer: &mut Peer) -> Vec<u64> {
    rig.read_all(peer);
    peer.offsets().into_iter().map(|(_, offset)| offset).collect()
}

#[test]
fn all_that_was_missed_follows_and_then_what_comes() {
    let mut rig = rig(100);
    publish(&mut rig, "a", 10);
    for capacity in [FAST, 40] {
        let mut peer = rig.connect(capacity);
        let from = since(&rig, "a", 4);
        let answer = join(&mut rig, &mut peer, "a", from);
        assert_eq!((&answer["offset"], &answer["recovered"]), (&json!(4), &json!(true)));
        assert_eq!(answer.get("reason"), None);
        let before = rig.broker.registry().get("a").expect("it exists").ring().newest().0;
        publish(&mut rig, "a", 3);
        assert_eq!(offsets(&mut rig, &mut peer), (5..=before + 3).collect::<Vec<_>>());
        rig.post(&peer, What::Gone(Keepsake::new(())));
    }
}

#[test]
fn nothing_missed_is_recovered_too() {
    let mut rig = rig(100);
    publish(&mut rig, "a", 2);
    let mut peer = rig.connect(FAST);
    let from = since(&rig, "a", 2);
    let answer = join(&mut rig, &mut peer, "a", from);
    assert_eq!((&answer["offset"], &answer["recovered"]), (&json!(2), &json!(true)));
    publish(&mut rig, "a", 1);
    assert_eq!(offsets(&mut rig, &mut peer), [3]);
}

#[test]
fn what_cannot_be_recovered_says_why_and_begins_at_the_head() {
    let mut rig = rig(4);
    publish(&mut rig, "a", 10);
    let other = Epoch(epoch(&rig, "a").0 ^ 1);
    for (start, reason) in [
        (since(&rig, "a", 3), "expired"),
        (since(&rig, "a", 1_000), "future"),
        (Start::Since(Since { epoch: Some(other), offset: 10 }), "epoch"),
        (Start::Since(Since { epoch: None, offset: 10 }), "epoch"),
    ] {
        let head = rig.broker.registry().get("a").expect("it exists").ring().newest().0;
        let mut peer = rig.connect(FAST);
        let answer = join(&mut rig, &mut peer, "a", start);
        assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!(reason)), "{start:?}");
        assert_eq!(answer["offset"], head);
        publish(&mut rig, "a", 1);
        assert_eq!(offsets(&mut rig, &mut peer), [head + 1]);
    }
}

#[test]
fn the_newest_are_replayed_as_far_as_they_are_held() {
    let mut rig = rig(5);
    publish(&mut rig, "a", 8);
    for (count, offset) in [(0, 8), (2, 6), (5, 3), (100, 3), (u64::MAX, 3)] {
        let mut peer = rig.connect(FAST);
        let answer = join(&mut rig, &mut peer, "a", Start::Last(count));
        assert_eq!((&answer["offset"], answer.get("recovered")), (&json!(offset), None), "{count}");
        assert_eq!(offsets(&mut rig, &mut peer), (offset + 1..=8).collect::<Vec<_>>(), "{count}");
    }
    let mut peer = rig.connect(FAST);
    let answer = join(&mut rig, &mut peer, "new", Start::Last(3));
    assert_eq!(answer["offset"], 0);
}

#[test]
fn subscribing_again_moves_the_position() {
    let mut rig = rig(100);
    let mut peer = rig.connect(FAST);
    rig.subscribe(&peer, "a");
    peer.expect("subscribed");
    publish(&mut rig, "a", 5);
    assert_eq!(offsets(&mut rig, &mut peer), [1, 2, 3, 4, 5]);
    let from = since(&rig, "a", 3);
    assert_eq!(join(&mut rig, &mut peer, "a", from)["recovered"], true);
    assert_eq!(offsets(&mut rig, &mut peer), [4, 5]);
    assert_eq!(join(&mut rig, &mut peer, "a", Start::Last(1))["offset"], 4);
    publish(&mut rig, "a", 1);
    assert_eq!(offsets(&mut rig, &mut peer), [5, 6]);
    // Without a position nothing changes.
    assert_eq!(join(&mut rig, &mut peer, "a", Start::Live)["offset"], 6);
}

#[test]
fn a_slow_connection_can_move_its_position_as_well() {
    let mut rig = rig(100);
    let mut peer = rig.connect(64);
    rig.subscribe(&peer, "a");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    for _ in 0..20 {
        rig.publish("a", "1");
    }
    let to = since(&rig, "a", 18);
    rig.post(&peer, What::Join(Filter::parse("a").expect("a name"), terms(to), asker(1)));
    rig.read_all(&mut peer);
    let mut events = std::iter::from_fn(|| peer.next());
    let before: Vec<Value> = events.by_ref().take_while(|event| event["type"] == "message").collect();
    assert!(before.len() < 18, "it is slow");
    let after: Vec<Value> = events.map(|event| event["offset"].clone()).collect();
    assert_eq!(after, [json!(19), json!(20)]);
}

#[test]
fn recovering_takes_part_of_everything_else_meanwhile() {
    let mut rig = rig(1_000);
    publish(&mut rig, "a", 500);
    let mut peer = rig.connect(200);
    rig.subscribe(&peer, "b");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    let from = since(&rig, "a", 0);
    assert_eq!(join(&mut rig, &mut peer, "a", from)["recovered"], true);
    publish(&mut rig, "b", 3);
    publish(&mut rig, "a", 2);
    rig.read_all(&mut peer);
    let (a, b): (Vec<_>, Vec<_>) = peer.offsets().into_iter().partition(|(topic, _)| topic == "a");
    assert_eq!(a.into_iter().map(|(_, offset)| offset).collect::<Vec<_>>(), (1..=502).collect::<Vec<_>>());
    assert_eq!(b.len(), 3);
    // It stands with the others again.
    rig.publish("a", "1");
    assert_eq!(offsets(&mut rig, &mut peer), [503]);
}
