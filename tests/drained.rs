//! `Service::drained`: it completes when the last connection has left, on whatever runtime that was.

use std::time::Duration;

use fanfare::{Broker, Service};
use futures_util::{SinkExt, StreamExt, poll};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = WebSocketStream<DuplexStream>;

/// A runtime as a host may have several of.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A client of a connection that lives on `runtime`.
async fn connect(service: &Service, runtime: &Runtime) -> tungstenite::Result<Client> {
    let (near, far) = tokio::io::duplex(4096);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service.clone());
    runtime.spawn(connection.with_upgrades());
    let (client, _) = tokio_tungstenite::client_async("ws://localhost/ws", near).await?;
    Ok(client)
}

/// Waits until something has come about on other threads.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it comes about");
}

/// Runs `scenario` with a service of two shards and two runtimes for its connections.
fn with_two_runtimes(scenario: impl AsyncFnOnce(Service, &mut Vec<Runtime>)) {
    let host = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let service = Service::builder(Broker::new()).shards(2).build();
    let mut runtimes = vec![runtime(), runtime()];
    host.block_on(async { timeout(PATIENCE, scenario(service, &mut runtimes)).await.expect("it ends") });
}

#[test]
fn a_service_without_connections_is_drained_at_once() {
    with_two_runtimes(async |service, _| {
        assert!(poll!(std::pin::pin!(service.drained())).is_ready());
    });
}

#[test]
fn drained_waits_for_the_last_connection_of_every_runtime() {
    with_two_runtimes(async |service, runtimes| {
        let mut first = connect(&service, &runtimes[0]).await.expect("it is let in");
        let mut last = connect(&service, &runtimes[1]).await.expect("it is let in");
        let mut drained = std::pin::pin!(service.drained());
        assert!(poll!(&mut drained).is_pending());

        first.close(None).await.expect("the service listens");
        until(|| service.connections() == 1).await;
        assert!(poll!(&mut drained).is_pending());

        last.close(None).await.expect("the service listens");
        drained.await;
        assert_eq!(service.connections(), 0);
    });
}

#[test]
fn clients_of_a_drained_service_were_told_goodbye_and_nobody_comes_after_them() {
    with_two_runtimes(async |service, runtimes| {
        let clients = [connect(&service, &runtimes[0]).await, connect(&service, &runtimes[1]).await];
        service.drain(Duration::from_secs(4));
        for client in clients {
            let mut client = client.expect("it was let in");
            let mut told = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                if let Message::Text(text) = message {
                    let event: Value = serde_json::from_str(&text).expect("an event is JSON");
                    told.push(event["type"].as_str().expect("a type").to_owned());
                }
            }
            assert_eq!(told, ["welcome", "goodbye"]);
        }
        service.drained().await;
        match connect(&service, &runtimes[0]).await {
            Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
            other => panic!("{other:?}"),
        }
        assert!(poll!(std::pin::pin!(service.drained())).is_ready());
    });
}

#[test]
fn connections_whose_runtime_is_shut_down_are_not_waited_for() {
    with_two_runtimes(async |service, runtimes| {
        let mut left = connect(&service, &runtimes[0]).await.expect("it is let in");
        let mut stays = connect(&service, &runtimes[1]).await.expect("it is let in");
        runtimes.remove(0).shutdown_background();
        until(|| service.connections() == 1).await;
        assert!(poll!(std::pin::pin!(service.drained())).is_pending());
        stays.send(Message::Close(None)).await.expect("the service listens");
        service.drained().await;
        while let Some(Ok(_)) = left.next().await {}
    });
}
