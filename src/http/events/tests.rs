//! Streams that are read by hand, with a clock of their own.

use std::task::{Context, Poll, Waker};

use super::*;
use crate::broker::{Broker, History, Overflow, Published, TopicFilter, TopicRule};
use crate::fanout::headcount::Headcount;

const HEARTBEAT: Duration = Duration::from_secs(25);

struct Rig {
    broker: Broker,
    streams: Arc<Streams>,
    guests: Arc<Headcount>,
}

impl Rig {
    fn new(overflow: Overflow) -> Rig {
        let history = History { entries: 4, ..History::default() };
        let pattern = TopicFilter::parse(">").expect("a pattern");
        let broker = Broker::builder().topic_rule(TopicRule { history, overflow, ..TopicRule::new(pattern) }).build();
        Rig { broker, streams: Arc::default(), guests: Arc::default() }
    }

    fn open(&self, topics: &[&str], after: Option<&str>) -> Reader {
        let pass = Pass::anonymous(self.broker.clone());
        let after = after.map(EventId::parse);
        let topics = topics.iter().map(|name| TopicName::parse(name).expect("a name"));
        let followed = topics.map(|name| follow(&pass, name, after.as_ref()).expect("room for a topic")).collect();
        let seat = Seat { _counted: self.guests.enter(u64::MAX).expect("room for a stream"), _meters: None };
        Reader(EventStream::new(followed, HEARTBEAT, 7, Arc::clone(&self.streams), seat))
    }

    fn publish(&self, topic: &str, data: u64) -> Published {
        let publisher = self.broker.publisher(topic).expect("a name");
        publisher.try_publish(data.to_string().as_str().try_into().expect("a number")).expect("room for a message")
    }
}

struct Reader(EventStream);

impl Reader {
    /// What comes now, if anything does; `None` within for the end.
    fn poll(&mut self) -> Poll<Option<String>> {
        let bytes = self.0.poll_bytes(&mut Context::from_waker(Waker::noop()));
        bytes.map(|bytes| bytes.map(|bytes| String::from_utf8(bytes.into()).expect("a stream is UTF-8")))
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        assert_eq!(self.poll(), Poll::Ready(Some(expected.to_owned())));
    }

    #[track_caller]
    fn expect_begun(&mut self) {
        let Poll::Ready(Some(first)) = self.poll() else { panic!("it begins at once") };
        assert!(first.starts_with("retry: 1007\nevent: subscribed\n"), "{first}");
    }

    #[track_caller]
    fn expect_quiet(&mut self) {
        assert_eq!(self.poll(), Poll::Pending);
    }

    #[track_caller]
    fn expect_end(&mut self) {
        assert!(self.0.is_over());
        assert_eq!(self.poll(), Poll::Ready(None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_comes_with_the_last_subscribed_and_with_what_moves_a_position() {
    let rig = Rig::new(Overflow::Gap);
    let a = rig.publish("a", 1).epoch;
    let mut reader = rig.open(&["a", "b"], None);
    let b = rig.broker.registry().get("b").expect("it is followed").epoch();
    reader.expect(&format!(
        "retry: 1007\nevent: subscribed\ndata: {{\"type\":\"subscribed\",\"topic\":\"a\",\"epoch\":\"{a}\",\"offset\":1}}\n\n\
         event: subscribed\nid: {a}:1,{b}:0\ndata: {{\"type\":\"subscribed\",\"topic\":\"b\",\"epoch\":\"{b}\",\"offset\":0}}\n\n"
    ));
    rig.publish("b", 2);
    reader.expect(&format!(
        "event: message\nid: {a}:1,{b}:1\ndata: {{\"type\":\"message\",\"topic\":\"b\",\"offset\":1,\"epoch\":\"{b}\",\"data\":2}}\n\n"
    ));
    rig.publish("a", 3);
    reader.expect(&format!(
        "event: message\nid: {a}:2,{b}:1\ndata: {{\"type\":\"message\",\"topic\":\"a\",\"offset\":2,\"data\":3}}\n\n"
    ));
    reader.expect_quiet();
}

#[tokio::test(start_paused = true)]
async fn topics_take_turns() {
    let rig = Rig::new(Overflow::Gap);
    let mut reader = rig.open(&["a", "b"], None);
    reader.expect_begun();
    for number in 0..3 {
        rig.publish("a", number);
        rig.publish("b", number);
    }
    let mut topics = String::new();
    while let Poll::Ready(Some(event)) = reader.poll() {
        topics += if event.contains("\"topic\":\"a\"") { "a" } else { "b" };
    }
    assert_eq!(topics, "ababab");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_in_time_is_a_gap_and_the_id_moves_over_it() {
    let rig = Rig::new(Overflow::Gap);
    let mut reader = rig.open(&["a"], None);
    reader.expect_begun();
    let epoch = rig.publish("a", 1).epoch;
    for number in 2..=10 {
        rig.publish("a", number);
    }
    reader.expect(&format!(
        "event: gap\nid: {epoch}:6\n\
         data: {{\"type\":\"gap\",\"topic\":\"a\",\"epoch\":\"{epoch}\",\"from\":1,\"to\":6,\"reason\":\"slow\"}}\n\n"
    ));
    for offset in 7..=10 {
        let Poll::Ready(Some(event)) = reader.poll() else { panic!("{offset} is held") };
        assert!(event.contains(&format!("\nid: {epoch}:{offset}\n")), "{event}");
    }
    reader.expect_quiet();
    let totals = rig.streams.totals();
    assert_eq!((totals.delivered, totals.gaps, totals.skipped), (4, 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_bears_no_gap_ends_the_stream_of_who_is_too_slow() {
    let rig = Rig::new(Overflow::Disconnect);
    let mut reader = rig.open(&["a"], None);
    reader.expect_begun();
    for number in 1..=10 {
        rig.publish("a", number);
    }
    reader.expect(
        "retry: 1000\nevent: goodbye\ndata: {\"type\":\"goodbye\",\"code\":4008,\"reason\":\"slow\",\"reconnect_ms\":0}\n\n",
    );
    reader.expect_end();
}

#[tokio::test(start_paused = true)]
async fn a_position_goes_with_its_topic_whatever_the_order() {
    let rig = Rig::new(Overflow::Gap);
    let (a, b) = (rig.publish("a", 1).epoch, rig.publish("b", 1).epoch);
    rig.publish("a", 2);
    rig.publish("b", 2);
    let mut reader = rig.open(&["b", "new", "a"], Some(&format!("{a}:1,{b}:2")));
    let Poll::Ready(Some(first)) = reader.poll() else { panic!("it begins at once") };
    for (topic, outcome) in [
        ("b", "\"offset\":2,\"recovered\":true"),
        ("new", "\"offset\":0,\"recovered\":false,\"reason\":\"epoch\""),
        ("a", "\"offset\":1,\"recovered\":true"),
    ] {
        let line = first.lines().find(|line| line.contains(&format!("\"topic\":\"{topic}\""))).expect("one a topic");
        assert!(line.contains(outcome), "{line}");
    }
    let Poll::Ready(Some(event)) = reader.poll() else { panic!("one was missed") };
    assert!(event.contains("\"topic\":\"a\",\"offset\":2"), "{event}");
    reader.expect_quiet();
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_before_the_heartbeat_is_over() {
    let rig = Rig::new(Overflow::Gap);
    let mut reader = rig.open(&["a"], None);
    reader.expect_begun();
    for _ in 0..3 {
        reader.expect_quiet();
        tokio::time::advance(HEARTBEAT / 2).await;
        reader.expect_quiet();
        tokio::time::advance(HEARTBEAT / 2).await;
        reader.expect(":\n\n");
    }
    tokio::time::advance(HEARTBEAT / 2).await;
    rig.publish("a", 1);
    assert!(reader.poll().is_ready());
    tokio::time::advance(HEARTBEAT / 2).await;
    // What was said counts.
    reader.expect_quiet();
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_what_was_published_and_then_everybody_away_at_another_time() {
    let rig = Rig::new(Overflow::Gap);
    let mut readers = [rig.open(&["a"], None), rig.open(&["a", "b"], None)];
    for reader in &mut readers {
        reader.expect_begun();
    }
    rig.publish("a", 1);
    rig.streams.drain(4_000);
    for (reader, (messages, reconnect_ms)) in readers.iter_mut().zip([(1, 0), (2, 2_000)]) {
        for offset in 1..=messages {
            let Poll::Ready(Some(event)) = reader.poll() else { panic!("it was published before") };
            assert!(event.contains(&format!("\"offset\":{offset},")), "{event}");
            // Others go on publishing, which must not go on for ever here.
            if offset == 1 {
                rig.publish("a", 2);
            }
        }
        reader.expect(&format!(
            "retry: {}\nevent: goodbye\ndata: {{\"type\":\"goodbye\",\"code\":1012,\"reason\":\"restart\",\"reconnect_ms\":{reconnect_ms}}}\n\n",
            reconnect_ms + 1_000
        ));
        reader.expect_end();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_credentials_it_was_opened_with() {
    let rig = Rig::new(Overflow::Gap);
    let mut reader = rig.open(&["a"], None);
    reader.0 = reader.0.until(Some(HEARTBEAT / 2));
    reader.expect_begun();
    reader.expect_quiet();
    tokio::time::advance(HEARTBEAT / 2).await;
    rig.publish("a", 1);
    let Poll::Ready(Some(goodbye)) = reader.poll() else { panic!("they have ended") };
    assert!(goodbye.contains("\"type\":\"goodbye\",\"code\":4401"), "{goodbye}");
    reader.expect_end();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_is_woken_by_a_drain() {
    let rig = Rig::new(Overflow::Gap);
    let mut reader = rig.open(&["a"], None);
    reader.expect_begun();
    let waiting = tokio::spawn(std::future::poll_fn(move |cx| reader.0.poll_bytes(cx)));
    tokio::task::yield_now().await;
    rig.streams.drain(0);
    let goodbye = waiting.await.expect("it only waits").expect("a last event");
    assert!(goodbye.starts_with(b"retry: 1000\nevent: goodbye\n"), "{goodbye:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_while_it_is_there() {
    let rig = Rig::new(Overflow::Gap);
    let streams = [rig.open(&["a"], None), rig.open(&["a", "b"], None)];
    assert_eq!((rig.streams.totals().open, rig.streams.totals().subscriptions, rig.guests.present()), (2, 3, 2));
    drop(streams);
    assert_eq!((rig.streams.totals().open, rig.streams.totals().subscriptions, rig.guests.present()), (0, 0, 0));
    assert_eq!(rig.broker.registry().get("a").expect("it lingers").subscribers(), 0);
}

#[test]
fn a_body_may_go_wherever_a_response_goes() {
    fn is_free<T: Send + Sync + Unpin + 'static>() {}
    is_free::<Body>();
}
