//! A WebSocket client for tests that read as conversations. The protocol is spoken by `tungstenite`.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, client};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::PATIENCE;
use crate::server::Server;

/// In what is expected: any string but the empty one.
pub(crate) const ANY: &str = "<any>";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    MsgPack,
}

impl Encoding {
    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Json => "fanfare.v1.json",
            Encoding::MsgPack => "fanfare.v1.msgpack",
        }
    }
}

pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    encoding: Encoding,
    pub(crate) welcome: Value,
}

#[expect(clippy::needless_pass_by_value, reason = "a conversation reads best with plain values")]
impl Client {
    /// Connects for JSON, and has been welcomed.
    pub(crate) fn json(server: &Server) -> Client {
        Client::connect(server, Encoding::Json)
    }

    /// Connects for MessagePack, and has been welcomed.
    pub(crate) fn msgpack(server: &Server) -> Client {
        Client::connect(server, Encoding::MsgPack)
    }

    pub(crate) fn connect(server: &Server, encoding: Encoding) -> Client {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_nodelay(true).expect("a socket can be told not to wait");
        let uri = format!("ws://{}/ws", server.address()).parse().expect("a URI");
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(encoding.subprotocol());
        let (socket, _) = client(request, stream).expect("the handshake succeeds");
        let mut client = Client { socket, encoding, welcome: Value::Null };
        client.welcome = client.recv();
        assert_eq!(client.welcome["type"], "welcome", "{}", client.welcome);
        client
    }

    /// Connects for JSON with headers and subprotocols of the test's own, and has been told nothing yet.
    /// The status, if that is not what a handshake succeeds with.
    pub(crate) fn dial(
        server: &Server,
        target: &str,
        headers: &[(&str, &str)],
        protocols: &[&str],
    ) -> Result<Client, u16> {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        let uri = format!("ws://{}{target}", server.address()).parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(Encoding::Json.subprotocol());
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        for protocol in protocols {
            request = request.with_sub_protocol(*protocol);
        }
        match client(request, stream) {
            Ok((socket, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], Encoding::Json.subprotocol());
                Ok(Client { socket, encoding: Encoding::Json, welcome: Value::Null })
            }
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("the handshake fails otherwise: {error}"),
        }
    }

    /// The connection itself, for whoever expects it to break.
    pub(crate) fn into_socket(self) -> WebSocket<TcpStream> {
        self.socket
    }

    /// Sends a command, or a list of them, in the encoding that was negotiated.
    pub(crate) fn send(&mut self, command: Value) {
        self.send_as(self.encoding, &command);
    }

    pub(crate) fn send_as(&mut self, encoding: Encoding, command: &Value) {
        match encoding {
            Encoding::Json => self.text(&command.to_string()),
            Encoding::MsgPack => self.binary(&rmp_serde::to_vec_named(command).expect("JSON fits MessagePack")),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server takes a message");
    }

    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the server takes a message");
    }

    /// Sends a text message in so many frames, with a ping before each but the first.
    pub(crate) fn fragments(&mut self, parts: &[&[u8]]) {
        for (number, part) in parts.iter().enumerate() {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            if number > 0 {
                self.ping(b"between");
            }
            let frame = Frame::message(part.to_vec(), OpCode::Data(kind), number + 1 == parts.len());
            self.socket.send(Message::Frame(frame)).expect("the server takes a frame");
        }
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) {
        self.socket.send(Message::Ping(payload.to_vec().into())).expect("the server takes a ping");
    }

    pub(crate) fn expect_pong(&mut self, payload: &[u8]) {
        match self.socket.read() {
            Ok(Message::Pong(answer)) => assert_eq!(&answer[..], payload),
            other => panic!("a pong was expected, not {other:?}"),
        }
    }

    /// The next message, as it is on the wire.
    pub(crate) fn frame(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("a message was expected, not: {error}"),
            }
        }
    }

    /// The next event.
    pub(crate) fn recv(&mut self) -> Value {
        match (self.encoding, self.frame()) {
            (Encoding::Json, Message::Text(text)) => serde_json::from_str(&text).expect("the server writes JSON"),
            (Encoding::MsgPack, Message::Binary(bytes)) => {
                rmp_serde::from_slice(&bytes).expect("the server writes MessagePack")
            }
            (encoding, message) => panic!("an event in {encoding:?} was expected, not {message:?}"),
        }
    }

    /// The next event, which is like `expected`: the same fields with the same values, where
    /// [`ANY`] stands for any string. The words of an error are not compared.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: Value) -> Value {
        let event = self.recv();
        assert!(is_like(&event, &expected), "expected {expected}\n     got {event}");
        event
    }

    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let event = self.recv();
        assert_eq!((&event["type"], &event["code"]), (&json!("error"), &json!(code)), "{event}");
        event
    }

    /// Everything that was sent before has been dealt with, and nothing but the pong has come.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self) {
        self.send(json!({"type": "ping", "id": "quiet?"}));
        self.expect(json!({"type": "pong", "id": "quiet?"}));
    }

    /// Subscribes; the epoch, if it is a topic's.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, topic: &str) -> Value {
        self.send(json!({"type": "subscribe", "id": "sub", "topic": topic}));
        let event = self.recv();
        assert_eq!((&event["type"], &event["topic"]), (&json!("subscribed"), &json!(topic)), "{event}");
        event["epoch"].clone()
    }

    /// Publishes, and returns the offset.
    #[track_caller]
    pub(crate) fn publish(&mut self, topic: &str, data: Value) -> u64 {
        self.send(json!({"type": "publish", "id": "pub", "topic": topic, "data": data}));
        let event = self.recv();
        assert_eq!((&event["type"], &event["topic"]), (&json!("published"), &json!(topic)), "{event}");
        event["offset"].as_u64().expect("an offset")
    }

    /// The server closes with this code, and the connection ends in order.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.frame() {
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), code, "{}", frame.reason);
                frame.reason.to_string()
            }
            other => panic!("a close with {code} was expected, not {other:?}"),
        };
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return reason,
                Err(error) => panic!("the connection ends out of order: {error}"),
            }
        }
    }

    /// The server says goodbye with this code, and closes.
    #[track_caller]
    pub(crate) fn expect_goodbye(&mut self, code: u16) -> Value {
        let event = self.recv();
        assert_eq!((&event["type"], &event["code"]), (&json!("goodbye"), &json!(code)), "{event}");
        self.expect_close(code);
        event
    }

    pub(crate) fn close(&mut self) {
        self.socket.close(None).expect("a close can be sent");
    }

    pub(crate) fn socket(&mut self) -> &mut WebSocket<TcpStream> {
        &mut self.socket
    }
}

fn is_like(event: &Value, expected: &Value) -> bool {
    match (event, expected) {
        (Value::String(text), Value::String(any)) if any == ANY => !text.is_empty(),
        (Value::Object(event), Value::Object(expected)) => {
            let is_error = expected.get("type").is_some_and(|kind| kind == "error");
            let has_all = expected.iter().all(|(key, value)| event.get(key).is_some_and(|found| is_like(found, value)));
            let known = |key: &String| expected.contains_key(key) || (is_error && key == "message");
            has_all && event.keys().all(known)
        }
        _ => event == expected,
    }
}
