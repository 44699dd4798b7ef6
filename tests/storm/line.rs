//! One connection of a guest: the handshake, frames, and a model that checks each event.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::frames::frame;
use crate::ledger::Ledger;
use crate::model::{Answer, Model};
use crate::outside::Outside;

const HANDSHAKE: &str = "GET /ws?deflate=off HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What the server may close a connection with.
const CODES: [u64; 5] = [1000, 1012, 4008, 4408, 4409];

pub(crate) struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    pub(crate) model: Model,
    ledger: Arc<Mutex<Ledger>>,
    outside: Arc<Outside>,
    ids: u64,
    pub(crate) is_open: bool,
}

impl Line {
    /// `None` if it does not come about: the server is away, or the proxy has cut it.
    pub(crate) async fn open(
        address: SocketAddr,
        number: u64,
        ledger: &Arc<Mutex<Ledger>>,
        outside: &Arc<Outside>,
    ) -> Option<Line> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a socket takes a size");
        let mut stream = socket.connect(address).await.ok()?;
        stream.write_all(HANDSHAKE.as_bytes()).await.ok()?;
        let mut unread = Vec::new();
        let end = loop {
            let read = timeout(Duration::from_secs(5), stream.read_buf(&mut unread)).await.ok()?.ok()?;
            if read == 0 {
                return None;
            }
            if let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        // It may be full of those whom it takes for alive, or about to end.
        if unread.starts_with(b"HTTP/1.1 503 ") {
            return None;
        }
        assert!(unread.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&unread));
        unread.drain(..end);
        let mut line = Line {
            stream,
            unread,
            model: Model::new(number),
            ledger: Arc::clone(ledger),
            outside: Arc::clone(outside),
            ids: 0,
            is_open: true,
        };
        line.take_frames().await;
        Some(line)
    }

    pub(crate) async fn say(&mut self, mut command: Value, answers: Vec<Answer>) {
        if !answers.is_empty() {
            self.ids += 1;
            command["id"] = json!(self.ids);
        }
        self.model.asked(self.ids, answers);
        self.write(&frame(0x81, command.to_string().as_bytes())).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        // Who does not read may find that nobody reads it any more.
        match timeout(Duration::from_secs(2), self.stream.write_all(bytes)).await {
            Ok(Ok(())) => {}
            _ => self.over(),
        }
    }

    pub(crate) async fn listen(&mut self, until: Instant) {
        while self.is_open {
            // A read that is given up has taken nothing.
            match timeout_at(until, self.stream.read_buf(&mut self.unread)).await {
                Err(_) => return,
                Ok(Ok(1..)) => self.take_frames().await,
                Ok(_) => self.over(),
            }
        }
    }

    async fn take_frames(&mut self) {
        let mut at = 0;
        while let Some((first, payload)) = whole_frame(&self.unread[at..]) {
            let payload = at + payload.start..at + payload.end;
            at = payload.end;
            let payload = self.unread[payload].to_vec();
            match first {
                0x81 => {
                    let event = serde_json::from_slice(&payload).expect("the server writes JSON");
                    self.model.hear(&event, &mut lock(&self.ledger), &*self.outside);
                }
                0x88 => {
                    let code = u64::from(u16::from_be_bytes([payload[0], payload[1]]));
                    assert!(CODES.contains(&code), "closed with {code}");
                    self.model.closed = Some(code);
                }
                0x89 => self.write(&frame(0x8A, &payload)).await,
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
        self.unread.drain(..at);
    }

    /// Nothing more will come.
    pub(crate) fn over(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.model.finish(&mut lock(&self.ledger));
        }
    }
}

/// The first byte of the first frame, and where its payload is, once it has come whole.
fn whole_frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match short {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = start + usize::try_from(length).expect("a length that fits");
    (bytes.len() >= end).then_some((first, start..end))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
