//! Topics that do not simply leave out what has left the history.

use serde_json::{Value, json};

use super::super::mail::Start;
use super::super::stats::Totals;
use super::*;
use crate::protocol::Since;

fn rig(entries: usize, overflow: Overflow) -> Rig {
    Rig::with_rules(History { entries, ..History::default() }, options(), &[("a", overflow)])
}

/// Publishes one message for each key, its number as data.
fn publish(rig: &mut Rig, keys: &[Option<&str>]) {
    for (number, key) in keys.iter().enumerate() {
        assert!(rig.publish_about("a", *key, &number.to_string(), None));
        rig.turn();
    }
}

fn events(rig: &mut Rig, peer: &mut Peer) -> Vec<Value> {
    rig.read_all(peer);
    std::iter::from_fn(|| peer.next()).collect()
}

/// Messages and gaps account for every offset, once and in order. Gives the offsets of the messages, and
/// how many entries the gaps of each reason stand for.
#[track_caller]
fn account(events: &[Value], first: u64, last: u64) -> (Vec<u64>, u64, u64) {
    let (mut offsets, mut latest, mut slow, mut next) = (Vec::new(), 0, 0, first);
    for event in events {
        if event["type"] == "gap" {
            assert_eq!(event["from"], next, "{event}");
            let to = event["to"].as_u64().expect("an offset");
            let count = to + 1 - next;
            match event["reason"].as_str() {
                Some("latest") => latest += count,
                Some("slow") => slow += count,
                _ => panic!("{event}"),
            }
            next = to + 1;
        } else {
            assert_eq!((&event["type"], &event["offset"]), (&json!("message"), &json!(next)), "{event}");
            offsets.push(next);
            next += 1;
        }
    }
    assert_eq!(next, last + 1);
    (offsets, latest, slow)
}

#[test]
fn latest_gives_the_newest_of_each_key_and_all_without_one() {
    let mut rig = rig(100, Overflow::Latest);
    let mut peer = subscriber(&mut rig, 1);
    let (x, y) = (Some("x"), Some("y"));
    // One is written in part at once; the rest is missed.
    publish(&mut rig, &[x, x, y, x, None, y, x, x, None, y]);
    let events = events(&mut rig, &mut peer);
    assert_eq!(account(&events, 1, 10), (vec![1, 5, 8, 9, 10], 5, 0));
    let mut totals = Totals::default();
    totals.add(rig.mailbox.stats());
    assert_eq!((totals.delivered, totals.conflated, totals.skipped), (5, 5, 0));
}

#[test]
fn latest_changes_nothing_for_those_who_keep_up() {
    let mut rig = rig(100, Overflow::Latest);
    let mut peer = subscriber(&mut rig, FAST);
    publish(&mut rig, &[Some("x"); 20]);
    let events = events(&mut rig, &mut peer);
    assert_eq!(account(&events, 1, 20), ((1..=20).collect(), 0, 0));
}

#[test]
fn latest_says_what_has_left_the_history_as_well() {
    let mut rig = rig(4, Overflow::Latest);
    let mut peer = subscriber(&mut rig, 1);
    publish(&mut rig, &[Some("x"); 200]);
    publish(&mut rig, &[Some("y"), Some("x"), Some("y"), Some("x")]);
    let events = events(&mut rig, &mut peer);
    let (offsets, latest, slow) = account(&events, 1, 204);
    assert_eq!(offsets, [1, 203, 204]);
    assert_eq!((latest, slow), (2, 199));
}

#[test]
fn latest_holds_in_whatever_portions_the_socket_takes_it() {
    for capacity in [1, 3, 17, 50, 90, 200] {
        let mut rig = rig(100, Overflow::Latest);
        let mut peer = subscriber(&mut rig, capacity);
        let keys: Vec<_> = (0..60).map(|number| [Some("x"), Some("y"), None][number * 7 % 3]).collect();
        publish(&mut rig, &keys);
        let events = events(&mut rig, &mut peer);
        let (offsets, latest, slow) = account(&events, 1, 60);
        assert_eq!((offsets.len() as u64 + latest, slow), (60, 0), "with a capacity of {capacity}");
        assert!(offsets.len() >= 22, "those without a key, and the newest of the others");
    }
}

#[test]
fn what_was_asked_for_is_not_passed_over() {
    let mut rig = rig(100, Overflow::Latest);
    publish(&mut rig, &[Some("x"); 30]);
    let mut peer = rig.connect(100);
    let epoch = rig.broker.registry().get("a").expect("it was published to").epoch();
    let since = Start::Since(Since { epoch: Some(epoch), offset: 10 });
    rig.post(&peer, What::Join(Filter::parse("a").expect("a name"), terms(since), asker(1)));
    publish(&mut rig, &[Some("x"); 10]);
    let mut events = events(&mut rig, &mut peer);
    assert_eq!(events.remove(0)["recovered"], true);
    let (offsets, latest, _) = account(&events, 11, 40);
    assert_eq!(offsets, (11..=30).chain([40]).collect::<Vec<_>>());
    assert_eq!(latest, 9);
}

#[test]
fn disconnect_gives_all_that_is_held_and_closes_instead_of_a_gap() {
    let mut rig = rig(64, Overflow::Disconnect);
    let mut peer = subscriber(&mut rig, 50);
    publish(&mut rig, &[None; 40]);
    let held = events(&mut rig, &mut peer);
    assert_eq!(account(&held, 1, 40).0.len(), 40);
    publish(&mut rig, &[None; 400]);
    let events = events(&mut rig, &mut peer);
    let goodbye = events.last().expect("a goodbye");
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&json!("goodbye"), &json!(4008)));
    assert_eq!(peer.closed, Some(4008));
    assert!(events.iter().all(|event| event["type"] != "gap"));
    // It is nobody else's business.
    let mut other = subscriber(&mut rig, FAST);
    publish(&mut rig, &[None]);
    other.expect("message");
}
