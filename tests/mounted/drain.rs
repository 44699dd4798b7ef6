//! `Service::drain` and `Service::drained`, called by the program that the service is part of.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fanfare::{Broker, Service};
use futures_util::poll;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;

use crate::PATIENCE;
use crate::client::{Client, dial, until};
use crate::runtimes::Core;

async fn ask(service: &Service, path: &str) -> StatusCode {
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).expect("a request");
    service.handle(request).await.status()
}

/// Waits until everybody has left.
async fn gone(service: &Service) {
    timeout(PATIENCE, service.drained()).await.expect("they leave");
    assert_eq!(service.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn everybody_is_asked_to_return_and_nobody_is_let_in() {
    const CLIENTS: u64 = 20;
    const SPREAD_MS: u64 = 4_000;
    let broker = Broker::new();
    let service = Service::builder(broker.clone()).shards(2).build();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(&service).await;
        client.subscribe("a").await;
        clients.push(client);
    }
    assert_eq!(ask(&service, "/readyz").await, StatusCode::OK);
    broker.publish("a", "the last one").await.expect("published");

    // Any handle to the service will do.
    service.clone().drain(Duration::from_millis(SPREAD_MS));
    assert_eq!(ask(&service, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&service, "/healthz").await, StatusCode::OK);
    match client_async("ws://localhost/ws", dial(&service, 64 * 1024)).await {
        Err(Error::Http(response)) => expect_refusal(&response),
        other => panic!("a refusal was expected, not {other:?}"),
    }

    let mut returns = Vec::new();
    for client in &mut clients {
        assert_eq!(client.expect("message").await["data"], "the last one");
        let goodbye = client.expect("goodbye").await;
        assert_eq!(goodbye["code"], 1012, "{goodbye}");
        returns.push(goodbye["reconnect_ms"].as_u64().expect("a time to return"));
        client.expect_close(1012).await;
    }
    // Evenly: each of the two shards has ten, of which none returns with another.
    returns.sort_unstable();
    let evenly: Vec<u64> = (0..CLIENTS).map(|number| number / 2 * 2 * SPREAD_MS / CLIENTS).collect();
    assert_eq!(returns, evenly);
    gone(&service).await;

    // The broker goes on without it.
    assert_eq!(broker.publish("a", "for nobody").await.expect("published").offset, 2);
    let request =
        Request::post("/v1/publish").header("host", "localhost").body(json!({"topic": "a", "data": 1}).to_string());
    let answer = service.handle(request.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.expect("a body in memory").to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON")["offset"], 3);
}

fn expect_refusal(response: &Response<Option<Vec<u8>>>) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get("retry-after").expect("a time to return"), "5");
}

#[tokio::test(start_paused = true)]
async fn who_was_on_the_way_in_is_sent_away_too() {
    // The request is read, and the connection handed over, in turns that come after the drain or before:
    // either it is refused, or it is let in and told to leave.
    for turns in 0..20 {
        let service = Service::builder(Broker::new()).shards(1).build();
        let handshake = client_async("ws://localhost/ws", dial(&service, 64 * 1024));
        let drain = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            service.drain(Duration::from_secs(1));
        };
        match tokio::join!(handshake, drain).0 {
            Ok((socket, _)) => {
                let mut client = Client::upgraded(socket);
                client.expect("welcome").await;
                assert_eq!(client.expect("goodbye").await["code"], 1012);
                client.expect_close(1012).await;
            }
            Err(Error::Http(response)) => expect_refusal(&response),
            Err(error) => panic!("after {turns} turns: {error}"),
        }
        gone(&service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_a_drain_up_for_seconds_only() {
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    let mut deaf = Client::over(dial(&service, 512), "ws://localhost/ws").await;
    deaf.subscribe("a").await;
    for _ in 0..1_000 {
        broker.publish("a", &"x".repeat(1_000)).await.expect("published");
    }
    service.drain(Duration::ZERO);
    gone(&service).await;
}

#[tokio::test]
async fn a_service_without_connections_is_drained_at_once() {
    let service = Service::new(Broker::new());
    assert!(poll!(pin!(service.drained())).is_ready());
}

#[tokio::test]
async fn drained_waits_for_the_last_connection_of_every_runtime() {
    let service = Service::builder(Broker::new()).shards(2).build();
    let (one, other) = (Core::start(), Core::start());
    let (first, last) = (one.connect(&service).await, other.connect(&service).await);
    let mut drained = pin!(service.drained());
    assert!(poll!(&mut drained).is_pending());

    drop(first);
    until("it stays", || service.connections() == 1).await;
    assert!(poll!(&mut drained).is_pending());

    drop(last);
    timeout(PATIENCE, drained).await.expect("they leave");
    assert_eq!(service.connections(), 0);
    one.stop();
    other.stop();
}

#[tokio::test]
async fn connections_whose_runtime_has_ended_are_not_waited_for() {
    let service = Service::new(Broker::new());
    let ending = Core::start();
    let _client = ending.connect(&service).await;
    let mut drained = pin!(service.drained());
    assert!(poll!(&mut drained).is_pending());
    ending.stop();
    timeout(PATIENCE, drained).await.expect("it is not waited for");
}
