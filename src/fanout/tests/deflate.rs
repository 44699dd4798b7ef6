//! Compression: once for everybody, and in nobody's way.

use std::sync::Arc;

use super::super::stats::Totals;
use super::{FAST, Peer, Rig, ShardOptions};
use crate::broker::{Form, History, Message};
use crate::protocol::Encoding;
use crate::ring::Seq;
use crate::ws::Window;

const DEFLATED: Form = Form::new(Encoding::Json, Some(Window::Bits12));

/// Data that becomes shorter, with its number.
fn data(number: usize) -> String {
    format!("\"{number} {}\"", "tick tock ".repeat(60))
}

fn totals(rig: &Rig) -> Totals {
    let mut totals = Totals::default();
    totals.add(rig.mailbox.stats());
    totals
}

/// The numbers of all messages that come, from a peer that reads until nothing more does.
fn numbers(rig: &mut Rig, peer: &mut Peer) -> Vec<usize> {
    rig.read_all(peer);
    numbers_now(peer)
}

/// The numbers of the messages that have come.
fn numbers_now(peer: &mut Peer) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Some(event) = peer.next() {
        assert_eq!(event["type"], "message");
        let data = event["data"].as_str().expect("text");
        numbers.push(data.split(' ').next().expect("a number").parse().expect("a number"));
    }
    numbers
}

/// The message that was published last.
fn newest(rig: &Rig, topic: &str) -> (Arc<crate::broker::Topic>, Arc<Message>, Seq) {
    let topic = rig.broker.registry().get(topic).expect("it was published to");
    let seq = topic.ring().newest();
    let mut found = None;
    let _ = topic.ring().read(seq, |_, message| {
        found = Some(Arc::clone(message));
        std::ops::ControlFlow::Break(())
    });
    (topic, found.expect("it is retained"), seq)
}

#[test]
fn a_message_is_compressed_once_for_all_who_want_it_and_plain_for_the_others() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let small = Form::new(Encoding::Json, Some(Window::Bits9));
    let forms = [DEFLATED, DEFLATED, small, Encoding::Json.into(), DEFLATED];
    let mut peers = forms.map(|form| rig.connect_as(form, FAST));
    for peer in &mut peers[..4] {
        rig.subscribe(peer, "a");
        peer.expect("subscribed");
    }
    rig.subscribe(&peers[4], ">");
    peers[4].expect("subscribed");
    for number in 0..10 {
        rig.publish("a", &data(number));
    }
    for (peer, deflated) in peers.iter_mut().zip([10, 10, 10, 0, 10]) {
        assert_eq!(numbers(&mut rig, peer), (0..10).collect::<Vec<_>>());
        assert_eq!(peer.deflated, deflated);
    }
    let totals = totals(&rig);
    assert_eq!(totals.deflated, 20, "one for each message and window");
    assert!(totals.deflated_to_bytes * 5 < totals.deflated_from_bytes, "{totals:?}");
}

#[test]
fn nothing_is_compressed_that_nobody_wants_so() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let plain = rig.connect(FAST);
    rig.subscribe(&plain, "a");
    let leaver = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&leaver, "a");
    rig.subscribe(&leaver, "*");
    rig.unsubscribe(&leaver, "a");
    rig.unsubscribe(&leaver, "*");
    rig.publish("a", &data(1));
    assert_eq!(totals(&rig).deflated, 0);
}

#[test]
fn short_messages_go_as_they_are_between_compressed_ones() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let mut peer = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&peer, "a");
    peer.expect("subscribed");
    for number in 0..6 {
        let data = if number % 2 == 0 { data(number) } else { format!("\"{number} short\"") };
        assert!(rig.publish_as("a", &data, None));
    }
    rig.turn();
    assert_eq!(numbers(&mut rig, &mut peer), [0, 1, 2, 3, 4, 5]);
    assert_eq!(peer.deflated, 3);
}

#[test]
fn what_another_shard_is_compressing_is_come_back_for() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let mut peer = rig.connect_as(DEFLATED, FAST);
    let mut other = rig.connect(FAST);
    rig.subscribe(&peer, "a");
    rig.subscribe(&other, "b");
    peer.expect("subscribed");
    other.expect("subscribed");
    for number in 0..3 {
        assert!(rig.publish_as("a", &data(number), None));
    }
    assert!(rig.publish_as("b", &data(3), None));
    let (topic, message, seq) = newest(&rig, "a");
    let claim = message.claim(DEFLATED).expect("nobody has it");
    for _ in 0..10 {
        rig.shard.turn();
    }
    // What stands before it goes out, and so do other topics.
    assert_eq!(numbers_now(&mut peer), [0, 1]);
    assert_eq!(numbers_now(&mut other), [3]);
    claim.fill(Window::Bits12, &topic, seq);
    rig.turn();
    assert_eq!(numbers_now(&mut peer), [2]);
    assert_eq!((totals(&rig).deflated, peer.deflated), (2, 3));
}

#[test]
fn a_claim_that_is_given_up_is_taken_over() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let mut peer = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&peer, "a");
    peer.expect("subscribed");
    assert!(rig.publish_as("a", &data(0), None));
    let (_, message, _) = newest(&rig, "a");
    drop(message.claim(DEFLATED).expect("nobody has it"));
    rig.turn();
    assert_eq!((numbers_now(&mut peer), peer.deflated), (vec![0], 1));
}

#[test]
fn a_slow_connection_gets_the_rest_of_a_compressed_frame() {
    let mut rig = Rig::new(History::default(), ShardOptions::default());
    let mut peer = rig.connect_as(DEFLATED, 23);
    rig.subscribe(&peer, "a");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    for number in 0..20 {
        rig.publish("a", &data(number));
    }
    assert_eq!(numbers(&mut rig, &mut peer), (0..20).collect::<Vec<_>>());
    assert_eq!((peer.deflated, totals(&rig).deflated), (20, 20));
}

#[test]
fn the_work_of_one_turn_is_bounded() {
    let mut rig = Rig::new(History { bytes: 1 << 30, ..History::default() }, ShardOptions::default());
    let mut peer = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&peer, "a");
    peer.expect("subscribed");
    for number in 0..200 {
        assert!(rig.publish_as("a", &format!("\"{number} {}\"", "x".repeat(6_000)), None));
    }
    rig.shard.turn();
    let first = totals(&rig).deflated;
    assert!((1..20).contains(&first), "{first} in one turn");
    rig.turn();
    assert_eq!(numbers_now(&mut peer), (0..200).collect::<Vec<_>>());
}

#[test]
fn frames_beyond_the_first_count_as_retained_while_they_last() {
    let mut rig = Rig::new(History { entries: 4, ..History::default() }, ShardOptions::default());
    let peer = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&peer, "a");
    let before = |rig: &Rig| rig.broker.registry().retained_bytes();
    assert!(rig.publish_as("a", &data(0), None));
    let plain = before(&rig);
    rig.turn();
    let with_frame = before(&rig);
    assert!((plain + 20..plain + 300).contains(&with_frame), "{plain}, then {with_frame}");
}
