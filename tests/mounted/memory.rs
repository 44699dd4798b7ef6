//! Streams that are no TCP sockets: pipes in memory, served through hyper.

use std::time::Duration;

use fanfare::{Broker, History, Service};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::PATIENCE;
use crate::client::{Client, dial, until};

/// As many messages as no buffer on the way holds, a kilobyte each.
const BURST: u64 = 2_000;

fn kilobyte() -> String {
    "x".repeat(1_000)
}

/// A service whose topics keep so many messages, whatever they weigh, and whose clients may send as fast as
/// they can.
fn service(entries: usize) -> (Broker, Service) {
    let history = History { entries, bytes: usize::MAX, ..History::default() };
    let broker = Broker::builder().history(history).build();
    let builder = Service::builder(broker.clone()).shards(1).commands_per_connection(None);
    let builder = builder.publishes_per_connection(None).publishes_per_topic(None).bytes_per_connection(None);
    (broker, builder.build())
}

#[tokio::test(start_paused = true)]
async fn a_conversation_takes_place() {
    let (broker, service) = service(64);
    let (mut ana, mut bob) = (Client::connect(&service).await, Client::connect(&service).await);
    ana.subscribe("a.*").await;
    bob.send(json!({"type": "publish", "id": 1, "topic": "a.b", "data": {"x": 1}})).await;
    assert_eq!(bob.expect("published").await["offset"], 1);
    let message = ana.expect("message").await;
    assert_eq!((&message["topic"], &message["data"]), (&json!("a.b"), &json!({"x": 1})));
    broker.publish("a.b", &2).await.expect("published");
    assert_eq!(ana.expect("message").await["data"], 2);
    ana.send_message(Message::Ping(b"there?".to_vec().into())).await;
    assert_eq!(ana.message().await, Some(Message::Pong(b"there?".to_vec().into())));
    // A stream that takes a few bytes at a time.
    let mut slow = Client::over(dial(&service, 16), "ws://localhost/ws").await;
    slow.send(json!({"type": "ping", "id": 7})).await;
    assert_eq!(slow.expect("pong").await["id"], 7);
    assert_eq!(service.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_larger_than_every_buffer_arrives_whole_in_both_directions() {
    let (broker, service) = service(BURST as usize);
    let mut subscriber = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    subscriber.subscribe("a").await;
    let mut publisher = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    let sending = async {
        for _ in 0..BURST {
            publisher.send(json!({"type": "publish", "topic": "a", "data": kilobyte()})).await;
        }
        publisher.send(json!({"type": "ping"})).await;
        publisher.expect("pong").await;
    };
    tokio::join!(sending, subscriber.expect_all(0, BURST));
    let publishing = async {
        for _ in 0..BURST {
            broker.publish("a", &kilobyte()).await.expect("published");
        }
    };
    tokio::join!(publishing, subscriber.expect_all(BURST, 2 * BURST));
}

#[tokio::test(start_paused = true)]
async fn who_reads_late_misses_nothing_that_is_retained() {
    let (broker, service) = service(BURST as usize);
    let mut late = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    late.subscribe("a").await;
    for _ in 0..BURST {
        broker.publish("a", &kilobyte()).await.expect("published");
    }
    late.expect_all(0, BURST).await;
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_late_is_told_what_was_left_out_and_delays_nobody() {
    let (broker, service) = service(64);
    let mut slow = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    let mut fast = Client::connect(&service).await;
    slow.subscribe("a").await;
    fast.subscribe("a").await;
    for offset in 1..=BURST {
        broker.publish("a", &kilobyte()).await.expect("published");
        assert_eq!(fast.expect("message").await["offset"], offset);
    }
    let (mut at, mut gaps) = (0, 0);
    while at < BURST {
        let event = slow.recv().await;
        let (from, to) = match event["type"].as_str() {
            Some("message") => (&event["offset"], &event["offset"]),
            Some("gap") => {
                assert_eq!(event["reason"], "slow");
                gaps += 1;
                (&event["from"], &event["to"])
            }
            _ => panic!("{event}"),
        };
        assert_eq!(*from, at + 1);
        at = to.as_u64().expect("an offset");
    }
    // 64 KiB and 64 messages are all that is kept for it.
    assert!(gaps >= 1);
    broker.publish("a", "live").await.expect("published");
    slow.expect_all(BURST, BURST + 1).await;
}

#[tokio::test(start_paused = true)]
async fn who_closes_gets_its_code_back_and_is_forgotten() {
    let (_, service) = service(64);
    let mut client = Client::connect(&service).await;
    client.subscribe("a").await;
    let frame = CloseFrame { code: CloseCode::from(4321), reason: "enough".into() };
    client.send_message(Message::Close(Some(frame))).await;
    client.expect_close(4321).await;
    until("it stays", || service.connections() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_closed_gets_everything_that_came_before() {
    let (broker, service) = service(BURST as usize);
    let mut client = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    client.subscribe("a").await;
    for _ in 0..20 {
        broker.publish("a", &kilobyte()).await.expect("published");
    }
    for _ in 0..17 {
        client.send(json!("no command")).await;
    }
    let (mut offset, mut errors) = (0, 0);
    let goodbye = loop {
        let event = client.recv().await;
        match event["type"].as_str() {
            Some("message") => offset += 1,
            Some("error") => errors += 1,
            _ => break event,
        }
    };
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&json!("goodbye"), &json!(4400)));
    assert_eq!((offset, errors), (20, 17));
    client.expect_close(4400).await;
    until("it stays", || service.connections() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_vanishes_is_forgotten() {
    let (broker, service) = service(64);
    let mut stays = Client::connect(&service).await;
    stays.subscribe("a").await;
    {
        let mut vanishes = Client::over(dial(&service, 512), "ws://localhost/ws").await;
        vanishes.subscribe("a").await;
        // With bytes on their way to it.
        for _ in 0..100 {
            broker.publish("a", &kilobyte()).await.expect("published");
        }
    }
    stays.expect_all(0, 100).await;
    until("it stays", || service.connections() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_let_go_of_in_the_end() {
    let (broker, service) = service(64);
    let mut deaf = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    deaf.subscribe("a").await;
    for _ in 0..BURST {
        broker.publish("a", &kilobyte()).await.expect("published");
    }
    // No ping gets through to it either, so it cannot answer one: 25 and 20 seconds of a clock that only
    // goes on when everybody waits.
    let start = Instant::now();
    let gone = timeout(Duration::from_secs(90), async {
        while service.connections() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(gone.await.is_ok(), "it is still held");
    assert!(start.elapsed() > PATIENCE, "{:?}", start.elapsed());
}
