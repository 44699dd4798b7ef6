//! A client that speaks JSON over whatever stream it is given.

use fanfare::Service;
use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::PATIENCE;

/// A connection in memory, each of whose directions holds so many bytes; the service's end is served by a
/// task of the runtime that this is called in.
pub(crate) fn dial(service: &Service, capacity: usize) -> DuplexStream {
    let (near, far) = tokio::io::duplex(capacity);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(far), service.clone());
    tokio::spawn(connection.with_upgrades());
    near
}

/// Waits until `is_so`.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, looking).await.is_ok(), "{what}");
}

pub(crate) struct Client<S = DuplexStream> {
    socket: WebSocketStream<S>,
}

impl Client {
    /// Connects in memory, and has been welcomed.
    pub(crate) async fn connect(service: &Service) -> Client {
        Client::over(dial(service, 64 * 1024), "ws://localhost/ws").await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Asks for an upgrade, and has been welcomed.
    pub(crate) async fn over(stream: S, url: &str) -> Client<S> {
        let handshake = timeout(PATIENCE, client_async(url, stream)).await.expect("the service answers");
        let (socket, _) = handshake.expect("the handshake succeeds");
        let mut client = Client::upgraded(socket);
        client.expect("welcome").await;
        client
    }

    /// A connection that has been upgraded, and not been welcomed.
    pub(crate) fn upgraded(socket: WebSocketStream<S>) -> Client<S> {
        Client { socket }
    }

    pub(crate) async fn send(&mut self, command: Value) {
        self.send_message(Message::text(command.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        let sent = timeout(PATIENCE, self.socket.send(message)).await.expect("the service reads");
        sent.expect("the service takes a message");
    }

    /// The next message of any kind; `None` once the connection has ended, however it did.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        match timeout(PATIENCE, self.socket.next()).await.expect("something comes") {
            Some(Ok(message)) => Some(message),
            Some(Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_))) | None => None,
            Some(Err(error)) => panic!("{error}"),
        }
    }

    /// The next event.
    pub(crate) async fn recv(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Text(text)) => return serde_json::from_str(&text).expect("the service writes JSON"),
                other => panic!("an event was expected, not {other:?}"),
            }
        }
    }

    /// The next event, which must be of that type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let event = self.recv().await;
        assert_eq!(event["type"], kind, "{event}");
        event
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.send(json!({"type": "subscribe", "id": "sub", "topic": topic})).await;
        assert_eq!(self.expect("subscribed").await["topic"], topic);
    }

    /// Messages of one topic up to the offset `to`, each the next after `from`; none may be missing.
    pub(crate) async fn expect_all(&mut self, from: u64, to: u64) {
        for offset in from + 1..=to {
            assert_eq!(self.expect("message").await["offset"], offset);
        }
    }

    /// The service closes with this code, and hangs up.
    pub(crate) async fn expect_close(&mut self, code: u16) {
        match self.message().await {
            Some(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), code, "{}", frame.reason),
            other => panic!("a close with {code} was expected, not {other:?}"),
        }
        assert!(self.message().await.is_none(), "nothing follows a close");
    }

    /// Nothing more comes, not even a close.
    pub(crate) async fn expect_end(&mut self) {
        if let Some(message) = self.message().await {
            panic!("the end was expected, not {message:?}");
        }
    }
}
