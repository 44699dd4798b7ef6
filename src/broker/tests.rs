//! The broker without a shard: topics, in-process subscriptions, bounds.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::{Broker, Delivery, History, HistoryError, PublishError, Received, SubscribeError, TryPublishError};
use crate::protocol::{Data, Position, RecoveryFailure};

fn number(value: u64) -> Data {
    Data::try_from(value.to_string().as_str()).expect("a number is JSON")
}

/// The value of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn offsets(subscription: &mut super::Subscription) -> Vec<(String, u64)> {
    let deliveries = std::iter::from_fn(|| subscription.try_next());
    deliveries
        .map(|delivery| match delivery {
            Delivery::Message(message) => (message.topic().to_owned(), message.offset()),
            Delivery::Gap(gap) => panic!("{gap:?}"),
        })
        .collect()
}

#[test]
fn a_subscription_begins_where_it_was_made() {
    let broker = Broker::new();
    now(broker.publish_data("a", number(1))).expect("published");
    let mut subscription = broker.subscribe("a").expect("subscribed");
    now(broker.publish_data("a", number(2))).expect("published");
    assert_eq!(offsets(&mut subscription), [("a".to_owned(), 2)]);
}

#[test]
fn a_pattern_subscription_follows_old_and_new_topics_and_not_those_of_the_server() {
    let broker = Broker::new();
    now(broker.publish_data("a.old", number(1))).expect("published");
    let mut subscription = broker.subscribe(">").expect("subscribed");
    for topic in ["a.old", "a.new", "b", "$stats"] {
        now(broker.publish_data(topic, number(2))).expect("published");
    }
    let mut seen = offsets(&mut subscription);
    seen.sort();
    assert_eq!(seen, [("a.new".into(), 1), ("a.old".into(), 2), ("b".into(), 1)]);
}

#[test]
fn a_subscription_that_is_not_read_never_holds_a_publisher_back() {
    let broker = Broker::builder().history(History { entries: 64, ..History::default() }).build();
    let mut subscription = broker.subscribe("a").expect("subscribed");
    for value in 1..=1000 {
        now(broker.publish_data("a", number(value))).expect("published");
    }
    let Some(Delivery::Gap(gap)) = subscription.try_next() else { panic!("a gap comes first") };
    assert_eq!((gap.from, gap.to), (1, 936));
    assert_eq!(offsets(&mut subscription).len(), 64);
}

#[test]
fn a_waiting_reader_is_woken_by_a_publish() {
    let broker = Broker::new();
    let mut subscription = broker.subscribe("a").expect("subscribed");
    let mut next = pin!(subscription.next());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    now(broker.publish_data("a", number(1))).expect("published");
    assert!(next.poll(&mut cx).is_ready());
}

#[test]
fn payloads_decode_as_values_or_say_why_not() {
    let broker = Broker::new();
    let mut typed = broker.subscribe("a").expect("subscribed").typed::<u8>();
    now(broker.publish("a", &7)).expect("published");
    now(broker.publish("a", "seven")).expect("published");
    now(broker.publish("a", &8)).expect("published");
    assert!(matches!(now(typed.next()), Ok(super::TypedDelivery::Message(7, _))));
    assert!(now(typed.next()).is_err());
    assert!(matches!(now(typed.next()), Ok(super::TypedDelivery::Message(8, _))));
}

#[test]
fn a_payload_reads_the_same_in_both_encodings() {
    let broker = Broker::new();
    let mut subscription = broker.subscribe("a").expect("subscribed");
    // {"k": bin(1, 2)}
    let msgpack = Data::msgpack(vec![0x81, 0xA1, b'k', 0xC4, 2, 1, 2]).expect("well formed");
    now(broker.publish_data("a", msgpack)).expect("published");
    let Some(Delivery::Message(message)) = subscription.try_next() else { panic!("it was published") };
    assert_eq!(message.json(), r#"{"k":{"$bin":"AQI="}}"#);
    assert_eq!(&message.msgpack()[..], [0x81, 0xA1, b'k', 0xC4, 2, 1, 2]);
}

#[test]
fn what_cannot_be_published_says_why() {
    let broker = Broker::builder().topics_max(1).message_bytes_max(8).build();
    assert!(matches!(now(broker.publish("a..b", &1)), Err(PublishError::Topic(_))));
    assert!(matches!(now(broker.publish("a", &f64::NAN)), Ok(_) | Err(PublishError::Data(_))));
    assert!(matches!(now(broker.publish("a", "123456789")), Err(PublishError::TooLarge { bytes: 11, limit: 8 })));
    assert!(matches!(now(broker.publish("b", &1)), Err(PublishError::TooManyTopics)));
    assert!(matches!(broker.subscribe("b"), Err(SubscribeError::TooManyTopics)));
    assert!(matches!(broker.subscribe("a.>.b"), Err(SubscribeError::Filter(_))));
    assert!(broker.subscribe("*").is_ok());
}

#[test]
fn idle_topics_go_once_they_have_lingered() {
    let time = Arc::default();
    let history = History { age_ms: 10, ..History::default() };
    let broker = Broker::builder().history(history).linger_ms(100).build_by(&time);
    let publisher = broker.publisher("a").expect("a name");
    let first = now(publisher.publish(&1)).expect("published");
    let registry = broker.registry();
    registry.sweep(50);
    assert_eq!((registry.topics(), registry.retained_bytes()), (1, 0));
    registry.sweep(1_000);
    assert_eq!(registry.topics(), 0);
    // The handle finds its way to the topic that is born anew.
    let second = now(publisher.publish(&2)).expect("published");
    assert_eq!(second.offset, 1);
    assert_ne!(first.epoch, second.epoch);
}

#[test]
fn who_asks_for_a_history_gets_what_is_held_and_nothing_that_has_aged() {
    let time = Arc::new(AtomicU64::new(0));
    let broker = Broker::builder().history(History { age_ms: 10, ..History::default() }).build_by(&time);
    let position = |offset| Position { epoch: now(broker.publish("b", &0)).expect("published").epoch, offset };
    assert!(matches!(broker.history_after("a..b", position(0), 9), Err(HistoryError::Topic(_))));
    assert!(matches!(broker.history_after("none", position(0), 9), Err(HistoryError::Lost(RecoveryFailure::Epoch))));
    for number in 1..=3 {
        now(broker.publish("a", &number)).expect("published");
    }
    let epoch = broker.registry().get("a").expect("a topic").epoch();
    let after = |offset, limit| {
        let found = broker.history_after("a", Position { epoch, offset }, limit);
        found.map(|messages| messages.iter().map(Received::offset).collect::<Vec<_>>())
    };
    assert_eq!(after(1, 9).expect("it is held"), [2, 3]);
    assert_eq!(after(0, 2).expect("it is held"), [1, 2]);
    assert_eq!(after(3, 9).expect("it is the newest"), [0_u64; 0]);
    assert!(matches!(after(4, 9), Err(HistoryError::Lost(RecoveryFailure::Future))));
    assert!(matches!(after(u64::MAX, 9), Err(HistoryError::Lost(RecoveryFailure::Future))));
    // Nobody publishes and no server runs: time goes by all the same.
    time.store(5_000, Ordering::Relaxed);
    assert_eq!(broker.history("a", 9).expect("a name").len(), 0);
    assert!(matches!(after(1, 9), Err(HistoryError::Lost(RecoveryFailure::Expired))));
    assert_eq!(after(3, 9).expect("it is the newest"), [0_u64; 0]);
}

#[test]
fn what_was_read_of_a_topic_that_goes_is_not_announced_as_missed() {
    let time = Arc::new(AtomicU64::new(0));
    let history = History { age_ms: 10, ..History::default() };
    let broker = Broker::builder().history(history).linger_ms(0).build_by(&time);
    let mut subscription = broker.subscribe(">").expect("subscribed");
    now(broker.publish("a", &1)).expect("published");
    // The one message, and not yet that there are no more.
    assert!(matches!(subscription.try_next(), Some(Delivery::Message(_))));
    broker.registry().sweep(2_000);
    assert_eq!(broker.registry().topics(), 0);
    assert_eq!(offsets(&mut subscription), []);
    now(broker.publish("a", &2)).expect("published");
    assert_eq!(offsets(&mut subscription), [("a".to_owned(), 1)]);
}

#[test]
fn a_followed_topic_stays() {
    let broker = Broker::builder().history(History { entries: 0, ..History::default() }).linger_ms(0).build();
    let subscription = broker.subscribe("a").expect("subscribed");
    broker.registry().sweep(1_000);
    assert_eq!(broker.registry().topics(), 1);
    drop(subscription);
    broker.registry().sweep(2_000);
    assert_eq!(broker.registry().topics(), 0);
}

#[test]
fn all_histories_together_stay_within_their_bound_and_the_latest_stay_longest() {
    let broker = Broker::builder().retained_bytes_max(20_000).build();
    for topic in 0..1_000 {
        now(broker.publish_data(&format!("t.{topic}"), number(1))).expect("published");
        assert!(broker.registry().retained_bytes() <= 20_000 + 512);
    }
    let listed = broker.registry().list("t.", None, 1_000);
    let kept = listed.iter().filter(|listed| listed.topic.ring().retained_entries() > 0).count();
    assert!((20..=80).contains(&kept), "{kept} topics kept their message");
}

#[test]
fn a_listing_is_sorted_goes_on_after_a_name_and_counts_subscribers() {
    let broker = Broker::new();
    for topic in ["b", "a.1", "a.2", "a.3", "c"] {
        now(broker.publish_data(topic, number(1))).expect("published");
    }
    let _exact = broker.subscribe("a.2").expect("subscribed");
    let _pattern = broker.subscribe("a.*").expect("subscribed");
    let names = |prefix, after, limit| {
        let listed = broker.registry().list(prefix, after, limit);
        listed.iter().map(|listed| (listed.topic.name().to_string(), listed.subscribers)).collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 2), [("a.1".into(), 1), ("a.2".into(), 2)]);
    assert_eq!(names("", Some("a.2"), 2), [("a.3".into(), 1), ("b".into(), 0)]);
    assert_eq!(names("a.", Some("a.2"), 9), [("a.3".into(), 1)]);
    assert_eq!(names("x", None, 9), []);
}

#[test]
fn a_full_window_hands_the_payload_back() {
    use super::{Behind, Inbox, Subscriber};
    use std::sync::Arc;

    let broker = Broker::builder().history(History { entries: 0, ..History::default() }).build();
    let publisher = broker.publisher("a").expect("a name");
    let topic = broker.registry().get("a").expect("it was born");
    let inbox = Arc::new(Inbox::new(Behind::HoldsPublishers));
    let follower = topic.follow(&inbox, Subscriber::OfName).expect("it is open");
    let placed = (0..).take_while(|&value| publisher.try_publish(number(value)).is_ok()).count();
    assert_eq!(placed, 64);
    let Err(TryPublishError::Full(data)) = publisher.try_publish(number(99)) else { panic!("it is full") };
    assert_eq!(data, number(99));

    let mut waiting = pin!(publisher.publish_data(number(99)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    topic.pass(&follower, crate::ring::Seq(1));
    assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Ok(published)) if published.offset == 65));
}

#[test]
fn what_a_new_follower_has_not_seen_is_not_evicted_by_whoever_looked_before() {
    use super::{Behind, Inbox, Subscriber};
    use std::sync::Arc;

    let broker = Broker::builder().history(History { entries: 0, ..History::default() }).build();
    let publisher = broker.publisher("a").expect("a name");
    now(publisher.publish_data(number(1))).expect("published");
    let topic = broker.registry().get("a").expect("it was born");
    let before = topic.passed();
    let inbox = Arc::new(Inbox::new(Behind::HoldsPublishers));
    let follower = topic.follow(&inbox, Subscriber::OfName).expect("it is open");
    now(publisher.publish_data(number(2))).expect("published");
    assert!(before <= follower.passed());
    topic.ring().shrink(0, before);
    assert_eq!(topic.ring().oldest(), crate::ring::Seq(2));
}
