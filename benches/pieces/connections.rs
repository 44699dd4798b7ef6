//! Whole connections on sockets that are none: a shard that delivers, a session that carries out commands.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use fanfare::{Broker, Data, Publisher, Rate, Service};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

use super::{Operation, Piece, codec, reading};

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "shard, deliver to 100, joined", each: 100 * TURN, prepare: || deliver(100, TURN) },
    Piece { name: "shard, deliver to 100, one message", each: 100, prepare: || deliver(100, 1) },
    Piece { name: "shard, deliver to one", each: 1, prepare: || deliver(1, 1) },
    Piece { name: "session, publish acknowledged", each: COMMANDS, prepare: commands },
];

/// As many messages as are joined in a write.
const TURN: u32 = 64;

/// Commands that arrive together.
const COMMANDS: u32 = 16;

const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What a socket that is none has to give, and what it was given.
#[derive(Default)]
struct Line {
    unread: Vec<u8>,
    reader: Option<Waker>,
    written_bytes: usize,
    /// What was written, while somebody wants to know.
    written: Option<Vec<u8>>,
}

/// A socket that takes all that is written at once, and gives what it is told to.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Line>>);

impl Socket {
    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.0.lock().expect("nobody panics with it")
    }

    fn give(&self, bytes: &[u8]) {
        let mut line = self.line();
        line.unread.extend_from_slice(bytes);
        if let Some(reader) = line.reader.take() {
            reader.wake();
        }
    }

    fn written_bytes(&self) -> usize {
        self.line().written_bytes
    }

    fn listen(&self) {
        self.line().written = Some(Vec::new());
    }

    /// Whether what was listened for has come, which ends the listening.
    fn has_heard(&self, words: &str) -> bool {
        let mut line = self.line();
        let Some(written) = line.written.as_deref() else { return true };
        let has = written.windows(words.len()).any(|window| window == words.as_bytes());
        if has {
            line.written = None;
        }
        has
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = self.line();
        if line.unread.is_empty() {
            line.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = line.unread.len().min(buf.remaining());
        buf.put_slice(&line.unread[..length]);
        line.unread.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut line = self.line();
        line.written_bytes += buf.len();
        if let Some(written) = &mut line.written {
            written.extend_from_slice(buf);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A broker with connections, all in one thread.
struct Stage {
    runtime: Runtime,
    broker: Broker,
    service: Service,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = Broker::new();
        // Nobody reaches these, but everything counts.
        let endless = Rate::new(1_000_000_000, 1_000_000_000);
        let service = Service::builder(broker.clone())
            .shards(1)
            .commands_per_connection(endless)
            .publishes_per_connection(endless)
            .bytes_per_connection(endless)
            .build();
        Self { runtime, broker, service }
    }

    /// A connection that has shaken hands.
    fn connect(&self) -> Socket {
        let socket = Socket::default();
        let far = TokioIo::new(socket.clone());
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(far, self.service.clone());
        self.runtime.spawn(connection.with_upgrades());
        self.tell(&socket, HANDSHAKE, "\"welcome\"");
        socket
    }

    /// Says something and waits for the answer.
    fn tell(&self, socket: &Socket, bytes: &[u8], answer: &str) {
        socket.listen();
        socket.give(bytes);
        self.until(|| socket.has_heard(answer));
    }

    /// Lets tasks have their turns.
    fn until(&self, done: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            self.runtime.block_on(tokio::task::yield_now());
        }
        panic!("what was waited for does not come");
    }

    fn publisher(&self) -> Publisher {
        self.broker.publisher("prices.btc").expect("a name")
    }
}

fn deliver(subscribers: usize, messages: u32) -> Operation {
    let stage = Stage::new();
    let sockets: Vec<Socket> = (0..subscribers).map(|_| stage.connect()).collect();
    let subscribe = reading::frame(br#"{"type":"subscribe","id":1,"topic":"prices.btc"}"#);
    for socket in &sockets {
        stage.tell(socket, &subscribe, "\"subscribed\"");
    }
    let publisher = stage.publisher();
    let data = Data::json(codec::DATA.to_owned()).expect("carriable");
    // Only the first message names the epoch.
    for socket in &sockets {
        socket.listen();
    }
    publisher.try_publish(data.clone()).expect("nobody holds it back");
    stage.until(|| sockets.iter().all(|socket| socket.has_heard("\"message\"")));
    Box::new(move || {
        let before: Vec<usize> = sockets.iter().map(Socket::written_bytes).collect();
        let mut due = 0;
        for _ in 0..messages {
            let offset = publisher.try_publish(data.clone()).expect("the shard has its turns").offset;
            let payload = format!(r#"{{"type":"message","topic":"prices.btc","offset":{offset},"data":}}"#).len();
            // Longer than 125 bytes, so that the length takes two bytes more.
            due += 4 + payload + codec::DATA.len();
        }
        let grown = |(socket, before): (&Socket, &usize)| socket.written_bytes() - before;
        stage.until(|| sockets.iter().zip(&before).map(grown).all(|grown| grown >= due));
        for grown in sockets.iter().zip(&before).map(grown) {
            assert_eq!(grown, due);
        }
    })
}

fn commands() -> Operation {
    let stage = Stage::new();
    let socket = stage.connect();
    let publish = format!("{}{}}}", codec::PUBLISH_HEAD, codec::DATA);
    let one = reading::frame(publish.as_bytes());
    stage.tell(&socket, &one, "\"published\"");
    let frames = one.repeat(COMMANDS as usize);
    let publisher = stage.publisher();
    let data = Data::json(codec::DATA.to_owned()).expect("carriable");
    let epoch = publisher.try_publish(data).expect("there is room").epoch;
    let mut offset = 2;
    Box::new(move || {
        let before = socket.written_bytes();
        let mut due = 0;
        for _ in 0..COMMANDS {
            offset += 1;
            let answer =
                format!(r#"{{"type":"published","id":4,"topic":"prices.btc","epoch":"{epoch}","offset":{offset}}}"#);
            due += 2 + answer.len();
        }
        socket.give(&frames);
        stage.until(|| socket.written_bytes() - before >= due);
        assert_eq!(socket.written_bytes() - before, due);
    })
}
