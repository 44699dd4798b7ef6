//! The configuration at work in a broker and a service of this process: no port, and a clock that stands
//! still until nothing else is left to do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Request;
use http::header::{HOST, RETRY_AFTER};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::broker::{Behind, Broker, Follower, Inbox, Subscriber, Topic};
use crate::config::{Config, TopicRule};
use crate::http::Service;
use crate::protocol::{Data, Filter, TopicName};
use crate::ring::Seq;

/// How far publishers may run ahead of a shard, in a topic that retains no more than that.
const WINDOW: u64 = 64;

fn number(value: u64) -> Data {
    Data::try_from(value.to_string().as_str()).expect("a number is JSON")
}

/// How many messages, of how many published, the ring of a topic retains.
fn retained(broker: &Broker, topic: &str, published: u64) -> usize {
    let publisher = broker.publisher(topic).expect("a name");
    for value in 0..published {
        publisher.try_publish(number(value)).expect("nobody holds it back");
    }
    broker.registry().get(topic).expect("it was born").ring().retained_entries()
}

fn rule(pattern: &str) -> TopicRule {
    let pattern = Filter::parse(pattern).expect("a name or pattern");
    TopicRule {
        pattern,
        history_entries: None,
        history_bytes: None,
        history_age_ms: None,
        overflow: None,
        at: false,
        from: false,
    }
}

#[test]
fn the_first_rule_that_matches_shapes_the_ring_and_history_fills_in_what_it_lacks() {
    let mut config = Config::default();
    config.history.entries = 6;
    config.topics = vec![
        TopicRule { history_entries: Some(3), ..rule("a.b") },
        // A message of one digit weighs 258 bytes and its topic's name.
        TopicRule { history_bytes: Some(1_400), ..rule("a.*") },
        TopicRule { history_entries: Some(99), ..rule("a.>") },
        TopicRule { history_age_ms: Some(50), ..rule("aging") },
    ];
    let broker = super::broker(&config);
    for (topic, entries) in [("a.b", 3), ("a.c", 5), ("a.b.c", 9), ("b", 6), ("aging", 6)] {
        assert_eq!(retained(&broker, topic, 9), entries, "{topic}");
    }
    let after = |ms: u64| {
        broker.registry().sweep(broker.now_ms() + ms);
        let left = |topic: &str| broker.registry().get(topic).map_or(0, |topic| topic.ring().retained_entries());
        (left("aging"), left("b"))
    };
    assert_eq!(after(1_000), (0, 6));
    assert_eq!(after(config.history.age_ms + 1_000), (0, 0));
}

/// A service, and a shard's place in the topic `full` that it does not leave: there is no room.
struct Held {
    service: Service,
    topic: Arc<Topic>,
    follower: Arc<Follower>,
}

impl Held {
    fn new(publish_wait_ms: u64) -> Held {
        let mut config = Config::default();
        config.limits.publish_wait_ms = publish_wait_ms;
        config.history.entries = 0;
        let broker = super::broker(&config);
        let service = super::service(&config, broker.clone(), 1).expect("no key is configured");
        let name = TopicName::parse("full").expect("a name");
        let topic = broker.registry().topic(&name, 0).expect("room for a topic");
        let inbox = Arc::new(Inbox::new(Behind::HoldsPublishers));
        let follower = topic.follow(&inbox, Subscriber::OfName).expect("it is open");
        let publisher = broker.publisher("full").expect("a name");
        let placed = (0..).take_while(|&value| publisher.try_publish(number(value)).is_ok()).count();
        assert_eq!(placed as u64, WINDOW);
        Held { service, topic, follower }
    }

    /// The shard is done with one message more.
    fn make_room(&self) {
        self.topic.pass(&self.follower, Seq(self.topic.passed().0 + 1));
    }

    async fn connect(&self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connection = http1::Builder::new().serve_connection(TokioIo::new(far), self.service.clone());
        tokio::spawn(connection.with_upgrades());
        let (socket, _) = client_async("ws://localhost/ws", near).await.expect("the handshake succeeds");
        let mut client = Client(socket);
        assert_eq!(client.recv().await["type"], "welcome");
        client
    }

    async fn metric(&self, name: &str) -> Option<u64> {
        let request = Request::get("/metrics").header(HOST, "localhost").body(String::new());
        let response = self.service.handle(request.expect("a request")).await;
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        let text = String::from_utf8_lossy(&body);
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// `POST /v1/publish`: the status, `Retry-After` and the body.
    async fn post(&self, body: Value) -> (u16, Option<String>, Value) {
        let request = Request::post("/v1/publish").header(HOST, "localhost").body(body.to_string());
        let response = self.service.handle(request.expect("a request")).await;
        let retry_after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().expect("ASCII").to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, retry_after, serde_json::from_slice(&body).expect("JSON"))
    }
}

struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn send(&mut self, command: Value) {
        self.0.send(Message::text(command.to_string())).await.expect("the service takes a message");
    }

    async fn recv(&mut self) -> Value {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("an event was expected, not {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_finds_no_room_in_time_is_told_to_come_back() {
    for wait_ms in [250, 0] {
        let held = Held::new(wait_ms);
        let mut client = held.connect().await;
        let start = Instant::now();
        client
            .send(json!([
                {"type": "publish", "id": 1, "topic": "full", "data": "late"},
                {"type": "publish", "topic": "full", "data": "later"},
                {"type": "ping", "id": 3},
            ]))
            .await;
        for asked in [json!({"id": 1}), json!({"index": 1})] {
            let error = client.recv().await;
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("overloaded")), "{error}");
            assert_eq!((&error["topic"], &error["retry_after_ms"]), (&json!("full"), &json!(1_000)), "{error}");
            assert_eq!((&error["id"], &error["index"]), (&asked["id"], &asked["index"]), "{error}");
        }
        // Each waited for as long as it may. What came after them waited with them, and goes on.
        assert!(start.elapsed() >= Duration::from_millis(2 * wait_ms), "{:?}", start.elapsed());
        assert!(start.elapsed() <= Duration::from_millis(2 * wait_ms + 100), "{:?}", start.elapsed());
        assert_eq!(client.recv().await, json!({"type": "pong", "id": 3}));
        assert_eq!(held.metric("fanfare_limited_waits_total").await, Some(2));
        // Nothing of it was published, now or later.
        held.make_room();
        client.send(json!({"type": "publish", "id": 4, "topic": "full", "data": "in time"})).await;
        let published = client.recv().await;
        assert_eq!(
            (&published["type"], &published["offset"]),
            (&json!("published"), &json!(WINDOW + 1)),
            "{published}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_finds_room_in_time_is_done() {
    let held = Held::new(5_000);
    let mut client = held.connect().await;
    client.send(json!({"type": "publish", "id": 1, "topic": "full", "data": "patient"})).await;
    // The clock goes on only when everybody waits.
    tokio::time::sleep(Duration::from_millis(4_000)).await;
    held.make_room();
    let published = client.recv().await;
    assert_eq!((&published["type"], &published["offset"]), (&json!("published"), &json!(WINDOW + 1)), "{published}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_room_is_answered_at_once() {
    let held = Held::new(5_000);
    let start = Instant::now();
    let (status, retry_after, body) = held.post(json!({"topic": "full", "data": 1})).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "{body}");
    assert_eq!((&body["error"]["code"], &body["error"]["retry_after_ms"]), (&json!("overloaded"), &json!(1_000)));
    // Of several each has a result of its own.
    let messages = json!({"messages": [{"topic": "full", "data": 1}, {"topic": "free", "data": 1}]});
    let (status, retry_after, body) = held.post(messages).await;
    assert_eq!((status, retry_after), (200, None), "{body}");
    let [full, free] = &body["results"].as_array().expect("results")[..] else { panic!("{body}") };
    assert_eq!((&full["error"]["code"], &full["error"]["retry_after_ms"]), (&json!("overloaded"), &json!(1_000)));
    assert_eq!(free["offset"], 1);
    assert_eq!(start.elapsed(), Duration::ZERO);

    held.make_room();
    let (status, _, body) = held.post(json!({"topic": "full", "data": 1})).await;
    assert_eq!((status, &body["offset"]), (200, &json!(WINDOW + 1)), "{body}");
}
