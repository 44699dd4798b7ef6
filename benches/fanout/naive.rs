//! The broker everybody writes: a task a connection, one `tokio::sync::broadcast` for all, JSON as
//! `serde_json::Value`, one write a message.
//!
//! It does the obvious well (a message is rendered once, `TCP_NODELAY` is on, its runtime needs no locks
//! between threads), so that what it costs is the design and not clumsiness. It speaks as much of the
//! protocol as the load needs; a subscriber that falls behind loses messages and is not told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::Result;
use crate::support::server::SCHEME;

/// Messages that a subscriber may be behind: many times what the load has outstanding.
const BEHIND_MAX: usize = 1024;

/// Serves until the process is ended.
pub(crate) fn serve() -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{SCHEME}{}", listener.local_addr()?);
        let broker = Arc::new(Broker { bus: broadcast::Sender::new(BEHIND_MAX), offsets: Mutex::default() });
        loop {
            let (stream, _) = listener.accept().await?;
            let broker = Arc::clone(&broker);
            tokio::spawn(async move {
                // A client that breaks off is its own affair.
                let _ = connection(stream, &broker).await;
            });
        }
    })
}

struct Broker {
    bus: broadcast::Sender<Arc<Published>>,
    /// The last offset of each topic. Held while a message goes onto the bus, so that offsets rise there.
    offsets: Mutex<HashMap<String, u64>>,
}

struct Published {
    topic: String,
    text: Utf8Bytes,
}

impl Broker {
    fn offset(&self, topic: &str) -> u64 {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(topic).copied().unwrap_or(0)
    }

    fn publish(&self, topic: &str, data: &Value) -> u64 {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = offsets.entry(topic.to_owned()).or_insert(0);
        *offset += 1;
        let text = format!(r#"{{"type":"message","topic":{},"offset":{offset},"data":{data}}}"#, Value::from(topic));
        // Fails only while nobody is connected.
        let _ = self.bus.send(Arc::new(Published { topic: topic.to_owned(), text: text.into() }));
        *offset
    }
}

async fn connection(stream: TcpStream, broker: &Broker) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = accept_hdr_async(stream, choose_protocol).await?;
    let mut bus = broker.bus.subscribe();
    socket.send(Message::text(r#"{"type":"welcome"}"#)).await?;
    let mut topics = HashSet::new();
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    for reply in command(&text, broker, &mut topics)? {
                        socket.send(Message::text(reply)).await?;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            published = bus.recv() => match published {
                Ok(published) if topics.contains(&published.topic) => {
                    socket.send(Message::Text(published.text.clone())).await?;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

fn command(text: &str, broker: &Broker, topics: &mut HashSet<String>) -> Result<Vec<String>> {
    let command: Value = serde_json::from_str(text)?;
    let id = &command["id"];
    let one = || command["topic"].as_str().ok_or("no topic");
    let reply = |event: &str, topic: &str, offset: u64| {
        let topic = Value::from(topic);
        format!(r#"{{"type":"{event}","id":{id},"topic":{topic},"offset":{offset}}}"#)
    };
    match command["type"].as_str() {
        Some("subscribe") => {
            let wanted = match command["topics"].as_array() {
                Some(several) => several.iter().filter_map(Value::as_str).collect(),
                None => vec![one()?],
            };
            topics.extend(wanted.iter().map(|topic| (*topic).to_owned()));
            Ok(wanted.into_iter().map(|topic| reply("subscribed", topic, broker.offset(topic))).collect())
        }
        Some("publish") => {
            let topic = one()?;
            Ok(vec![reply("published", topic, broker.publish(topic, &command["data"]))])
        }
        _ => Err("unknown type".into()),
    }
}

#[allow(clippy::result_large_err, clippy::unnecessary_wraps, reason = "the shape that tungstenite asks for")]
fn choose_protocol(request: &Request, mut response: Response) -> std::result::Result<Response, ErrorResponse> {
    const NAME: &str = "Sec-WebSocket-Protocol";
    if let Some(protocol) = request.headers().get(NAME) {
        response.headers_mut().insert(NAME, protocol.clone());
    }
    Ok(response)
}
