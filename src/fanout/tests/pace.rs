//! Connections that want no more than so many messages a second.

use serde_json::{Value, json};

use super::super::Keepsake;
use super::*;
use crate::protocol::Since;

const NOTHING: [Value; 0] = [];

fn paced(rate: u16) -> Terms {
    Terms { max_rate: Some(rate), ..Terms::default() }
}

fn join(rig: &mut Rig, peer: &Peer, terms: Terms) {
    rig.post(peer, What::Join(Filter::parse("a").expect("a name"), terms, asker(1)));
}

fn subscriber_at(rig: &mut Rig, rate: u16) -> Peer {
    let mut peer = rig.connect(FAST);
    join(rig, &peer, paced(rate));
    assert_eq!(peer.expect("subscribed")["offset"], rig_offset(rig));
    peer
}

fn rig_offset(rig: &Rig) -> u64 {
    rig.broker.registry().get("a").map_or(0, |topic| topic.ring().newest().0)
}

fn publish(rig: &mut Rig, key: Option<&str>) {
    assert!(rig.publish_about("a", key, "1", None));
    rig.turn();
}

/// What came: the offset of a message, or what a gap covers and why.
fn came(peer: &mut Peer) -> Vec<Value> {
    let event = |event: Value| match event["type"].as_str() {
        Some("message") => event["offset"].clone(),
        Some("gap") => json!([event["from"], event["to"], event["reason"]]),
        _ => panic!("{event}"),
    };
    std::iter::from_fn(|| peer.next()).map(event).collect()
}

#[test]
fn it_gets_the_first_at_once_and_then_the_newest_of_each_key_in_its_time() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber_at(&mut rig, 10);
    let (x, y) = (Some("x"), Some("y"));
    for key in [x, x, y, x, y] {
        publish(&mut rig, key);
    }
    assert_eq!(came(&mut peer), [json!(1)]);
    rig.pass(99);
    assert_eq!(came(&mut peer), NOTHING);
    rig.pass(1);
    assert_eq!(came(&mut peer), [json!([2, 3, "latest"]), json!(4)]);
    // One of a key that is not held back by others waits no longer than its turn.
    publish(&mut rig, x);
    rig.pass(100);
    assert_eq!(came(&mut peer), [json!(5)]);
    rig.pass(100);
    assert_eq!(came(&mut peer), [json!(6)]);
    // Nothing is owed: the next one comes at once, as long after the last as it may.
    assert_eq!(rig.shard.due_ms(), None);
    rig.pass(100);
    publish(&mut rig, None);
    assert_eq!(came(&mut peer), [json!(7)]);
}

#[test]
fn messages_without_a_key_are_all_given_as_long_as_they_are_held() {
    let mut rig = Rig::new(History { entries: 4, ..History::default() }, options());
    let mut peer = subscriber_at(&mut rig, 1);
    for _ in 0..10 {
        publish(&mut rig, None);
    }
    assert_eq!(came(&mut peer), [json!(1)]);
    rig.pass(1_000);
    assert_eq!(came(&mut peer), [json!([2, 6, "slow"]), json!(7)]);
    for offset in 8..=10 {
        rig.pass(1_000);
        assert_eq!(came(&mut peer), [json!(offset)]);
    }
}

#[test]
fn another_subscription_that_matches_gives_all_of_it_and_nothing_twice() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber_at(&mut rig, 1);
    for _ in 0..3 {
        publish(&mut rig, None);
    }
    assert_eq!(came(&mut peer), [json!(1)]);
    // What was held back first: there is nothing newer that would stand for it.
    rig.subscribe(&peer, "*");
    peer.expect("subscribed");
    assert_eq!(came(&mut peer), [json!(2), json!(3)]);
    publish(&mut rig, None);
    publish(&mut rig, None);
    assert_eq!(came(&mut peer), [json!(4), json!(5)]);
    rig.unsubscribe(&peer, "*");
    peer.expect("unsubscribed");
    rig.pass(10_000);
    assert_eq!(came(&mut peer), NOTHING);
    publish(&mut rig, None);
    publish(&mut rig, None);
    rig.pass(1_000);
    rig.pass(1_000);
    assert_eq!(came(&mut peer), [json!(6), json!(7)]);
}

#[test]
fn what_it_asked_for_comes_whole_and_then_at_its_pace() {
    for capacity in [40, 100, FAST] {
        let mut rig = Rig::new(History::default(), options());
        for _ in 0..5 {
            publish(&mut rig, Some("x"));
        }
        let epoch = rig.broker.registry().get("a").expect("a topic").epoch();
        let mut peer = rig.connect(capacity);
        let since = Start::Since(Since { epoch: Some(epoch), offset: 2 });
        join(&mut rig, &peer, Terms { start: since, ..paced(1) });
        rig.read_all(&mut peer);
        let subscribed = peer.expect("subscribed");
        assert_eq!((&subscribed["recovered"], &subscribed["offset"]), (&json!(true), &json!(2)));
        assert_eq!(came(&mut peer), [json!(3), json!(4), json!(5)], "with room for {capacity}");
        for _ in 0..3 {
            publish(&mut rig, Some("x"));
        }
        rig.read_all(&mut peer);
        assert_eq!(came(&mut peer), [json!(6)]);
        rig.pass(1_000);
        rig.read_all(&mut peer);
        assert_eq!(came(&mut peer), [json!([7, 7, "latest"]), json!(8)]);
    }
}

#[test]
fn a_full_socket_is_waited_for_and_owed_the_newest() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(60);
    join(&mut rig, &peer, paced(1_000));
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    for _ in 0..50 {
        publish(&mut rig, Some("x"));
        rig.pass(1);
    }
    let mut all = Vec::new();
    for _ in 0..20 {
        rig.read_all(&mut peer);
        all.extend(came(&mut peer));
        rig.pass(1);
    }
    assert_eq!(all.last(), Some(&json!(50)));
    assert!(all.len() < 20, "{all:?}");
    let mut next = 1;
    for one in &all {
        let (from, to) = if one.is_u64() { (one, one) } else { (&one[0], &one[1]) };
        assert_eq!(from, &json!(next), "{all:?}");
        next = to.as_u64().expect("an offset") + 1;
    }
    // Its own that it did not want are no gap.
    let id = peer.link.id;
    assert!(rig.publish_about("a", Some("y"), "1", Some(id)) && rig.publish_about("a", Some("z"), "1", None));
    rig.pass(1);
    rig.read_all(&mut peer);
    assert_eq!(came(&mut peer), [json!(52)]);
}

#[test]
fn its_rate_is_part_of_the_subscription() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber_at(&mut rig, 10);
    join(&mut rig, &peer, paced(10));
    peer.expect("subscribed");
    join(&mut rig, &peer, Terms::default());
    peer.expect("subscribed");
    join(&mut rig, &peer, paced(20));
    assert_eq!(peer.expect("error")["code"], "bad_request");
    rig.unsubscribe(&peer, "a");
    peer.expect("unsubscribed");
    rig.unsubscribe(&peer, "a");
    assert_eq!(peer.expect("error")["code"], "not_subscribed");
    publish(&mut rig, None);
    assert_eq!(came(&mut peer), NOTHING);
    join(&mut rig, &peer, paced(20));
    assert_eq!(peer.expect("subscribed")["offset"], 1);
}

#[test]
fn what_is_left_of_those_who_went_disturbs_nobody() {
    let mut rig = Rig::new(History::default(), options());
    let gone = subscriber_at(&mut rig, 1);
    publish(&mut rig, None);
    publish(&mut rig, None);
    rig.post(&gone, What::Gone(Keepsake::new(())));
    // Another one has its number in the shard now, and a topic under the other's number.
    let mut peer = subscriber_at(&mut rig, 10);
    publish(&mut rig, None);
    publish(&mut rig, None);
    assert_eq!(came(&mut peer), [json!(3)]);
    rig.pass(1_000);
    assert_eq!(came(&mut peer), [json!(4)]);
    rig.post(&peer, What::Gone(Keepsake::new(())));
    rig.pass(10_000);
    assert_eq!((rig.shard.due_ms(), rig.shard.is_empty()), (None, true));
}

#[test]
fn what_was_held_back_comes_first_also_where_the_socket_is_full() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(1);
    join(&mut rig, &peer, paced(1));
    publish(&mut rig, None);
    publish(&mut rig, None);
    // Its socket has not even taken the answer when another subscription begins to give it everything.
    rig.subscribe(&peer, "*");
    publish(&mut rig, None);
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    peer.expect("subscribed");
    assert_eq!(came(&mut peer), [json!(1), json!(2), json!(3)]);
}

#[test]
fn to_have_a_rate_is_not_to_be_slow() {
    let history = History { entries: 2, ..History::default() };
    let mut rig = Rig::with_rules(history, options(), &[("a", Overflow::Disconnect)]);
    let mut peer = subscriber_at(&mut rig, 1);
    for _ in 0..5 {
        publish(&mut rig, None);
    }
    assert_eq!(came(&mut peer), [json!(1)]);
    // Part of what was held back is gone from the ring by now.
    rig.subscribe(&peer, "*");
    rig.pass(2_000);
    let (answers, given): (Vec<_>, Vec<_>) =
        std::iter::from_fn(|| peer.next()).partition(|event| event["type"] == "subscribed");
    assert_eq!(answers.len(), 1);
    let given: Vec<_> = given.iter().map(|event| (&event["type"], &event["from"], &event["offset"])).collect();
    let null = Value::Null;
    assert_eq!(
        given,
        [
            (&json!("gap"), &json!(2), &null),
            (&json!("message"), &null, &json!(4)),
            (&json!("message"), &null, &json!(5))
        ]
    );
    assert_eq!(peer.closed, None);
}

#[test]
fn what_was_held_back_and_is_gone_is_said_once() {
    let history = History { entries: 2, age_ms: 100, ..History::default() };
    let mut rig = Rig::new(history, options());
    let mut peer = subscriber_at(&mut rig, 1);
    for _ in 0..3 {
        publish(&mut rig, None);
    }
    assert_eq!(came(&mut peer), [json!(1)]);
    rig.pass(500);
    rig.broker.registry().sweep(rig.broker.now_ms());
    rig.subscribe(&peer, "*");
    peer.expect("subscribed");
    assert_eq!(came(&mut peer), [json!([2, 3, "slow"])]);
    rig.unsubscribe(&peer, "*");
    peer.expect("unsubscribed");
    rig.pass(2_000);
    assert_eq!(came(&mut peer), NOTHING);
}

#[test]
fn its_pace_goes_on_where_it_has_caught_up_although_it_is_behind_elsewhere() {
    // Which of the two comes first is left to chance, so that both do.
    for _ in 0..16 {
        let mut rig = Rig::new(History::default(), options());
        for _ in 0..20 {
            rig.publish("b", "\"a message that is longer than what its socket takes at once, so that it is behind\"");
        }
        publish(&mut rig, None);
        let mut peer = rig.connect(64);
        let ask = |rig: &mut Rig, topic, terms| {
            rig.post(&peer, What::Join(Filter::parse(topic).expect("a name"), terms, asker(1)));
        };
        ask(&mut rig, "b", terms(Start::Last(20)));
        ask(&mut rig, "a", Terms { start: Start::Last(1), ..paced(1_000) });
        let mut seen = Vec::new();
        for turn in 0..200 {
            if turn == 0 || (20..30).contains(&turn) {
                publish(&mut rig, None);
            }
            rig.read(&mut peer);
            rig.pass(1);
            while let Some(event) = peer.next() {
                if event["topic"] == "a" && event["type"] == "message" {
                    seen.push(event["offset"].as_u64().expect("an offset"));
                }
            }
        }
        assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    }
}
