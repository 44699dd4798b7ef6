//! Rooms, names, who is there and who is typing: a chat whose messages never pass through its code.
//!
//! ```sh
//! cargo run --example chat                # or: -- 0.0.0.0:8080, for phones in the same network
//! ```
//!
//! Browsers subscribe to `chat.ROOM` and publish to it themselves; `chat.html` beside this file is
//! the whole client. What goes over such a topic:
//!
//! ```json
//! {"kind": "said",   "from": "8e2f…", "name": "Ana", "text": "hello"}
//! {"kind": "typing", "from": "8e2f…", "name": "Ana"}
//! {"kind": "joined", "from": "8e2f…", "name": "Ana"}
//! {"kind": "here",   "from": "8e2f…", "name": "Ana"}
//! {"kind": "left",   "from": "8e2f…", "name": "Ana"}
//! ```
//!
//! The server's part is to remember: it follows `chat.*` in process, keeps the newest messages of each
//! room and hands them to those who come in later. Anybody can claim any name here. A chat for people
//! who do not know each other takes messages at a route of its own that knows who calls, and publishes
//! from there, as `axum_mount.rs` does.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to a terminal")]

mod support;

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use fanfare::{Broker, Delivery, Received, Service, Subscription};
use serde::{Deserialize, Serialize};

const PAGE: &str = include_str!("chat.html");
/// The page has its script and its style inside; nothing comes from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Rooms are made by entering them, so anybody can make any number. The quietest is forgotten first.
const ROOMS_MAX: usize = 1_000;
const MESSAGES_PER_ROOM_MAX: usize = 50;
const ROOM_CHARS_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 32;
const TEXT_CHARS_MAX: usize = 1_000;
const FROM_BYTES_MAX: usize = 40;
/// The longest text there may be, were each of its characters an escaped pair of surrogates.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = support::listen().await?;
    let broker = Broker::builder().message_bytes_max(MESSAGE_BYTES_MAX).build();
    let service = Service::builder(broker.clone()).subscriptions_per_connection_max(8).build();
    let archive = Arc::new(Archive::default());
    tokio::spawn(keep(Arc::clone(&archive), broker.subscribe("chat.*")?));

    let app = Router::new()
        .route("/", get(page))
        .route("/rooms/{room}", get(room))
        .with_state(archive)
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

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

/// The newest messages of a room. The page asks after its subscription is confirmed: what is said in
/// between comes both ways, and the offsets tell that it is the same.
async fn room(State(archive): State<Arc<Archive>>, Path(room): Path<String>) -> Result<Json<Room>, StatusCode> {
    if !is_room(&room) {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(archive.room(&room)))
}

fn is_room(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || c == '-';
    !name.is_empty() && name.chars().count() <= ROOM_CHARS_MAX && name.chars().all(allowed)
}

/// What browsers publish, as far as it is kept.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Event {
    Said {
        from: String,
        name: String,
        text: String,
    },
    /// Comings, goings and typing are of the moment.
    #[serde(other)]
    Passing,
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    /// Offsets begin anew when a topic was idle for long and comes back; then this is another.
    epoch: String,
    offset: u64,
    at_ms: u64,
    from: String,
    name: String,
    text: String,
}

/// Oldest first, at most `MESSAGES_PER_ROOM_MAX`.
type Room = VecDeque<Message>;

/// What was said, as far as it is remembered.
#[derive(Debug, Default)]
struct Archive {
    /// At most `ROOMS_MAX`.
    rooms: Mutex<HashMap<String, Room>>,
}

/// Writes down what is said, for as long as the server runs.
async fn keep(archive: Arc<Archive>, mut chat: Subscription) {
    loop {
        match chat.next().await {
            Delivery::Message(received) => archive.keep(&received),
            // Those in the room have heard it; those who come later will not read it.
            Delivery::Gap(gap) => eprintln!("{}: messages {} to {} were not kept", gap.topic, gap.from, gap.to),
        }
    }
}

impl Archive {
    fn keep(&self, received: &Received) {
        // Anything at all may have been published, by a program that is not our page. What breaks the
        // rules is not kept, and the page does not show it.
        let Ok(Event::Said { from, name, text }) = received.decode() else { return };
        let Some(room) = received.topic().strip_prefix("chat.").filter(|room| is_room(room)) else { return };
        let is_allowed = from.len() <= FROM_BYTES_MAX
            && (1..=NAME_CHARS_MAX).contains(&name.chars().count())
            && (1..=TEXT_CHARS_MAX).contains(&text.chars().count());
        if !is_allowed {
            return;
        }
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let (epoch, offset) = (received.epoch().to_string(), received.offset());
        let message = Message { epoch, offset, at_ms, from, name, text };

        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() == ROOMS_MAX && !rooms.contains_key(room) {
            let newest = |room: &Room| room.back().map(|message| message.at_ms);
            let quietest = rooms.iter().min_by_key(|(_, room)| newest(room)).map(|(name, _)| name.clone());
            quietest.and_then(|name| rooms.remove(&name));
        }
        let room = rooms.entry(room.to_owned()).or_default();
        room.push_back(message);
        if room.len() > MESSAGES_PER_ROOM_MAX {
            room.pop_front();
        }
    }

    fn room(&self, name: &str) -> Room {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}
