//! What a connection gets that reads as fast as it is written to.

use super::super::Keepsake;
use super::*;
use crate::fanout::mail::Goodbye;
use crate::protocol::CloseCode;
use crate::ws::{self, Opcode};

#[test]
fn a_subscriber_gets_what_is_published_after_its_subscribed() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    rig.publish("a", "1");
    rig.subscribe(&peer, "a");
    rig.publish("a", r#"{"b":2}"#);
    assert_eq!(peer.expect("subscribed")["offset"], 1);
    let message = peer.expect("message");
    assert_eq!((message["offset"].as_u64(), &message["data"]["b"]), (Some(2), &Value::from(2)));
    peer.expect_nothing();
}

#[test]
fn messages_that_wait_together_leave_in_one_write() {
    let mut rig = Rig::new(History::default(), options());
    let mut peers: Vec<Peer> = (0..10).map(|_| rig.connect(FAST)).collect();
    for peer in &peers {
        rig.subscribe(peer, "a");
    }
    let before = rig_writes(&rig);
    for _ in 0..20 {
        assert!(rig.publish_as("a", "1", None));
    }
    rig.turn();
    assert_eq!(rig_writes(&rig) - before, 10, "one write for each connection");
    for peer in &mut peers {
        peer.expect("subscribed");
        assert_eq!(peer.offsets().len(), 20);
    }
}

fn rig_writes(rig: &Rig) -> u64 {
    totals(rig).writes
}

fn totals(rig: &Rig) -> crate::fanout::Totals {
    let mut totals = crate::fanout::Totals::default();
    totals.add(rig.mailbox.stats());
    totals
}

#[test]
fn several_dirty_topics_leave_in_one_write() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    for topic in ["a", "b", "c"] {
        rig.subscribe(&peer, topic);
        peer.expect("subscribed");
    }
    let before = rig_writes(&rig);
    for topic in ["a", "b", "c", "a"] {
        assert!(rig.publish_as(topic, "1", None));
    }
    rig.turn();
    assert_eq!(rig_writes(&rig) - before, 1);
    let mut offsets = peer.offsets();
    offsets.sort();
    assert_eq!(offsets, [("a".into(), 1), ("a".into(), 2), ("b".into(), 1), ("c".into(), 1)]);
}

#[test]
fn a_message_that_several_subscriptions_match_comes_once() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    for filter in ["a.b", "a.*", ">"] {
        rig.subscribe(&peer, filter);
        peer.expect("subscribed");
    }
    rig.publish("a.b", "1");
    assert_eq!(peer.offsets(), [("a.b".to_owned(), 1)]);
}

#[test]
fn a_publisher_without_echo_does_not_get_its_own_message() {
    let mut rig = Rig::new(History::default(), options());
    let (mut publisher, mut other) = (rig.connect(FAST), rig.connect(FAST));
    rig.subscribe(&publisher, "a");
    rig.subscribe(&other, "a");
    for skip in [None, Some(publisher.link.id), None, Some(publisher.link.id)] {
        assert!(rig.publish_as("a", "1", skip));
    }
    rig.turn();
    publisher.expect("subscribed");
    other.expect("subscribed");
    assert_eq!(publisher.offsets(), [("a".to_owned(), 1), ("a".to_owned(), 3)]);
    assert_eq!(other.offsets().len(), 4);
}

#[test]
fn offset_one_carries_the_epoch_and_later_ones_do_not() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    rig.subscribe(&peer, "a");
    rig.publish("a", "1");
    rig.publish("a", "2");
    let subscribed = peer.expect("subscribed");
    assert_eq!(peer.expect("message")["epoch"], subscribed["epoch"]);
    assert_eq!(peer.expect("message").get("epoch"), None);
}

#[test]
fn a_publisher_waits_for_the_shard_and_never_for_a_socket() {
    let history = History { entries: 64, ..History::default() };
    let mut rig = Rig::new(history, options());
    let peer = rig.connect(64);
    rig.subscribe(&peer, "a");
    for _ in 0..5 {
        let mut placed = 0;
        while rig.publish_as("a", "1", None) {
            placed += 1;
        }
        assert_eq!(placed, 64, "the fan-out window");
        rig.turn();
    }
}

#[test]
fn a_goodbye_comes_before_the_close_frame_and_nothing_after_it() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    rig.subscribe(&peer, "a");
    let goodbye = Some(Goodbye { reconnect_ms: None });
    rig.post(&peer, What::Close { code: CloseCode::MALFORMED, reason: "enough", goodbye });
    rig.publish("a", "1");
    peer.expect("subscribed");
    let said = peer.expect("goodbye");
    assert_eq!((said["code"].as_u64(), said["reason"].as_str()), (Some(4400), Some("enough")));
    peer.expect_nothing();
    assert_eq!(peer.closed, Some(4400));
}

#[test]
fn a_drain_spreads_the_times_to_return_evenly() {
    let mut rig = Rig::new(History::default(), options());
    let mut peers: Vec<Peer> = (0..5).map(|_| rig.connect(FAST)).collect();
    rig.mailbox.drain(1000);
    rig.turn();
    let mut times: Vec<u64> =
        peers.iter_mut().map(|peer| peer.expect("goodbye")["reconnect_ms"].as_u64().expect("a time")).collect();
    times.sort_unstable();
    assert_eq!(times, [0, 200, 400, 600, 800]);
    assert!(peers.iter().all(|peer| peer.closed == Some(1012)));
}

#[test]
fn a_connection_that_comes_while_others_are_sent_away_is_sent_away_too() {
    let mut rig = Rig::new(History::default(), options());
    rig.mailbox.drain(1000);
    rig.turn();
    let mut late = rig.connect(FAST);
    late.expect_nothing();
    let mut welcome = Vec::new();
    ws::push(&mut welcome, Opcode::Text, br#"{"type":"welcome"}"#);
    late.link.add_lane(welcome.len());
    rig.post(&late, What::Lane(welcome));
    late.expect("welcome");
    assert_eq!(late.expect("goodbye")["reconnect_ms"], 500);
    late.take();
    assert_eq!(late.closed, Some(1012));
}

#[test]
fn a_silent_peer_is_pinged_and_then_closed() {
    let mut rig = Rig::new(History::default(), ShardOptions { heartbeat_ms: 16_000, timeout_ms: 8_000, ..options() });
    let mut peer = rig.connect(FAST);
    // A tick is a second here. Within the heartbeat something has been sent.
    rig.shard.tick(16);
    rig.turn();
    peer.take();
    assert_eq!(peer.pings, 1);
    rig.shard.tick(21);
    rig.turn();
    peer.expect_nothing();
    rig.shard.tick(24);
    rig.turn();
    assert_eq!(peer.expect("goodbye")["code"], 4408);
}

#[test]
fn a_peer_that_answers_stays() {
    let mut rig = Rig::new(History::default(), ShardOptions { heartbeat_ms: 16_000, timeout_ms: 8_000, ..options() });
    let mut peer = rig.connect(FAST);
    for tick in 1..=200 {
        rig.shard.tick(tick);
        rig.turn();
        let pings = peer.pings;
        peer.take();
        if peer.pings > pings {
            peer.link.hear(rig.mailbox.tick());
        }
    }
    assert!((10..=20).contains(&peer.pings), "{} pings in 200 seconds", peer.pings);
    assert_eq!(peer.closed, None);
}

#[test]
fn nobody_is_late_for_a_ping_while_the_process_stood_still() {
    let mut rig = Rig::new(History::default(), ShardOptions { heartbeat_ms: 16_000, timeout_ms: 8_000, ..options() });
    let mut peer = rig.connect(FAST);
    // A suspended machine: an hour in one step, once without and once with a ping on its way.
    for tick in [3_600, 7_200, 10_800] {
        rig.shard.tick(tick);
        rig.turn();
        peer.expect_nothing();
    }
    assert!(peer.pings >= 1);
    assert_eq!(peer.closed, None);
}

#[test]
fn nothing_is_sent_after_the_close_frame() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    rig.post(&peer, What::Close { code: CloseCode::NORMAL, reason: "", goodbye: None });
    peer.link.add_lane(3);
    rig.post(&peer, What::Lane(b"\x81\x01x".to_vec()));
    rig.subscribe(&peer, "a");
    peer.expect_nothing();
    assert_eq!((peer.closed, peer.link.lane_bytes(), peer.link.done()), (Some(1000), 0, 1));
    assert!(!peer.link.is_broken());
}

#[test]
fn the_figures_add_up_and_go_back_to_zero() {
    let mut rig = Rig::new(History::default(), options());
    let peers: Vec<Peer> = (0..3).map(|_| rig.connect(FAST)).collect();
    for peer in &peers {
        rig.subscribe(peer, "a");
        rig.subscribe(peer, "b.*");
    }
    rig.publish("a", "1");
    let now = totals(&rig);
    assert_eq!((now.connections, now.subscriptions, now.delivered), (3, 6, 3));
    for peer in &peers {
        rig.post(peer, What::Gone(Keepsake::new(())));
    }
    let now = totals(&rig);
    assert_eq!((now.connections, now.subscriptions, now.stalled), (0, 0, 0));
}
