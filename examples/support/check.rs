//! What `--check` does with the examples.
//!
//! It starts one as anybody would, on a free port, is its client for a moment, interrupts it, and wants
//! to be told goodbye and to see it end well. Continuous integration checks each that way.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long a check may take: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// An interrupt that came too early to be heard is repeated.
const INTERRUPT_EVERY: Duration = Duration::from_millis(100);

/// Checks the example that this is a part of.
pub(super) async fn run() -> Outcome<()> {
    timeout(PATIENCE, async {
        let mut example = Example::start().await?;
        let client = match env!("CARGO_CRATE_NAME") {
            "embed" => Some(embed(&mut example).await?),
            "axum_mount" => Some(axum_mount(&example).await?),
            "chat" => Some(chat(&example).await?),
            "host_metrics" => Some(host_metrics(&example).await?),
            "echo" => {
                echo(&example).await?;
                None
            }
            other => return Err(format!("nothing is known of {other}").into()),
        };
        example.stop(client).await
    })
    .await?
}

/// The broker's messages come to WebSocket clients and to the example itself.
async fn embed(example: &mut Example) -> Outcome<Client> {
    let mut client = example.follow("/ws", "orders.*").await?;
    let first = client.event("message").await?["data"]["number"].as_u64().ok_or("no number")?;
    let second = client.event("message").await?;
    assert_eq!((&second["topic"], &second["data"]["number"]), (&json!("orders.placed"), &json!(first + 1)));
    assert_eq!(example.line().await?, r#"orders.placed #1: {"number":1}"#);
    assert_eq!(example.http("GET", "/healthz", "").await?, (200, "ok\n".to_owned()));
    Ok(client)
}

/// What is posted to the app is published under the shop's name and nowhere else.
async fn axum_mount(example: &Example) -> Outcome<Client> {
    let mut office = example.follow("/events/ws", "orders.*").await?;
    let order = r#"{"shop": "berlin", "item": "espresso", "count": 2}"#;
    let (status, answer) = example.http("POST", "/orders", order).await?;
    assert_eq!((status, answer.contains("orders.berlin")), (201, true), "{answer}");
    let message = office.event("message").await?;
    assert_eq!((&message["topic"], &message["data"]["item"]), (&json!("orders.berlin"), &json!("espresso")));
    for shop in ["a.b", "not a name"] {
        assert_eq!(example.http("POST", "/orders", &order.replace("berlin", shop)).await?.0, 400);
    }
    for page in ["/", "/events/"] {
        assert_eq!(example.http("GET", page, "").await?.0, 200);
    }
    Ok(office)
}

/// What is said in a room is remembered, with its time; who is typing is not, for long.
async fn chat(example: &Example) -> Outcome<Client> {
    let mut ana = example.follow("/events/ws", "*.kitchen").await?;
    for at in 0..60 {
        let said = json!({"topic": "chat.kitchen", "data": {"from": "1", "name": "Ben", "text": at}}).to_string();
        assert_eq!(example.http("POST", "/events/v1/publish", &said).await?.0, 200);
        let typing = said.replace("chat.", "typing.");
        assert_eq!(example.http("POST", "/events/v1/publish", &typing).await?.0, 200);
        let message = ana.event("message").await?;
        assert_eq!((&message["data"]["text"], message["at"].is_u64()), (&json!(at), true), "{message}");
        ana.event("message").await?;
    }
    for (topic, kept) in [("chat", 50), ("typing", 8)] {
        let path = format!("/events/v1/topics/{topic}.kitchen/history");
        let (status, body) = example.http("GET", &path, "").await?;
        let history: Value = serde_json::from_str(&body)?;
        assert_eq!((status, history["messages"].as_array().map(Vec::len)), (200, Some(kept)), "{body}");
    }
    assert!(example.http("GET", "/", "").await?.1.contains("<!doctype html>"));
    assert_eq!(example.http("GET", "/chat.js", "").await?.0, 200);
    Ok(ana)
}

/// Each group of figures comes, and they are this machine's.
async fn host_metrics(example: &Example) -> Outcome<Client> {
    let mut screen = example.follow("/ws", "host.*").await?;
    let mut waiting = vec!["host.cpu", "host.memory", "host.network"];
    while !waiting.is_empty() {
        let message = screen.event("message").await?;
        waiting.retain(|topic| message["topic"] != *topic);
        if message["topic"] == "host.memory" {
            let figure = |name: &str| message["data"][name].as_u64().unwrap_or(0);
            assert!((1..=figure("total_bytes")).contains(&figure("used_bytes")), "{message}");
        }
    }
    // Disks are read seldom, so theirs may be over already.
    let (status, topics) = example.http("GET", "/v1/topics?prefix=host.", "").await?;
    assert_eq!((status, topics.contains("host.disk")), (200, true), "{topics}");
    assert_eq!(example.http("GET", "/", "").await?.0, 200);
    Ok(screen)
}

/// Messages come back as they are, and so does a close frame.
async fn echo(example: &Example) -> Outcome<()> {
    let Client(mut client) = example.connect("").await?;
    for message in [Message::text("Zoë"), Message::binary(vec![0xFF; 1 << 20]), Message::text("")] {
        client.send(message.clone()).await?;
        assert_eq!(client.next().await.ok_or("no echo")??, message);
    }
    client.send(Message::Ping("p".into())).await?;
    assert_eq!(client.next().await.ok_or("no pong")??, Message::Pong("p".into()));
    client.close(None).await?;
    assert_eq!(client.next().await.ok_or("no close")??, Message::Close(None));
    assert!(client.next().await.is_none());
    Ok(())
}

/// The example, running.
struct Example {
    process: Child,
    at: SocketAddr,
    said: Lines<BufReader<ChildStdout>>,
}

impl Example {
    /// Starts it and reads where it listens.
    async fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.arg("127.0.0.1:0").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut said = BufReader::new(process.stdout.take().ok_or("no standard output")?).lines();
        let line = said.next_line().await?.ok_or("it said nothing")?;
        let (_, at) = line.split_once("://").ok_or("no address")?;
        let at = at.split('/').next().unwrap_or_default().parse()?;
        Ok(Example { process, at, said })
    }

    /// The next line that it prints.
    async fn line(&mut self) -> Outcome<String> {
        Ok(self.said.next_line().await?.ok_or("it said nothing more")?)
    }

    async fn connect(&self, path: &str) -> Outcome<Client> {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{}{path}", self.at)).await?;
        Ok(Client(socket))
    }

    /// A client that is subscribed to `topic`.
    async fn follow(&self, path: &str, topic: &str) -> Outcome<Client> {
        let mut client = self.connect(path).await?;
        let command = json!({"type": "subscribe", "id": 1, "topic": topic});
        client.0.send(Message::text(command.to_string())).await?;
        client.event("subscribed").await?;
        Ok(client)
    }

    /// One HTTP call: the status and the body of its answer.
    async fn http(&self, method: &str, path: &str, body: &str) -> Outcome<(u16, String)> {
        let mut stream = TcpStream::connect(self.at).await?;
        let (at, length) = (self.at, body.len());
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

    /// Interrupts it: `client` is told when to return, and it ends once that one has left.
    async fn stop(mut self, client: Option<Client>) -> Outcome<()> {
        let process = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("it has ended")?;
        let ended = async {
            if let Some(mut client) = client {
                let goodbye = client.event("goodbye").await?;
                assert!(goodbye["reconnect_ms"].as_u64().is_some_and(|wait_ms| wait_ms <= 5_000), "{goodbye}");
                // To read on is to answer the close frame.
                while let Some(Ok(_)) = client.0.next().await {}
            }
            Outcome::Ok(self.process.wait().await?)
        };
        let mut ended = pin!(ended);
        let status = loop {
            kill_process(process, Signal::INT)?;
            if let Ok(status) = timeout(INTERRUPT_EVERY, ended.as_mut()).await {
                break status?;
            }
        };
        assert!(status.success(), "{status}");
        Ok(())
    }
}

/// A WebSocket connection that speaks JSON.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// The next event of that type; others are passed over.
    async fn event(&mut self, kind: &str) -> Outcome<Value> {
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
