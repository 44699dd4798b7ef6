//! Random operations against what each subscriber must see.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::Keepsake;
use super::*;
use crate::protocol::Since;
use crate::ws::Window;

const TOPICS: [&str; 4] = ["a", "a.b", "a.c", "d"];
const FILTERS: [&str; 6] = ["a", "a.b", "a.*", ">", "d", "a.c"];

#[derive(Clone, Debug)]
enum Op {
    Subscribe(usize, usize),
    /// From so many messages before the newest, by position or by count, and some at a rate.
    SubscribeFrom(usize, usize, u64, bool, Option<u16>),
    Unsubscribe(usize, usize),
    /// So many messages, about one of three things or about none.
    Publish(usize, usize, usize),
    Read(usize),
    /// So many milliseconds go by.
    Pass(u64),
    Turn,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..3_usize, 0..FILTERS.len()).prop_map(|(peer, filter)| Op::Subscribe(peer, filter)),
        2 => (0..3_usize, 0..TOPICS.len(), 0..120_u64, any::<bool>(), proptest::option::of(50..1_000_u16))
            .prop_map(|(peer, topic, back, last, rate)| Op::SubscribeFrom(peer, topic, back, last, rate)),
        1 => (0..3_usize, 0..FILTERS.len()).prop_map(|(peer, filter)| Op::Unsubscribe(peer, filter)),
        6 => (0..TOPICS.len(), 1..40_usize, 0..4_usize).prop_map(|(topic, count, key)| Op::Publish(topic, count, key)),
        3 => (0..3_usize).prop_map(Op::Read),
        2 => (0..40_u64).prop_map(Op::Pass),
        3 => Just(Op::Turn),
    ]
}

/// What a subscriber knows of each topic: the next offset it must see.
#[derive(Default)]
struct Seen(HashMap<String, u64>);

impl Seen {
    fn check(&mut self, event: &Value) {
        let topic = event["topic"].as_str().expect("a topic").to_owned();
        match event["type"].as_str() {
            Some("message") => {
                let offset = event["offset"].as_u64().expect("an offset");
                if let Some(next) = self.0.insert(topic, offset + 1) {
                    assert_eq!(offset, next, "{event}");
                }
            }
            Some("gap") => {
                let (from, to) = (event["from"].as_u64().expect("an offset"), event["to"].as_u64().expect("an offset"));
                assert!(from <= to, "{event}");
                if let Some(next) = self.0.insert(topic, to + 1) {
                    assert_eq!(from, next, "{event}");
                }
            }
            Some("subscribed") => {
                if let Some(offset) = event["offset"].as_u64() {
                    self.0.insert(topic, offset + 1);
                }
            }
            // From here on the topic's numbers may jump, until it is subscribed to again.
            Some("unsubscribed") => self.0.clear(),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn offsets_rise_by_one_or_a_gap_accounts_for_it(
        ops in proptest::collection::vec(op(), 1..80),
        capacities in [1..400_usize, 40..4000_usize, FAST..FAST + 1],
        entries in 0..100_usize,
    ) {
        let history = History { entries, ..History::default() };
        let mut rig = Rig::with_rules(history, options(), &[("a.b", Overflow::Latest), ("d", Overflow::Latest)]);
        let deflated = Form::new(Encoding::Json, Some(Window::Bits12));
        let forms = [deflated, Encoding::Json.into(), deflated];
        let mut peers: Vec<(Peer, Seen)> = capacities
            .iter()
            .zip(forms)
            .map(|(&capacity, form)| (rig.connect_as(form, capacity), Seen::default()))
            .collect();
        for op in ops {
            match op {
                Op::Subscribe(peer, filter) => rig.subscribe(&peers[peer].0, FILTERS[filter]),
                Op::SubscribeFrom(peer, topic, back, last, max_rate) => {
                    let topic = TopicName::parse(TOPICS[topic]).expect("a name");
                    let known = rig.broker.registry().topic(&topic, 0).expect("room for a topic");
                    let start = if last {
                        Start::Last(back)
                    } else {
                        // Now and then beyond the head.
                        let offset = (known.ring().newest().0 + 2).saturating_sub(back);
                        Start::Since(Since { epoch: Some(known.epoch()), offset })
                    };
                    rig.post(&peers[peer].0, What::Join(Filter::Topic(topic), Terms { max_rate, ..terms(start) }, asker(3)));
                }
                Op::Unsubscribe(peer, filter) => rig.unsubscribe(&peers[peer].0, FILTERS[filter]),
                Op::Publish(topic, count, key) => {
                    let key = [None, Some("x"), Some("y"), Some("z")][key];
                    for _ in 0..count {
                        // A full window is the shard's turn, as it would be for a waiting publisher.
                        while !rig.publish_about(TOPICS[topic], key, r#"{"some":"data, data and more data"}"#, None) {
                            rig.turn();
                        }
                    }
                }
                Op::Read(peer) => rig.read(&mut peers[peer].0),
                Op::Pass(ms) => rig.pass(ms),
                Op::Turn => rig.turn(),
            }
        }
        rig.turn();
        // As long as somebody is owed something at its pace.
        loop {
            for (peer, seen) in &mut peers {
                rig.read_all(peer);
                while let Some(event) = peer.next() {
                    seen.check(&event);
                }
            }
            if rig.shard.paced.due_ms().is_none() {
                break;
            }
            rig.pass(20);
        }
        // Everybody has been told of everything that it follows by name.
        for (peer, seen) in &peers {
            let conn = &rig.shard.conns[peer.link.slot() as usize];
            prop_assert!(conn.stalled.is_none() && conn.lane.is_empty());
            prop_assert_eq!(peer.link.lane_bytes(), 0);
            for (topic, next) in &seen.0 {
                let follows = rig.shard.slots.named(topic).is_some_and(|slot| {
                    let slot = &rig.shard.slots[slot];
                    slot.members.iter().chain(&slot.paced).any(|member| member.conn == peer.link.slot())
                });
                if follows {
                    let newest = rig.broker.registry().get(topic).expect("it is followed").ring().newest();
                    prop_assert_eq!(*next, newest.0 + 1, "{}", topic);
                }
            }
        }
        for (peer, _) in &peers {
            rig.post(peer, What::Gone(Keepsake::new(())));
        }
        prop_assert!(rig.shard.conns.is_empty());
        rig.broker.registry().sweep(u64::MAX);
        rig.turn();
        prop_assert_eq!(rig.broker.registry().topics(), 0);
        prop_assert_eq!(rig.broker.registry().retained_weight(), 0);
    }
}

/// More in the long run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}
