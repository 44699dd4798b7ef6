//! What `--check` of the examples leans on; none of it is needed to understand them.
//!
//! An example that is given `--check` serves on a free port, is its own client for a moment, and
//! ends with status 0 if all went as it says. Continuous integration runs each that way.

mod run;

use std::error::Error;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) use run::{Outcome, is_asked_for, run};

/// A WebSocket connection that speaks JSON.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects, and follows `topic`.
    pub(crate) async fn follow(url: &str, topic: &str) -> Result<Client, Box<dyn Error>> {
        let (socket, _) = tokio_tungstenite::connect_async(url).await?;
        let mut client = Client(socket);
        let command = json!({"type": "subscribe", "id": 1, "topic": topic});
        client.0.send(Message::text(command.to_string())).await?;
        client.event("subscribed").await?;
        Ok(client)
    }

    /// The next event of that type; others are passed over.
    pub(crate) async fn event(&mut self, kind: &str) -> Result<Value, Box<dyn Error>> {
        while let Some(message) = self.0.next().await {
            if let Message::Text(text) = message? {
                let event: Value = serde_json::from_str(&text)?;
                if event["type"] == kind {
                    return Ok(event);
                }
                if event["type"] == "error" {
                    return Err(event.to_string().into());
                }
            }
        }
        Err("the connection ended".into())
    }
}

/// One HTTP call: the status and the body of its answer.
pub(crate) async fn http(
    at: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String), Box<dyn Error>> {
    let mut stream = TcpStream::connect(at).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
