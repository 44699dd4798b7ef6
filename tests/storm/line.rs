//! One connection of a guest: the handshake, frames, and a model that checks each event.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::frames::{self, frame, inflate, whole_frame};
use crate::ledger::Ledger;
use crate::model::{Answer, Model};
use crate::outside::{Outside, STRICT};
use crate::random::Random;

pub(crate) struct Line {
    stream: TcpStream,
    in_msgpack: bool,
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
        random: &mut Random,
        ledger: &Arc<Mutex<Ledger>>,
        outside: &Arc<Outside>,
    ) -> Option<Line> {
        let in_msgpack = random.one_in(2);
        let handshake = handshake(in_msgpack, random.one_in(2));
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a socket takes a size");
        let mut stream = socket.connect(address).await.ok()?;
        stream.write_all(handshake.as_bytes()).await.ok()?;
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
            in_msgpack,
            unread,
            model: Model::new(number, None),
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
        self.model.asked(self.ids, answers, &mut lock(&self.ledger));
        self.write(&frames::command(&command, self.in_msgpack)).await;
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
            let mut payload = self.unread[payload].to_vec();
            if first & 0x40 != 0 {
                lock(&self.ledger).tally.count("compressed");
                payload = inflate(&payload);
            }
            match first & !0x40 {
                0x88 => self.closed(u64::from(u16::from_be_bytes([payload[0], payload[1]]))),
                0x89 => self.write(&frame(0x8A, &payload)).await,
                first => {
                    let event = frames::event(first, &payload, self.in_msgpack);
                    self.model.hear(&event, &mut lock(&self.ledger), &*self.outside);
                }
            }
        }
        self.unread.drain(..at);
    }

    /// The server closes, which it must have a reason to.
    fn closed(&mut self, code: u64) {
        self.model.closed = Some(code);
        let tally = &mut lock(&self.ledger).tally;
        match code {
            // It ends, or somebody took this one's place.
            1012 | 4409 => {}
            4008 => {
                assert!(self.model.may_follow(STRICT), "closed for being slow, where nobody asked for it");
                tally.count("too slow");
            }
            // The proxy stalls as it likes.
            4408 => tally.count("taken for dead"),
            other => panic!("closed with {other}"),
        }
    }

    /// Nothing more will come.
    pub(crate) fn over(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.model.finish(&mut lock(&self.ledger));
        }
    }
}

fn handshake(in_msgpack: bool, compresses: bool) -> String {
    let protocol = if in_msgpack { "fanfare.v1.msgpack" } else { "fanfare.v1.json" };
    let compression = if compresses { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n{compression}\r\n"
    )
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
