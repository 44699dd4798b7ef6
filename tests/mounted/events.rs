//! Event streams of a service that is part of another program.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fanfare::{Body, Broker, Service};
use futures_util::poll;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::timeout;

use crate::PATIENCE;

async fn open(service: &Service) -> Response<Body> {
    let request = Request::get("/v1/events?topic=a").header("host", "localhost");
    service.handle(request.body(Empty::<Bytes>::new()).expect("a request")).await
}

async fn next(body: &mut Body) -> Option<String> {
    let frame = timeout(PATIENCE, body.frame()).await.expect("something comes")?;
    let bytes = frame.expect("a stream cannot fail").into_data().expect("data alone");
    Some(String::from_utf8(bytes.into()).expect("a stream is UTF-8"))
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_streams_and_lets_no_more_in() {
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    let mut body = open(&service).await.into_body();
    assert!(next(&mut body).await.is_some_and(|first| first.contains("\"type\":\"subscribed\"")));
    assert_eq!(service.connections(), 1);
    broker.publish("a", "the last one").await.expect("published");

    service.drain(Duration::ZERO);
    let late = open(&service).await;
    assert_eq!(
        (late.status(), &late.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().expect("a header"))
    );
    {
        let mut drained = pin!(service.drained());
        assert!(poll!(drained.as_mut()).is_pending());
    }
    assert!(next(&mut body).await.is_some_and(|event| event.contains("the last one")));
    assert!(next(&mut body).await.is_some_and(|event| event.contains("\"type\":\"goodbye\",\"code\":1012")));
    assert_eq!(next(&mut body).await, None);
    drop(body);
    timeout(PATIENCE, service.drained()).await.expect("it has left");
}

#[tokio::test]
async fn a_stream_that_is_dropped_follows_nothing_any_more() {
    let broker = Broker::new();
    let service = Service::builder(broker.clone()).connections_max(1).build();
    for _ in 0..3 {
        let response = open(&service).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(open(&service).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(listed_subscribers(&service).await, 1);
        drop(response);
        assert_eq!(listed_subscribers(&service).await, 0);
    }
    assert_eq!(service.connections(), 0);
}

async fn listed_subscribers(service: &Service) -> u64 {
    let request = Request::get("/v1/topics").header("host", "localhost").body(Empty::<Bytes>::new());
    let answer = service.handle(request.expect("a request")).await.into_body().collect().await.expect("it is whole");
    let listed: serde_json::Value = serde_json::from_slice(&answer.to_bytes()).expect("JSON");
    listed["topics"][0]["subscribers"].as_u64().expect("a number")
}
