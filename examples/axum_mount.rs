//! The broker under a path of an axum app: the app has its own routes, and one of them publishes.
//!
//! ```sh
//! cargo run --example axum_mount          # or: -- 127.0.0.1:8080
//! curl -X POST localhost:3000/orders -H 'content-type: application/json' \
//!      -d '{"shop": "berlin", "item": "espresso", "count": 2}'
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to a terminal")]

mod check;

use std::error::Error;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fanfare::{Broker, PublishError, Service};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if check::is_asked_for() {
        return check::run(serve, verify).await;
    }
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    serve(TcpListener::bind(address).await?).await
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    let app = Router::new()
        .route("/", get(|| async { "A shop. Orders go to POST /orders, news come from /events/ws.\n" }))
        .route("/orders", post(order))
        .with_state(broker)
        // Everything below `/events` is the broker's: `/events/ws`, `/events/v1/…`, `/events/`.
        .nest_service("/events", service.clone());

    let at = listener.local_addr()?;
    println!("the app        http://{at}/\nits orders     POST http://{at}/orders");
    println!("the broker     ws://{at}/events/ws\nits dashboard  http://{at}/events/");

    axum::serve(listener, app).with_graceful_shutdown(stop(service)).await?;
    Ok(())
}

/// Waits for ctrl-c, then until the WebSocket clients have left.
async fn stop(service: Service) {
    let _ = tokio::signal::ctrl_c().await;
    // axum waits for requests under way, but a connection that has become a WebSocket is out of its
    // hands: without this, clients would be hung up on. Each is told when to come back, at another
    // moment within five seconds.
    service.drain(Duration::from_secs(5));
    // One that does not answer holds nobody up for long.
    for _ in 0..200 {
        if service.connections() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    shop: String,
    item: String,
    count: u32,
}

/// Publishes to a topic of the shop's own, so that each shop's screen follows its orders alone and
/// the head office follows `orders.*`.
async fn order(State(broker): State<Broker>, Json(order): Json<Order>) -> Result<Response, Refused> {
    // The shop's name becomes one segment of the topic's name. Without this check it could bring
    // dots of its own and publish somewhere else.
    if order.shop.contains('.') {
        return Err(Refused(StatusCode::BAD_REQUEST, "a shop's name has no dots".to_owned()));
    }
    let topic = format!("orders.{}", order.shop);
    // This waits while subscribers are being served, so a flood of orders slows down those who send
    // them and needs no queue here.
    let published = broker.publish(&topic, &order).await?;
    let answer = json!({"topic": topic, "offset": published.offset});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// What the app answers when it cannot publish.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Self {
        let status = match error {
            PublishError::Topic(_) | PublishError::Data(_) => StatusCode::BAD_REQUEST,
            PublishError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PublishError::TooManyTopics => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// What `--check` does.
async fn verify(at: std::net::SocketAddr) -> check::Outcome {
    let mut office = check::Client::follow(&format!("ws://{at}/events/ws"), "orders.*").await?;
    let order = r#"{"shop": "berlin", "item": "espresso", "count": 2}"#;
    let (status, answer) = check::http(at, "POST", "/orders", order).await?;
    assert_eq!((status, answer.contains("orders.berlin")), (201, true), "{answer}");
    let message = office.event("message").await?;
    assert_eq!((&message["topic"], &message["data"]["item"]), (&json!("orders.berlin"), &json!("espresso")));

    let elsewhere = order.replace("berlin", "a.b");
    assert_eq!(check::http(at, "POST", "/orders", &elsewhere).await?.0, 400);
    let spaced = order.replace("berlin", "not a name");
    assert_eq!(check::http(at, "POST", "/orders", &spaced).await?.0, 400);
    assert_eq!(check::http(at, "GET", "/", "").await?.0, 200);
    assert_eq!(check::http(at, "GET", "/events/", "").await?.0, 200);
    Ok(())
}
