//! The broker under a path of an axum app: the app has its own routes, and one of them publishes.
//!
//! ```sh
//! cargo run --example axum_mount          # or: -- 127.0.0.1:8080
//! curl -X POST localhost:3000/orders -H 'content-type: application/json' \
//!      -d '{"shop": "berlin", "item": "espresso", "count": 2}'
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to a terminal")]

mod support;

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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = support::listen().await?;
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

    let stop = async move {
        let _ = tokio::signal::ctrl_c().await;
        // axum waits for requests under way, but a connection that has become a WebSocket is out of its
        // hands: without this, clients would be hung up on. Each is told when to come back, at another
        // moment within five seconds.
        service.drain(Duration::from_secs(5));
        service.drained().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
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
