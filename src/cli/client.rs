//! One connection to a server: handshake, commands out, events in.
//!
//! It works over any stream, so that tests can stand on the other side without a port.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::protocol::{Data, DataError, Encoding};

use super::args::ServerArguments;
use super::event::{Event, Goodbye, Refused, Welcome};
use super::json_line::{self, NotAnEvent};
use super::target::{Target, TargetError};

/// A connection that has been welcomed.
#[derive(Debug)]
pub(crate) struct Client<S> {
    socket: WebSocketStream<S>,
    encoding: Encoding,
    /// When the server was last heard of, and how long it may keep silent.
    heard: Instant,
    silence_max: Duration,
    /// The largest command that the server takes.
    pub(crate) message_bytes_max: usize,
    /// Why the server is about to close, if it has said so.
    goodbye: Option<Goodbye>,
}

/// Why the server cannot be reached, or not be talked to any more.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the token holds characters that a header cannot carry")]
    Token,
    #[error("cannot connect to {0}: {1}; is fanfare running there?")]
    Connect(String, io::Error),
    #[error("{0} answered {1}{because}", because = .2.as_ref().map(|refused| format!(": {refused}")).unwrap_or_default())]
    Http(String, StatusCode, Option<Box<Refused>>),
    #[error("{0} does not speak this protocol: {1}; is it fanfare?")]
    Handshake(String, tungstenite::Error),
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    #[error("connection lost: {0}")]
    Lost(tungstenite::Error),
    #[error("connection lost: nothing was heard for {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("the server closed the connection{0}")]
    Closed(Reason),
    #[error(transparent)]
    Refused(Box<Refused>),
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Why the server closed, as far as it said so.
#[derive(Debug, Default)]
pub(crate) struct Reason {
    code: Option<u16>,
    text: String,
}

/// Connecting, and then being welcomed, takes milliseconds where it works at all.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Beyond the heartbeat: a server or network that is busy is not gone.
const SILENCE_SLACK: Duration = Duration::from_secs(20);
/// For the farewell, which changes nothing any more.
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// The largest event. A server may be told to take messages of a gigabyte.
const EVENT_BYTES_MAX: usize = 1 << 30;

impl Client<TcpStream> {
    /// Connects, and waits for the welcome.
    pub(crate) async fn connect(arguments: &ServerArguments) -> Result<Self, ClientError> {
        let target = Target::parse(&arguments.url)?;
        let address = || format!("{}:{}", target.host, target.port);
        let connecting = TcpStream::connect((target.host.as_str(), target.port));
        let stream = match timeout(CONNECT_MAX, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ClientError::Connect(address(), error)),
            Err(_) => {
                return Err(ClientError::Connect(address(), io::ErrorKind::TimedOut.into()));
            }
        };
        // Commands are small and each is waited for; a delay would help nobody, and without it
        // the connection works all the same.
        let _ = stream.set_nodelay(true);
        let token = arguments.token.as_deref().filter(|token| !token.is_empty());
        Client::handshake(stream, &target, token, arguments.format.into()).await
    }
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> ClientError {
        ClientError::Refused(Box::new(refused))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Makes a WebSocket of `stream`, and waits for the welcome.
    pub(crate) async fn handshake(
        stream: S,
        target: &Target,
        token: Option<&str>,
        encoding: Encoding,
    ) -> Result<Self, ClientError> {
        let place = || target.uri.to_string();
        let handshake = |error| ClientError::Handshake(place(), error);
        let mut request = target.uri.clone().into_client_request().map_err(handshake)?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(encoding.subprotocol()));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(EVENT_BYTES_MAX)).max_frame_size(Some(EVENT_BYTES_MAX));
        let upgrade = client_async_with_config(request, stream, Some(config));
        let socket = match timeout(CONNECT_MAX, upgrade).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(response))) => {
                let refused = response.body().as_deref().and_then(Refused::from_http).map(Box::new);
                return Err(ClientError::Http(place(), response.status(), refused));
            }
            Ok(Err(error)) => return Err(handshake(error)),
            Err(_) => return Err(handshake(io::Error::from(io::ErrorKind::TimedOut).into())),
        };
        let mut client = Client {
            socket,
            encoding,
            heard: Instant::now(),
            silence_max: CONNECT_MAX,
            message_bytes_max: 0,
            goodbye: None,
        };
        match client.next().await? {
            Event::Welcome(Welcome { heartbeat_ms, max_message_bytes }) => {
                client.silence_max = Duration::from_millis(heartbeat_ms).saturating_add(SILENCE_SLACK);
                client.message_bytes_max = max_message_bytes;
                Ok(client)
            }
            Event::Error(refused) => Err(refused.into()),
            // Whatever else comes first: the protocol begins with `welcome`.
            _ => Err(NotAnEvent.into()),
        }
    }

    /// The next event other than `goodbye`, which becomes the reason of the close that follows it.
    ///
    /// # Errors
    ///
    /// The connection is over; or what came is no event.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            // The clock may be set so far ahead that the sum has no answer; then there is no bound.
            let message = match self.heard.checked_add(self.silence_max) {
                Some(deadline) => match timeout_at(deadline, self.socket.next()).await {
                    Ok(message) => message,
                    Err(_) => return Err(ClientError::Silent(self.silence_max)),
                },
                None => self.socket.next().await,
            };
            self.heard = Instant::now();
            let json = match message {
                Some(Ok(Message::Text(text))) => json_line::from_json(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => json_line::from_msgpack(&bytes)?,
                Some(Ok(Message::Close(frame))) => {
                    let (code, text) = match frame {
                        Some(frame) => (Some(frame.code.into()), frame.reason.to_string()),
                        None => (None, String::new()),
                    };
                    return Err(self.closed(code, text));
                }
                // Pings are answered by the library, with the next read.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(error)) => return Err(self.lost(error)),
                None => return Err(self.closed(None, String::new())),
            };
            match Event::parse(json)? {
                Event::Goodbye(goodbye) => self.goodbye = Some(goodbye),
                event => return Ok(event),
            }
        }
    }

    /// Hands a command over; it leaves with the next [`flush`](Client::flush) at the latest.
    pub(crate) async fn feed(&mut self, command: Command) -> Result<(), ClientError> {
        let message = match self.encoding {
            // Both forms are made of text and JSON that was checked to be text.
            Encoding::Json => match String::from_utf8(command.0) {
                Ok(text) => Message::text(text),
                Err(_) => return Err(NotAnEvent.into()),
            },
            Encoding::MsgPack => Message::binary(command.0),
        };
        match timeout(self.silence_max, self.socket.feed(message)).await {
            Ok(result) => result.map_err(|error| self.lost(error)),
            Err(_) => Err(ClientError::Silent(self.silence_max)),
        }
    }

    /// Waits until every command is on its way.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        match timeout(self.silence_max, self.socket.flush()).await {
            Ok(result) => result.map_err(|error| self.lost(error)),
            Err(_) => Err(ClientError::Silent(self.silence_max)),
        }
    }

    /// Says farewell. What was to be done is done, so nothing that goes wrong matters any more.
    pub(crate) async fn close(mut self) {
        let farewell = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_MAX, farewell).await;
    }

    /// The command `publish`, with the number that its answer will carry.
    pub(crate) fn publish(&self, id: u64, topic: &str, json: &str) -> Result<Command, ClientError> {
        let mut out = Vec::with_capacity(topic.len() + json.len() + 64);
        match self.encoding {
            Encoding::Json => {
                let topic = quoted(topic);
                out.extend_from_slice(
                    format!(r#"{{"type":"publish","id":{id},"topic":{topic},"data":{json}}}"#).as_bytes(),
                );
            }
            Encoding::MsgPack => {
                let data = Data::json(Bytes::copy_from_slice(json.as_bytes()))?;
                msgpack(&mut out, |out| {
                    rmp::encode::write_map_len(out, 4)?;
                    rmp::encode::write_str(out, "type")?;
                    rmp::encode::write_str(out, "publish")?;
                    rmp::encode::write_str(out, "id")?;
                    rmp::encode::write_uint(out, id)?;
                    rmp::encode::write_str(out, "topic")?;
                    rmp::encode::write_str(out, topic)?;
                    rmp::encode::write_str(out, "data")
                });
                data.write_to(Encoding::MsgPack, &mut out);
            }
        }
        Ok(Command(out))
    }

    /// The command `subscribe` for all of `topics`.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Command {
        let mut out = Vec::new();
        match self.encoding {
            Encoding::Json => {
                let topics: Vec<String> = topics.iter().map(|topic| quoted(topic)).collect();
                let topics = topics.join(",");
                out.extend_from_slice(format!(r#"{{"type":"subscribe","id":0,"topics":[{topics}]}}"#).as_bytes());
            }
            Encoding::MsgPack => msgpack(&mut out, |out| {
                rmp::encode::write_map_len(out, 3)?;
                rmp::encode::write_str(out, "type")?;
                rmp::encode::write_str(out, "subscribe")?;
                rmp::encode::write_str(out, "id")?;
                rmp::encode::write_uint(out, 0)?;
                rmp::encode::write_str(out, "topics")?;
                // The system bounds a command line to far less than 2^32 words.
                rmp::encode::write_array_len(out, u32::try_from(topics.len()).unwrap_or(u32::MAX))?;
                topics.iter().try_for_each(|topic| rmp::encode::write_str(out, topic))
            }),
        }
        Command(out)
    }

    fn closed(&mut self, code: Option<u16>, text: String) -> ClientError {
        let text = match self.goodbye.take() {
            Some(goodbye) => goodbye.reason,
            None => text,
        };
        ClientError::Closed(Reason { code, text })
    }

    fn lost(&mut self, error: tungstenite::Error) -> ClientError {
        match (error, &self.goodbye) {
            (tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed, _) | (_, Some(_)) => {
                self.closed(None, String::new())
            }
            (error, None) => ClientError::Lost(error),
        }
    }
}

/// A command, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Command(Vec<u8>);

impl Command {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn msgpack(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), rmp::encode::ValueWriteError>) {
    write(out).expect("a Vec takes whatever is written to it");
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}
