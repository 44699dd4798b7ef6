//! Rooms, names, who is there and who is typing: a chat whose messages never pass through its code.
//!
//! ```sh
//! examples/chat/start                # or: examples/chat/start 0.0.0.0:8080, for phones in the same network
//! ```
//!
//! Browsers subscribe to `chat.ROOM` and publish to it themselves, with the TypeScript client; `chat.js`
//! beside this file is all there is to the page. What goes over such a topic:
//!
//! ```json
//! {"from": "8e2f…", "name": "Ana", "text": "hello"}
//! ```
//!
//! The server's part is to remember: the newest messages of each room are its topic's history, which a
//! page asks for as it subscribes. Who is there are the members of the topic, and who is typing says so in
//! `typing.ROOM`, of which nothing is kept. Anybody can claim any name here. A chat for people who do not
//! know each other has tokens, and rules that put the proven name into each message (`TopicRule::from`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to a terminal")]

#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fanfare::{Broker, History, Service, TopicError, TopicFilter, TopicRule};

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("chat.css");
const SCRIPT: &str = include_str!("chat.js");
/// Everything comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Rooms are made by entering them, so anybody can make some. Each has two topics.
const TOPICS_MAX: usize = 2_000;
const MESSAGES_PER_ROOM_MAX: usize = 50;
/// The longest text there may be, were each of its characters an escaped pair of surrogates.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = support::listen().await?;
    let broker = Broker::builder()
        .message_bytes_max(MESSAGE_BYTES_MAX)
        .topics_max(TOPICS_MAX)
        .topic_rule(rooms()?)
        .topic_rule(typing()?)
        .build();
    let service = Service::builder(broker).subscriptions_per_connection_max(8).build();

    let app = Router::new()
        .route("/", get(async || text("text/html; charset=utf-8", PAGE)))
        .route("/chat.css", get(async || text("text/css", STYLE)))
        .route("/chat.js", get(async || text("text/javascript", SCRIPT)))
        .route("/fanfare-client.js", get(client))
        .nest_service("/events", service.clone());
    println!("http://{}/ (open it twice)", listener.local_addr()?);

    let stop = async move {
        let _ = tokio::signal::ctrl_c().await;
        // The pages come back by themselves, all within two seconds.
        service.drain(Duration::from_secs(2));
        service.drained().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// Rooms are remembered for a day, and their messages say when they were published.
fn rooms() -> Result<TopicRule, TopicError> {
    let mut rule = TopicRule::new(TopicFilter::parse("chat.*")?);
    rule.history = History { entries: MESSAGES_PER_ROOM_MAX, bytes: 1 << 20, age_ms: DAY_MS };
    rule.at = true;
    Ok(rule)
}

/// Who is typing is of the moment.
fn typing() -> Result<TopicRule, TopicError> {
    let mut rule = TopicRule::new(TopicFilter::parse("typing.*")?);
    rule.history.entries = 8;
    Ok(rule)
}

fn text(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], text).into_response()
}

/// The TypeScript client as it was built, which `start` does.
async fn client() -> Response {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/typescript/dist/index.js");
    match fs::read(built) {
        Ok(script) => ([(header::CONTENT_TYPE, "text/javascript")], script).into_response(),
        Err(_) => (StatusCode::NOT_FOUND, "npm run build --prefix clients/typescript\n").into_response(),
    }
}
