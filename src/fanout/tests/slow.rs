//! What a connection gets whose socket does not take all there is, and what it costs the others.

use super::super::Keepsake;
use super::*;

#[test]
fn a_stalled_subscriber_catches_up_without_loss_whatever_its_socket_takes() {
    for capacity in [1, 7, 61, 62, 63, 100, 1000] {
        let mut rig = Rig::new(History::default(), options());
        let mut peer = subscriber(&mut rig, capacity);
        for number in 0..50 {
            rig.publish("a", &number.to_string());
        }
        rig.read_all(&mut peer);
        let offsets: Vec<u64> = peer.offsets().into_iter().map(|(_, offset)| offset).collect();
        assert_eq!(offsets, (1..=50).collect::<Vec<_>>(), "with a capacity of {capacity}");
        assert!(rig.shard.conns.iter().all(|(_, conn)| conn.stalled.is_none()));
    }
}

#[test]
fn a_slow_subscriber_does_not_delay_a_fast_one() {
    let mut rig = Rig::new(History::default(), options());
    let slow = subscriber(&mut rig, 70);
    let mut fast = subscriber(&mut rig, FAST);
    for number in 1..=100 {
        rig.publish("a", "1");
        assert_eq!(fast.expect("message")["offset"], number);
    }
    drop(slow);
}

#[test]
fn what_has_left_the_ring_becomes_a_gap_that_accounts_for_it() {
    let history = History { entries: 16, ..History::default() };
    let mut rig = Rig::new(history, options());
    let mut peer = subscriber(&mut rig, 100);
    for _ in 0..500 {
        rig.publish("a", "1");
    }
    rig.read_all(&mut peer);
    let mut next = 1;
    let mut gaps = 0;
    while let Some(event) = peer.next() {
        if event["type"] == "gap" {
            assert_eq!((event["from"].as_u64(), event["reason"].as_str()), (Some(next), Some("slow")), "{event}");
            next = event["to"].as_u64().expect("an offset") + 1;
            gaps += 1;
        } else {
            assert_eq!(event["offset"], next);
            next += 1;
        }
    }
    assert_eq!(next, 501);
    assert_eq!(gaps, 1);
}

#[test]
fn the_gaps_of_a_topic_that_was_removed_come_before_those_of_the_one_born_after_it() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(60);
    rig.subscribe(&peer, "*");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    let names = ["a", "b", "c", "d", "e"];
    let mut born: Vec<(String, String)> = Vec::new();
    for time in 1..=4 {
        for name in names {
            rig.publish(name, "1");
            let topic = rig.broker.registry().get(name).expect("it was published to");
            born.push((name.to_owned(), topic.epoch().to_string()));
        }
        rig.broker.registry().sweep(time * 1_000_000);
        rig.turn();
        assert_eq!(rig.broker.registry().topics(), 0);
    }
    rig.read_all(&mut peer);
    let told: Vec<(String, String)> = std::iter::from_fn(|| peer.next())
        .map(|event| ["topic", "epoch"].map(|key| event[key].as_str().expect("a text").to_owned()).into())
        .collect();
    for name in names {
        let of_name = |all: &[(String, String)]| all.iter().filter(|(of, _)| of == name).cloned().collect::<Vec<_>>();
        assert_eq!(of_name(&told), of_name(&born));
    }
}

#[test]
fn what_is_missing_of_a_topic_that_was_removed_comes_before_a_subscription_to_the_one_born_after_it() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(60);
    rig.subscribe(&peer, "*");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    // The other topic's message fills the socket, in part.
    rig.publish("other", &format!("\"{}\"", "x".repeat(200)));
    rig.publish("a", "1");
    let earlier = rig.broker.registry().get("a").expect("it was published to").epoch().to_string();
    rig.turn();
    rig.broker.registry().sweep(1_000_000);
    rig.turn();
    assert_eq!(rig.broker.registry().topics(), 0);
    rig.subscribe(&peer, "a");
    rig.read_all(&mut peer);
    let told: Vec<_> = std::iter::from_fn(|| peer.next()).collect();
    let of_it: Vec<_> = told.iter().filter(|event| event["topic"] == "a").collect();
    assert_eq!(of_it[0]["type"], "gap", "{told:?}");
    assert_eq!((&of_it[0]["epoch"], &of_it[0]["from"], &of_it[0]["to"]), (&earlier.into(), &1.into(), &1.into()));
    assert_eq!(of_it[1]["type"], "subscribed");
    assert_eq!(of_it.len(), 2, "{told:?}");
}

#[test]
fn a_stalled_subscriber_costs_no_memory_for_what_is_published_meanwhile() {
    let history = History { entries: 8, ..History::default() };
    let mut rig = Rig::new(history, options());
    let peer = subscriber(&mut rig, 10);
    for _ in 0..10_000 {
        rig.publish("a", "1");
    }
    let conn = &rig.shard.conns[peer.link.slot() as usize];
    let stalled = conn.stalled.as_ref().expect("its socket is full");
    assert_eq!(stalled.behind().count(), 1);
    assert!(conn.lane.is_empty() && conn.pieces.is_empty());
}

#[test]
fn replies_overtake_messages_but_not_half_a_frame() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber(&mut rig, 30);
    rig.publish("a", "1");
    rig.publish("a", "2");
    rig.subscribe(&peer, "b");
    rig.read_all(&mut peer);
    assert_eq!(peer.expect("message")["offset"], 1);
    assert_eq!(peer.expect("subscribed")["topic"], "b");
    assert_eq!(peer.expect("message")["offset"], 2);
}

#[test]
fn nothing_of_a_topic_comes_after_its_unsubscribed_to_a_stalled_subscriber() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber(&mut rig, 30);
    for _ in 0..5 {
        rig.publish("a", "1");
    }
    rig.unsubscribe(&peer, "a");
    rig.publish("a", "1");
    rig.read_all(&mut peer);
    assert_eq!(peer.expect("message")["offset"], 1, "the rest of the frame that had begun");
    peer.expect("unsubscribed");
    peer.expect_nothing();
}

#[test]
fn a_topic_that_a_pattern_still_matches_is_owed_after_its_unsubscribed() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber(&mut rig, 30);
    rig.subscribe(&peer, "*");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    for _ in 0..3 {
        rig.publish("a", "1");
    }
    rig.unsubscribe(&peer, "a");
    rig.read_all(&mut peer);
    let mut offsets = Vec::new();
    while let Some(event) = peer.next() {
        if event["type"] == "message" {
            offsets.push(event["offset"].as_u64().expect("an offset"));
        }
    }
    assert_eq!(offsets, [1, 2, 3]);
}

#[test]
fn a_message_without_echo_stays_left_out_when_its_publisher_catches_up() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = subscriber(&mut rig, 40);
    for skip in [None, Some(peer.link.id), None, Some(peer.link.id)] {
        assert!(rig.publish_as("a", "1", skip));
        rig.turn();
    }
    rig.read_all(&mut peer);
    assert_eq!(peer.offsets(), [("a".to_owned(), 1), ("a".to_owned(), 3)]);
}

#[test]
fn whoever_is_behind_in_too_many_topics_is_closed_and_told() {
    let mut rig = Rig::new(History::default(), ShardOptions { behind_topics_max: 8, ..options() });
    let mut peer = rig.connect(60);
    rig.subscribe(&peer, ">");
    rig.read_all(&mut peer);
    peer.expect("subscribed");
    for topic in 0..20 {
        rig.publish(&format!("t.{topic}"), "1");
    }
    rig.read_all(&mut peer);
    let last = std::iter::from_fn(|| peer.next()).last().expect("events came");
    assert_eq!((last["type"].as_str(), last["code"].as_u64()), (Some("goodbye"), Some(4008)));
    assert_eq!(peer.closed, Some(4008));
}

#[test]
fn when_all_are_owed_too_much_the_worst_are_closed() {
    let mut rig = Rig::new(History::default(), ShardOptions { backlog_bytes_max: 1_000, ..options() });
    let peers = [100, 400, 800].map(|_| subscriber(&mut rig, 40));
    for (peer, length) in peers.iter().zip([100, 400, 800]) {
        peer.link.add_lane(length);
        rig.post(peer, What::Lane(vec![0; length]));
    }
    rig.turn();
    assert_eq!(rig.shard.mailbox.stats().stalled.read(), 3);
    rig.shard.tick(1);
    // Without the third the others fit.
    assert_eq!(peers.each_ref().map(|peer| peer.link.is_over()), [false, false, true]);
    rig.shard.tick(2);
    assert_eq!(peers.each_ref().map(|peer| peer.link.is_over()), [false, false, true]);
    assert_eq!(rig.shard.mailbox.stats().limited_backlogs.read(), 1);
    peers[2].pipe.break_off();
}

#[test]
fn a_broken_socket_takes_nothing_with_it() {
    let mut rig = Rig::new(History::default(), options());
    let broken = subscriber(&mut rig, 20);
    let mut other = subscriber(&mut rig, FAST);
    rig.publish("a", "1");
    broken.pipe.break_off();
    rig.post(&broken, What::Writable);
    rig.publish("a", "2");
    assert!(broken.link.is_broken());
    rig.post(&broken, What::Gone(Keepsake::new(())));
    assert_eq!(other.offsets().len(), 2);
    assert_eq!(rig.shard.conns.len(), 1);
}
