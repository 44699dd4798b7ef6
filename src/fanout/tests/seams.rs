//! Where two things meet: positions beyond the shard, ends with joins on the way, busy topics beside rare
//! ones.

use std::ops::ControlFlow;

use serde_json::json;

use super::super::Keepsake;
use super::super::mail::{HandOver, Start, Terms, What};
use super::super::stats::Totals;
use super::{FAST, Peer, Rig, ShardOptions, asker, terms};
use crate::broker::{Form, History, Introduction, Overflow};
use crate::protocol::{CloseCode, Encoding, Filter, Since};
use crate::ws::Window;

const DEFLATED: Form = Form::new(Encoding::Json, Some(Window::Bits12));
const SMALL: Form = Form::new(Encoding::Json, Some(Window::Bits9));

fn rig() -> Rig {
    Rig::new(History { bytes: 1 << 30, ..History::default() }, ShardOptions::default())
}

fn since(rig: &Rig, offset: u64) -> Start {
    let epoch = rig.broker.registry().get("a").expect("it exists").epoch();
    Start::Since(Since { epoch: Some(epoch), offset })
}

fn join(topic: &str, terms: Terms) -> What {
    What::Join(Filter::parse(topic).expect("a name"), terms, asker(1))
}

fn member() -> Terms {
    Terms { member: Some(Introduction { subject: None, member: None }), ..Terms::default() }
}

fn offsets(peer: &mut Peer) -> Vec<u64> {
    peer.offsets().into_iter().map(|(_, offset)| offset).collect()
}

#[test]
fn a_position_that_the_shard_has_not_come_to_is_recovered_and_nothing_comes_twice() {
    let mut rig = rig();
    for form in [DEFLATED, SMALL] {
        let peer = rig.connect_as(form, FAST);
        rig.subscribe(&peer, "a");
    }
    let mut back = rig.connect_as(DEFLATED, FAST);
    // More than a turn compresses.
    for number in 0..6 {
        assert!(rig.publish_as("a", &format!("\"{number} {}\"", "x".repeat(40_000)), None));
    }
    let start = since(&rig, 5);
    rig.post(&back, join("a", terms(start)));
    let answer = back.expect("subscribed");
    assert_eq!((&answer["recovered"], &answer["offset"]), (&json!(true), &json!(5)), "{answer}");
    rig.publish("a", "1");
    assert_eq!(offsets(&mut back), [6, 7]);
}

#[test]
fn a_position_at_what_another_shard_is_compressing_is_recovered() {
    let mut rig = rig();
    let one = rig.connect_as(DEFLATED, FAST);
    rig.subscribe(&one, "a");
    let mut back = rig.connect(FAST);
    assert!(rig.publish_as("a", &format!("\"{}\"", "tick tock ".repeat(60)), None));
    let topic = rig.broker.registry().get("a").expect("it exists");
    let mut found = None;
    let _ = topic.ring().read(topic.ring().newest(), |_, message| {
        found = Some(std::sync::Arc::clone(message));
        ControlFlow::Break(())
    });
    let message = found.expect("it is held");
    let claim = message.claim(DEFLATED).expect("nobody has it");
    let start = since(&rig, 1);
    rig.mailbox.post(&back.link, join("a", terms(start)));
    for _ in 0..5 {
        rig.shard.turn();
    }
    drop(claim);
    rig.publish("a", "2");
    assert_eq!(back.expect("subscribed")["recovered"], true);
    assert_eq!(offsets(&mut back), [2]);
}

#[test]
fn what_is_replayed_is_compressed() {
    let mut rig = rig();
    for number in 0..20 {
        rig.publish("a", &format!("\"{number} {}\"", "tick tock ".repeat(60)));
    }
    for _ in 0..2 {
        let mut back = rig.connect_as(DEFLATED, FAST);
        rig.post(&back, join("a", terms(Start::Last(20))));
        rig.read_all(&mut back);
        back.expect("subscribed");
        assert_eq!((offsets(&mut back).len(), back.deflated), (20, 20));
    }
    let mut totals = Totals::default();
    totals.add(rig.mailbox.stats());
    assert_eq!(totals.deflated, 20, "once");
}

#[test]
fn nothing_follows_a_close_frame() {
    let mut rig = rig();
    for number in 0..600 {
        assert!(rig.publish_as(&format!("t{number}"), "1", None));
    }
    for (capacity, pattern) in [(FAST, ">"), (3, "*")] {
        let mut peer = rig.connect(capacity);
        rig.mailbox.post(&peer.link, join(pattern, Terms::default()));
        rig.mailbox.post(&peer.link, What::Close { code: CloseCode::NORMAL, reason: "", goodbye: None });
        rig.shard.turn();
        rig.turn();
        rig.read_all(&mut peer);
        assert_eq!((peer.closed, peer.next()), (Some(1000), None), "with a capacity of {capacity}");
    }
}

#[test]
fn a_busy_topic_does_not_keep_a_rare_one_waiting() {
    let mut rig = rig();
    let mut peer = rig.connect(60_000);
    for topic in ["busy", "rare"] {
        rig.subscribe(&peer, topic);
    }
    rig.read_all(&mut peer);
    let data = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..20 {
        rig.publish("busy", &data);
    }
    rig.publish("rare", "1");
    for round in 0.. {
        assert!(round < 10, "the rare one never comes");
        for _ in 0..6 {
            rig.publish("busy", &data);
        }
        rig.read(&mut peer);
        if std::iter::from_fn(|| peer.next()).any(|event| event["topic"] == "rare" && event["type"] == "message") {
            return;
        }
    }
}

#[test]
fn who_reads_nothing_of_a_topic_that_bears_no_gaps_is_closed_as_time_goes_by() {
    let history = History { entries: 10, ..History::default() };
    let mut rig = Rig::with_rules(history, ShardOptions::default(), &[("d", Overflow::Disconnect)]);
    let mut peer = rig.connect(200);
    rig.subscribe(&peer, "d");
    rig.read_all(&mut peer);
    for _ in 0..1_000 {
        rig.publish("d", "1");
    }
    assert!(!peer.link.is_over());
    rig.shard.tick(1);
    rig.turn();
    assert!(peer.link.is_over());
    rig.read_all(&mut peer);
    assert_eq!(peer.closed, Some(4008));
}

#[test]
fn who_inherits_and_is_gone_leaves_no_member_behind() {
    for ends in ["gone", "closed", "each other"] {
        let mut rig = rig();
        let (a, b, keep) = (rig.connect(FAST), rig.connect(FAST), rig.connect(FAST));
        rig.post(&a, join("room", member()));
        rig.subscribe(&keep, "room");
        let over = |to: &Peer, rig: &Rig| What::HandOver(HandOver::new(&to.link, &rig.mailbox));
        rig.mailbox.post(&a.link, over(&b, &rig));
        match ends {
            "gone" => rig.mailbox.post(&b.link, What::Gone(Keepsake::new(()))),
            "closed" => rig.mailbox.post(&b.link, What::Close { code: CloseCode::NORMAL, reason: "", goodbye: None }),
            _ => rig.mailbox.post(&b.link, over(&a, &rig)),
        }
        for _ in 0..3 {
            rig.turn();
        }
        rig.post(&a, What::Gone(Keepsake::new(())));
        rig.post(&b, What::Gone(Keepsake::new(())));
        let count = rig.broker.registry().get("room").expect("it is followed").presence().snapshot().count;
        assert_eq!(count, 0, "{ends}");
    }
}

#[test]
fn telling_a_crowd_who_is_there_takes_several_turns() {
    let mut rig = rig();
    let peers: Vec<Peer> = (0..1_500)
        .map(|_| {
            let peer = rig.connect(1 << 26);
            rig.mailbox.post(&peer.link, join("room", member()));
            peer
        })
        .collect();
    rig.turn();
    let writes = |rig: &Rig| {
        let mut totals = Totals::default();
        totals.add(rig.mailbox.stats());
        totals.writes
    };
    let topic = rig.broker.registry().get("room").expect("it is followed");
    assert!(topic.presence().gather(1 << 40));
    topic.announce();
    for _ in 0..3 {
        let before = writes(&rig);
        rig.shard.turn();
        let count = writes(&rig) - before;
        assert!(count <= 600, "{count} writes in one turn");
    }
    drop(peers);
}
