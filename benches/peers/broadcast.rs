//! fastwebsockets with `tokio::sync::broadcast`: a channel for each topic, a task for each connection that reads, and
//! one for each subscription that waits for its channel and writes.
//!
//! It does the obvious well: data is not parsed, a message is rendered once, only its topic's subscribers wake up,
//! `TCP_NODELAY` is on. It speaks as much of the protocol as the load needs; a subscriber that falls behind
//! loses messages and is not told.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite, after_handshake_split};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::task::{LocalSet, spawn_local};

use crate::Result;
use crate::support::server::SCHEME;
use crate::support::wire;

/// Messages of a topic that a subscriber may be behind: many times what the load has outstanding.
const BEHIND_MAX: usize = 1024;

type Topics = Rc<Mutex<HashMap<String, Topic>>>;
type Writer = Rc<Mutex<WebSocketWrite<OwnedWriteHalf>>>;

struct Topic {
    channel: Sender<Arc<[u8]>>,
    head: u64,
}

#[derive(Deserialize)]
struct Command<'a> {
    r#type: &'a str,
    id: u64,
    #[serde(default)]
    topic: &'a str,
    #[serde(default)]
    topics: Vec<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Serves until the process is ended.
pub(crate) fn serve() -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{SCHEME}{}", listener.local_addr()?);
        let topics = Topics::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let topics = Rc::clone(&topics);
            spawn_local(async move {
                // A client that breaks off is its own affair.
                let _ = connection(stream, &topics).await;
            });
        }
    })
}

async fn connection(mut stream: TcpStream, topics: &Topics) -> Result<()> {
    stream.set_nodelay(true)?;
    // Clients say nothing more before they have been answered.
    let mut head = Vec::with_capacity(1024);
    while wire::http_head(&head).is_none() {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(wire::accepted(&head)?.as_bytes()).await?;
    drop(head);

    let (reading, writing) = stream.into_split();
    let (mut reader, writer) = after_handshake_split(reading, writing, Role::Server);
    let writer = Rc::new(Mutex::new(writer));
    write(&writer, br#"{"type":"welcome"}"#).await?;
    let mut subscriptions = Vec::new();
    loop {
        let mut answer = |frame: Frame<'_>| {
            let (opcode, payload) = (frame.opcode, frame.payload.to_vec());
            let writer = Rc::clone(&writer);
            async move { writer.lock().await.write_frame(Frame::new(true, opcode, None, Payload::Owned(payload))).await }
        };
        let frame = reader.read_frame::<_, WebSocketError>(&mut answer).await;
        let frame = match frame {
            Ok(frame) if frame.opcode == OpCode::Text => frame,
            Ok(frame) if frame.opcode != OpCode::Close => continue,
            _ => break,
        };
        let command: Command<'_> = serde_json::from_slice(&frame.payload)?;
        match command.r#type {
            "subscribe" => {
                for name in command.topics {
                    let (receiver, head) = {
                        let mut topics = topics.lock().await;
                        let topic = topics.entry(name.to_owned()).or_insert_with(Topic::new);
                        (topic.channel.subscribe(), topic.head)
                    };
                    reply(&writer, "subscribed", command.id, name, head).await?;
                    subscriptions.push(spawn_local(forward(receiver, Rc::clone(&writer))));
                }
            }
            "publish" => {
                let (name, data) = (command.topic, command.data.ok_or("no data")?);
                let head = {
                    let mut topics = topics.lock().await;
                    let topic = topics.entry(name.to_owned()).or_insert_with(Topic::new);
                    topic.head += 1;
                    let text =
                        format!(r#"{{"type":"message","topic":"{name}","offset":{},"data":{data}}}"#, topic.head);
                    // Fails only while nobody follows the topic.
                    let _ = topic.channel.send(text.into_bytes().into());
                    topic.head
                };
                reply(&writer, "published", command.id, name, head).await?;
            }
            _ => return Err("unknown type".into()),
        }
    }
    subscriptions.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

impl Topic {
    fn new() -> Topic {
        Topic { channel: Sender::new(BEHIND_MAX), head: 0 }
    }
}

async fn forward(mut receiver: Receiver<Arc<[u8]>>, writer: Writer) {
    loop {
        match receiver.recv().await {
            Ok(message) => {
                if write(&writer, &message).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn reply(writer: &Writer, event: &str, id: u64, topic: &str, offset: u64) -> Result<()> {
    let text = format!(r#"{{"type":"{event}","id":{id},"topic":"{topic}","offset":{offset}}}"#);
    Ok(write(writer, text.as_bytes()).await?)
}

async fn write(writer: &Writer, text: &[u8]) -> std::result::Result<(), WebSocketError> {
    writer.lock().await.write_frame(Frame::text(Payload::Borrowed(text))).await
}
