//! Joins, leaves, patterns, and the life of topics.

use super::super::Keepsake;
use super::super::mail::Terms;
use super::*;

#[test]
fn a_pattern_covers_topics_that_exist_and_topics_to_come() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    rig.publish("a.old", "1");
    rig.publish("b.old", "1");
    rig.subscribe(&peer, "a.*");
    rig.publish("a.old", "2");
    rig.publish("a.new", "1");
    rig.publish("b.old", "2");
    let subscribed = peer.expect("subscribed");
    assert_eq!((subscribed.get("epoch"), subscribed.get("offset")), (None, None));
    assert_eq!(peer.offsets(), [("a.old".to_owned(), 2), ("a.new".to_owned(), 1)]);
}

#[test]
fn what_was_published_before_a_pattern_was_joined_does_not_come_after() {
    let mut rig = Rig::new(History::default(), options());
    let mut peers = [rig.connect(FAST), rig.connect(FAST)];
    rig.subscribe(&peers[0], "a.*");
    // Still to be fanned out when the second one asks.
    assert!(rig.publish_as("a.b", "1", None));
    rig.subscribe(&peers[1], "a.*");
    rig.publish("a.b", "2");
    peers[0].expect("subscribed");
    peers[1].expect("subscribed");
    assert_eq!(peers[0].offsets().len(), 2);
    assert_eq!(peers[1].offsets(), [("a.b".to_owned(), 2)]);
}

#[test]
fn what_was_published_before_a_topic_was_joined_does_not_come_after() {
    let mut rig = Rig::new(History::default(), options());
    let mut peers = [rig.connect(FAST), rig.connect(FAST)];
    rig.subscribe(&peers[0], "a");
    for _ in 0..3 {
        assert!(rig.publish_as("a", "1", None));
    }
    rig.subscribe(&peers[1], "a");
    rig.publish("a", "2");
    assert_eq!(peers[1].expect("subscribed")["offset"], 3);
    assert_eq!(peers[1].offsets(), [("a".to_owned(), 4)]);
    peers[0].expect("subscribed");
    assert_eq!(peers[0].offsets().len(), 4);
}

#[test]
fn a_walk_over_many_topics_takes_several_turns_and_misses_none() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    for topic in 0..2000 {
        rig.publish(&format!("t.{topic}"), "1");
    }
    let filter = Filter::parse("t.*").expect("a pattern");
    rig.mailbox.post(&peer.link, What::Join(filter, Terms::default(), asker(1)));
    assert_eq!(rig.shard.turn(), Turn::Again);
    peer.expect_nothing();
    rig.turn();
    peer.expect("subscribed");
    for topic in 0..2000 {
        assert!(rig.publish_as(&format!("t.{topic}"), "2", None));
    }
    rig.turn();
    assert_eq!(peer.offsets().len(), 2000);
}

#[test]
fn subscribing_again_is_answered_and_changes_nothing() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    for filter in ["a", "a", "b.*", "b.*"] {
        rig.subscribe(&peer, filter);
        assert_eq!(peer.expect("subscribed")["topic"], filter);
    }
    rig.publish("a", "1");
    rig.publish("b.c", "1");
    assert_eq!(peer.offsets().len(), 2);
    rig.unsubscribe(&peer, "a");
    peer.expect("unsubscribed");
    rig.publish("a", "1");
    peer.expect_nothing();
}

#[test]
fn leaving_what_was_not_joined_is_an_error() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    for filter in ["a", "a.*"] {
        rig.unsubscribe(&peer, filter);
        let error = peer.expect("error");
        assert_eq!((error["code"].as_str(), error["topic"].as_str()), (Some("not_subscribed"), Some(filter)));
    }
}

#[test]
fn an_error_about_a_command_without_id_says_its_place_in_the_batch() {
    let mut rig = Rig::new(History::default(), options());
    let mut peer = rig.connect(FAST);
    let filter = Filter::parse("a").expect("a name");
    rig.post(&peer, What::Leave(filter, Asker { id: None, index: Some(6) }));
    assert_eq!(peer.expect("error")["index"], 6);
}

#[test]
fn a_connection_has_as_many_subscriptions_as_it_may() {
    let mut rig = Rig::new(History::default(), ShardOptions { subscriptions_per_connection_max: 3, ..options() });
    let mut peer = rig.connect(FAST);
    for filter in ["a", "b.*", "c"] {
        rig.subscribe(&peer, filter);
        peer.expect("subscribed");
    }
    rig.subscribe(&peer, "d");
    assert_eq!(peer.expect("error")["code"], "too_many_subscriptions");
    rig.subscribe(&peer, "a");
    peer.expect("subscribed");
    rig.unsubscribe(&peer, "b.*");
    peer.expect("unsubscribed");
    rig.subscribe(&peer, "d");
    peer.expect("subscribed");
}

#[test]
fn the_last_one_to_leave_lets_go_of_the_topic() {
    let mut rig = Rig::new(History { entries: 0, ..History::default() }, options());
    let peers = [rig.connect(FAST), rig.connect(FAST)];
    for peer in &peers {
        rig.subscribe(peer, "a");
        rig.subscribe(peer, "b.>");
    }
    rig.publish("b.c", "1");
    rig.unsubscribe(&peers[0], "a");
    rig.unsubscribe(&peers[0], "b.>");
    rig.broker.registry().sweep(10);
    assert_eq!(rig.broker.registry().get("a").map(|topic| topic.subscribers()), Some(1));
    rig.post(&peers[1], What::Gone(Keepsake::new(())));
    rig.broker.registry().sweep(20);
    rig.turn();
    assert_eq!(rig.broker.registry().topics(), 0);
    assert_eq!(rig.shard.slots.named("a"), None);
    assert_eq!(rig.shard.slots.named("b.c"), None);
}

#[test]
fn a_topic_that_went_and_came_back_is_followed_by_its_patterns_with_a_new_epoch() {
    let mut rig = Rig::new(History { entries: 0, ..History::default() }, options());
    let mut peer = rig.connect(FAST);
    rig.subscribe(&peer, "a.*");
    rig.publish("a.b", "1");
    rig.broker.registry().sweep(10);
    rig.turn();
    assert_eq!(rig.broker.registry().topics(), 0);
    rig.publish("a.b", "2");
    peer.expect("subscribed");
    let (first, second) = (peer.expect("message"), peer.expect("message"));
    assert_eq!((&first["offset"], &second["offset"]), (&Value::from(1), &Value::from(1)));
    assert_ne!(first["epoch"], second["epoch"]);
}

#[test]
fn a_shard_that_ends_sets_its_publishers_free() {
    let mut rig = Rig::new(History { entries: 64, ..History::default() }, options());
    let peer = rig.connect(FAST);
    rig.subscribe(&peer, "a");
    while rig.publish_as("a", "1", None) {}
    let Rig { broker, shard, mailbox, .. } = rig;
    drop(shard);
    let topic = broker.registry().get("a").expect("it has history");
    assert_eq!(topic.subscribers(), 0);
    let data = Data::try_from("1").expect("JSON");
    assert!(broker.publisher("a").expect("a name").try_publish(data).is_ok());
    assert!(peer.link.is_broken());
    drop(mailbox);
}

#[test]
fn who_joins_while_the_last_one_leaves_a_dirty_topic_misses_nothing() {
    let mut rig = Rig::new(History::default(), options());
    let (first, mut second) = (rig.connect(FAST), rig.connect(FAST));
    rig.subscribe(&first, "a");
    // Dirty, and not fanned out when the mail comes: the pass before is not finished.
    rig.mailbox.post(&first.link, What::Lane(Vec::new()));
    rig.shard.touch(first.link.slot());
    assert!(rig.publish_as("a", "1", None));
    rig.mailbox.post(&first.link, What::Gone(Keepsake::new(())));
    rig.mailbox.post(&second.link, What::Join(Filter::parse("a").expect("a name"), Terms::default(), asker(1)));
    rig.turn();
    rig.publish("a", "2");
    assert_eq!(second.expect("subscribed")["offset"], 1);
    assert_eq!(second.offsets(), [("a".to_owned(), 2)]);
    rig.unsubscribe(&second, "a");
    second.expect("unsubscribed");
}

#[test]
fn a_shard_begun_anew_knows_nothing_of_the_connections_before() {
    let mut rig = Rig::new(History::default(), options());
    let old = rig.connect(FAST);
    rig.subscribe(&old, "a");
    let Rig { broker, shard, mailbox, .. } = rig;
    drop(shard);
    let shard = Shard::new(broker.clone(), Arc::clone(&mailbox), options());
    let mut rig = Rig { broker, shard, mailbox, peers: 1, now_ms: Arc::default() };
    rig.mailbox.post(&old.link, What::Lane(b"for somebody else".to_vec()));
    rig.mailbox.post(&old.link, What::Gone(Keepsake::new(())));
    let mut new = rig.connect(FAST);
    rig.subscribe(&new, "a");
    rig.publish("a", "1");
    new.expect("subscribed");
    new.expect("message");
    assert_eq!(rig.shard.conns.len(), 1);
}

#[test]
fn a_closed_topic_is_let_go_of_once_nobody_has_a_place_in_it() {
    let mut rig = Rig::new(History { entries: 0, ..History::default() }, options());
    let mut peer = rig.connect(40);
    rig.subscribe(&peer, ">");
    rig.read_all(&mut peer);
    for _ in 0..3 {
        rig.publish("a", "1");
    }
    rig.broker.registry().sweep(10);
    rig.turn();
    assert_eq!(rig.broker.registry().topics(), 0);
    rig.read_all(&mut peer);
    assert_eq!(rig.shard.slots.named("a"), None);
}

#[test]
fn mail_to_a_shard_that_is_no_more_breaks_the_connection() {
    let mut rig = Rig::new(History::default(), options());
    let peer = rig.connect(FAST);
    rig.mailbox.served().store(false, Ordering::SeqCst);
    rig.mailbox.post(&peer.link, What::Lane(Vec::new()));
    assert!(peer.link.is_broken());
}

#[test]
fn whoever_gets_a_message_is_counted_once() {
    let mut rig = Rig::new(History::default(), options());
    let both = rig.connect(FAST);
    rig.subscribe(&both, "a.b");
    rig.subscribe(&both, "a.*");
    rig.subscribe(&both, ">");
    let one = rig.connect(FAST);
    rig.subscribe(&one, "a.>");
    let leaves = rig.connect(FAST);
    rig.subscribe(&leaves, "a.b");
    let in_process = rig.broker.subscribe("*.b").expect("a pattern");
    let name = TopicName::parse("a.b").expect("a name");
    let topic = rig.broker.registry().topic(&name, 0).expect("room");
    let count = |rig: &mut Rig, skip| {
        let mut asked = std::pin::pin!(topic.receivers(skip));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(asked.as_mut().poll(&mut cx).is_pending(), "the shard has not been asked");
        rig.turn();
        match asked.as_mut().poll(&mut cx) {
            Poll::Ready(count) => count,
            Poll::Pending => panic!("the shard does not answer"),
        }
    };
    assert_eq!(count(&mut rig, None), 4);
    assert_eq!(count(&mut rig, Some(both.link.id)), 3);
    rig.post(&leaves, What::Gone(Keepsake::new(())));
    assert_eq!(count(&mut rig, None), 3);
    drop(in_process);
    assert_eq!(count(&mut rig, None), 2);
    // With its shard goes whoever it serves, and nobody waits for it.
    let mut asked = std::pin::pin!(topic.receivers(None));
    assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(rig.shard);
    assert_eq!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(0));
}
