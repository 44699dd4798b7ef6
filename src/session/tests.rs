//! Commands against the machine: no socket, no shard.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::machine::{Ask, Machine, SessionOptions, Step};
use crate::broker::{Broker, ConnectionId};
use crate::fanout::{Start, What};
use crate::gate::Pass;
use crate::limits::{LimitOptions, Limits, Meters, Moment, Rate};
use crate::protocol::{Encoding, Epoch, Since, decode_json};

const BEGIN: Moment = Moment(1_000_000_000);

struct Session {
    broker: Broker,
    machine: Machine,
    options: SessionOptions,
    now: Moment,
}

impl Session {
    fn new() -> Self {
        Session::metered(None)
    }

    /// A session of somebody who is not exempt.
    fn limited(change: impl FnOnce(&mut LimitOptions)) -> Self {
        let mut options = LimitOptions::default();
        change(&mut options);
        let limits = Limits::new(options);
        let nobody = limits.client(None, &HeaderMap::new());
        Session::metered(limits.connect(&nobody, BEGIN).expect("room"))
    }

    fn metered(meters: Option<Box<Meters>>) -> Self {
        let broker = Broker::builder().message_bytes_max(256).build();
        let options = SessionOptions { batch_items_max: 4, ..SessionOptions::default() };
        let pass = Pass::anonymous(broker.clone());
        let machine = Machine::new(pass, meters, ConnectionId(7), Encoding::Json.into(), &options);
        Session { broker, machine, options, now: BEGIN }
    }

    /// The steps that a frame asks for, and what is answered at once.
    fn steps(&mut self, frame: &str) -> (Vec<Step>, Vec<Value>) {
        let mut out = Vec::new();
        self.machine.hear(frame.len(), self.now);
        let limits = self.options.decode_limits();
        let source = Bytes::copy_from_slice(frame.as_bytes());
        let text = std::str::from_utf8(&source).expect("it was text");
        let decided = decode_json(text, &limits)
            .map(|request| self.machine.decide(request, self.now, Encoding::Json, || source.clone(), &mut out));
        let steps = decided.collect();
        (steps, events(&out))
    }

    /// The only answer, where nothing else is to be done.
    fn answer(&mut self, command: &Value) -> Value {
        let (steps, mut events) = self.steps(&command.to_string());
        assert!(matches!(steps[..], [Step::Answered]), "{steps:?}");
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    fn asks(&mut self, command: &Value) -> Vec<Ask> {
        let (steps, events) = self.steps(&command.to_string());
        assert_eq!(events, [Value::Null; 0]);
        match <[Step; 1]>::try_from(steps) {
            Ok([Step::Ask(asks)]) => asks,
            other => panic!("{other:?}"),
        }
    }
}

/// The payloads of finished text frames shorter than 64 KiB.
fn events(mut frames: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    while let [0x81, length, rest @ ..] = frames {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            short => (usize::from(*short), rest),
        };
        events.push(serde_json::from_slice(&rest[..length]).expect("an event is JSON"));
        frames = &rest[length..];
    }
    assert!(frames.is_empty());
    events
}

#[test]
fn a_publish_is_answered_when_it_has_an_id() {
    let mut session = Session::new();
    let published = session.answer(&json!({"type": "publish", "id": "x", "topic": "a", "data": null}));
    assert_eq!(
        (&published["type"], &published["id"], &published["offset"]),
        (&json!("published"), &json!("x"), &json!(1))
    );
    let (steps, events) = session.steps(&json!({"type": "publish", "topic": "a", "data": 1}).to_string());
    assert!(matches!(steps[..], [Step::Answered]) && events.is_empty());
    let (_, events) = session.steps(&json!({"type": "publish", "topic": "a", "data": 1, "echo": false}).to_string());
    assert_eq!(events[0]["code"], "bad_request");
}

#[test]
fn data_is_kept_byte_for_byte() {
    let mut session = Session::new();
    let mut subscription = session.broker.subscribe("a").expect("a name");
    session.steps(r#"{"type":"publish","topic":"a","data":{ "x" : 1.50 } }"#);
    let Some(crate::broker::Delivery::Message(message)) = subscription.try_next() else { panic!("it was published") };
    assert_eq!(message.json(), r#"{ "x" : 1.50 }"#);
}

#[test]
fn what_may_not_be_published_is_refused_with_its_code() {
    let mut session = Session::new();
    let large = "x".repeat(300);
    for (topic, data, code) in [
        ("$stats", json!(1), "forbidden"),
        ("a..b", json!(1), "bad_topic"),
        ("a.*", json!(1), "bad_topic"),
        ("a", json!(large), "too_large"),
    ] {
        let error = session.answer(&json!({"type": "publish", "id": 1, "topic": topic, "data": data}));
        assert_eq!((&error["code"], &error["topic"], &error["id"]), (&json!(code), &json!(topic), &json!(1)));
    }
}

#[test]
fn each_item_of_a_list_is_asked_or_refused_on_its_own_and_in_order() {
    let mut session = Session::new();
    let asks = session.asks(&json!({"type": "subscribe", "id": 2, "topics": ["a", "b..c", "d.*", {"topic": "e"}]}));
    match &asks[..] {
        [
            Ask::Shard(What::Join(a, ..)),
            Ask::Refused(reply),
            Ask::Shard(What::Join(d, ..)),
            Ask::Shard(What::Join(e, ..)),
        ] => {
            assert_eq!((a.as_str(), d.as_str(), e.as_str()), ("a", "d.*", "e"));
            assert_eq!(events(reply)[0]["topic"], "b..c");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_begins_where_it_is_asked_to() {
    let mut session = Session::new();
    let items = json!(["a", {"topic": "b", "last": 3}, {"topic": "c", "since": {"epoch": "1f", "offset": 41}}]);
    let asks = session.asks(&json!({"type": "subscribe", "id": 1, "topics": items}));
    let starts: Vec<Start> = asks
        .iter()
        .map(|ask| match ask {
            Ask::Shard(What::Join(_, terms, _)) => terms.start,
            other => panic!("{other:?}"),
        })
        .collect();
    let since = Since { epoch: Epoch::parse("1f"), offset: 41 };
    assert_eq!(starts, [Start::Live, Start::Last(3), Start::Since(since)]);
}

#[test]
fn a_publish_that_is_repeated_comes_to_what_the_first_one_came_to() {
    let mut session = Session::new();
    let publish =
        |id, topic, key| json!({"type": "publish", "id": id, "topic": topic, "data": id, "idempotency_key": key});
    let first = session.answer(&publish(1, "a", "k"));
    let again = session.answer(&publish(2, "a", "k"));
    assert_eq!((&again["offset"], &again["epoch"], &again["id"]), (&first["offset"], &first["epoch"], &json!(2)));
    assert_eq!(session.answer(&publish(3, "a", "other"))["offset"], 2);
    assert_eq!(session.answer(&publish(4, "b", "k"))["offset"], 1);
    assert_eq!(session.broker.history("a", 10).expect("a name").len(), 2);
}

#[test]
fn history_is_answered_at_once() {
    let mut session = Session::new();
    for number in 1..=3 {
        session.steps(&json!({"type": "publish", "topic": "a", "data": number}).to_string());
    }
    let history = session.answer(&json!({"type": "history", "id": 5, "topic": "a", "limit": 2}));
    assert_eq!((&history["type"], &history["id"], &history["offset"]), (&json!("history"), &json!(5), &json!(3)));
    assert_eq!(history["messages"], json!([{"offset": 2, "data": 2}, {"offset": 3, "data": 3}]));
    assert_eq!(history["more"], true);
    let since = json!({"epoch": history["epoch"], "offset": 2});
    let history = session.answer(&json!({"type": "history", "id": 6, "topic": "a", "since": since}));
    assert_eq!((&history["messages"], &history["recovered"]), (&json!([{"offset": 3, "data": 3}]), &json!(true)));
    assert_eq!(history.get("more"), None);
    let long = session.answer(&json!({"type": "history", "id": 7, "topic": "a", "limit": 1001}));
    assert_eq!((&long["code"], &long["topic"]), (&json!("bad_request"), &json!("a")));
}

#[test]
fn malformed_commands_are_counted_until_a_good_one_comes() {
    let mut session = Session::new();
    for _ in 0..3 {
        for _ in 0..16 {
            let (steps, events) = session.steps("nonsense");
            assert!(matches!(steps[..], [Step::Answered]));
            assert_eq!(events[0]["code"], "bad_request");
        }
        session.answer(&json!({"type": "ping"}));
    }
    for round in 1..=17 {
        let (steps, events) = session.steps("[]");
        assert_eq!(events[0]["code"], "bad_request", "round {round}");
        assert_eq!(matches!(steps[..], [Step::GiveUp]), round == 17, "round {round}");
    }
}

#[test]
fn errors_in_a_batch_say_which_command_it_was() {
    let mut session = Session::new();
    let batch =
        json!([{"type": "ping", "id": 1}, {"type": "publish", "topic": "..", "data": 1}, {"type": "what", "id": 3}]);
    let (_, events) = session.steps(&batch.to_string());
    assert_eq!(events[0], json!({"type": "pong", "id": 1}));
    assert_eq!((&events[1]["index"], &events[1]["code"]), (&json!(1), &json!("bad_topic")));
    assert_eq!(
        (&events[2]["id"], events[2].get("index"), &events[2]["code"]),
        (&json!(3), None, &json!("unknown_type"))
    );
    let long = json!([{"type": "ping"}, {"type": "ping"}, {"type": "ping"}, {"type": "ping"}, {"type": "ping"}]);
    let (_, events) = session.steps(&long.to_string());
    assert_eq!(events[0]["code"], "too_large");
}

#[test]
fn a_list_of_too_many_topics_is_refused_whole() {
    let mut session = Session::new();
    let command = json!({"type": "subscribe", "id": 1, "topics": ["a", "b", "c", "d", "e"]});
    assert_eq!(session.answer(&command)["code"], "too_large");
}

#[test]
fn a_retained_message_keeps_its_data_and_not_its_frame() {
    let mut session = Session::new();
    let mut subscription = session.broker.subscribe("a").expect("a name");
    session.steps(&json!({"type": "publish", "topic": "a", "data": 1, "unknown": "x".repeat(50_000)}).to_string());
    let Some(crate::broker::Delivery::Message(message)) = subscription.try_next() else { panic!("it was published") };
    let bytes = message.data().bytes().clone();
    drop((message, subscription, session));
    assert_eq!(bytes.try_into_mut().expect("it is the only one").capacity(), 1);
}

/// `rate_limited` with these words, to come back after so long.
#[track_caller]
fn expect_limited(error: &Value, message: &str, retry_after_ms: u64) {
    let expected = (&json!("rate_limited"), &json!(message), &json!(retry_after_ms));
    assert_eq!((&error["code"], &error["message"], &error["retry_after_ms"]), expected, "{error}");
}

#[test]
fn commands_beyond_the_rate_are_refused_one_by_one() {
    let mut session = Session::limited(|options| options.per_connection.commands = Some(Rate::new(10, 3)));
    let batch = json!([{"type": "ping"}, {"type": "ping"}, {"type": "ping"}, {"type": "ping", "id": 4}]);
    let (steps, events) = session.steps(&batch.to_string());
    assert!(steps.iter().all(|step| matches!(step, Step::Answered)), "{steps:?}");
    assert_eq!(events[2]["type"], "pong");
    assert_eq!(events[3]["id"], 4);
    expect_limited(&events[3], "command rate exceeded", 100);
    session.now.0 += 100_000_000;
    assert_eq!(session.answer(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn a_list_of_topics_weighs_as_many_commands() {
    let mut session = Session::limited(|options| options.per_connection.commands = Some(Rate::new(10, 5)));
    session.asks(&json!({"type": "subscribe", "id": 1, "topics": ["a", "b", "c"]}));
    let error = session.answer(&json!({"type": "unsubscribe", "id": 2, "topics": ["a", "b", "c"]}));
    expect_limited(&error, "command rate exceeded", 100);
    session.asks(&json!({"type": "unsubscribe", "id": 2, "topics": ["a", "b"]}));
}

#[test]
fn a_token_weighs_as_much_as_many_commands() {
    let mut session = Session::limited(|limits| limits.per_connection.commands = Some(Rate::new(10, 15)));
    let auth = json!({"type": "auth", "id": 1, "token": "t"});
    assert!(matches!(session.steps(&auth.to_string()).0[..], [Step::Auth(_)]));
    expect_limited(&session.answer(&auth), "command rate exceeded", 500);
    assert_eq!(session.answer(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn publishes_beyond_the_rate_are_refused_and_make_no_topic() {
    let mut session = Session::limited(|options| options.per_connection.publishes = Some(Rate::new(10, 1)));
    let publish = |topic: &str| json!({"type": "publish", "id": 1, "topic": topic, "data": 1});
    assert_eq!(session.answer(&publish("a"))["type"], "published");
    let error = session.answer(&publish("b"));
    expect_limited(&error, "publish rate exceeded", 100);
    assert_eq!(error["topic"], "b");
    assert!(session.broker.registry().get("b").is_none());
    assert_eq!(session.answer(&json!({"type": "ping"}))["type"], "pong");
}

#[test]
fn a_message_beyond_the_byte_rate_is_refused_with_all_its_commands() {
    let mut session = Session::limited(|options| options.per_connection.bytes = Some(Rate::new(100, 100)));
    let batch = json!([{"type": "ping", "id": 1}, {"type": "publish", "id": 2, "topic": "a", "data": "x".repeat(20)}]);
    let length = batch.to_string().len();
    assert!((50..=100).contains(&length));
    let (_, events) = session.steps(&batch.to_string());
    assert_eq!((&events[0]["type"], &events[1]["type"]), (&json!("pong"), &json!("published")));
    let (_, events) = session.steps(&batch.to_string());
    for event in &events {
        expect_limited(event, "byte rate exceeded", (2 * length as u64 - 100) * 10);
    }
    assert_eq!(events[1]["topic"], "a");
}

#[test]
fn a_topic_takes_so_many_publishes() {
    let mut session = Session::limited(|options| options.publishes_per_topic = Some(Rate::new(10, 1)));
    let publish = |topic: &str| json!({"type": "publish", "id": 1, "topic": topic, "data": 1});
    assert_eq!(session.answer(&publish("a"))["type"], "published");
    expect_limited(&session.answer(&publish("a")), "publish rate of that topic exceeded", 100);
    assert_eq!(session.answer(&publish("b"))["type"], "published");
}

#[test]
fn whoever_does_not_slow_down_is_given_up() {
    let mut session = Session::limited(|options| {
        options.per_connection.commands = Some(Rate::new(1, 1));
        options.refusals_per_connection = Some(Rate::new(1, 3));
    });
    session.answer(&json!({"type": "ping"}));
    for _ in 0..3 {
        // However many of a batch are refused, they are one.
        let batch = json!([{"type": "ping"}, {"type": "ping"}, {"type": "publish"}]);
        let (steps, _) = session.steps(&batch.to_string());
        assert!(steps.iter().all(|step| matches!(step, Step::Answered)), "{steps:?}");
    }
    let (steps, events) = session.steps("malformed");
    assert!(matches!(steps[..], [Step::TooFast]), "{steps:?} {events:?}");
}

#[test]
fn malformed_commands_weigh_as_much_as_others() {
    let mut session = Session::limited(|options| options.per_connection.commands = Some(Rate::new(1, 2)));
    let (_, events) = session.steps("malformed");
    assert_eq!(events[0]["code"], "bad_request");
    session.answer(&json!({"type": "ping"}));
    expect_limited(&session.answer(&json!({"type": "ping"})), "command rate exceeded", 1_000);
}
