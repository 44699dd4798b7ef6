//! A peer that says what it likes, from whatever address of this machine, and what it is answered.

use std::fmt;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::PATIENCE;
use crate::frames::frame;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// The request of RFC 6455, 1.3, with these lines besides.
pub(crate) fn handshake(lines: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// What the server says to an attacker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// An HTTP response with that status.
    Status(u16),
    /// The connection is closed with that code.
    Close(u16),
    /// An error with that code, on a connection that stays open.
    Error(String),
    /// The connection ends without a word.
    HungUp,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Status(status) => write!(f, "{status}"),
            Answer::Close(code) => write!(f, "close {code}"),
            Answer::Error(code) => write!(f, "error {code}"),
            Answer::HungUp => f.write_str("hung up"),
        }
    }
}

/// One connection.
pub(crate) struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    /// A connection from the machine's usual address.
    pub(crate) fn to(server: SocketAddr) -> Peer {
        Peer::from(Ipv4Addr::LOCALHOST, server).expect("the server accepts")
    }

    /// A connection from one address of 127.0.0.0/8, all of which are this machine's; `None` if it is refused.
    pub(crate) fn from(address: Ipv4Addr, server: SocketAddr) -> Option<Peer> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address of this machine");
        match socket.connect(&server.into()) {
            // Let in and hung up on before this thread was told: it shows when it is read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            connected => connected.ok()?,
        }
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_nodelay(true).expect("a socket can be told not to wait");
        Some(Peer { stream, unread: Vec::new() })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // Whoever is refused early notices when it reads.
        let _ = self.stream.write_all(bytes);
    }

    /// Writes a byte at a time, with pauses, until all is written or the server has ended it.
    pub(crate) fn trickle(&mut self, bytes: &[u8], pause: Duration) {
        self.stream.set_read_timeout(Some(pause)).expect("a socket takes a time limit");
        for byte in bytes {
            if self.stream.write_all(&[*byte]).is_err() || self.fill() == Some(false) {
                break;
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    }

    pub(crate) fn send(&mut self, command: &str) {
        self.write(&frame(TEXT, command.as_bytes()));
    }

    /// Ends the connection by a reset, as a crash does.
    pub(crate) fn vanish(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket can be told to");
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.unread.is_empty(), "nothing is read ahead");
        self.stream
    }

    /// Reads once more: whether something came. `None` if nothing did in time.
    fn fill(&mut self) -> Option<bool> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(false),
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(_) => Some(false),
        }
    }

    fn await_more(&mut self) -> bool {
        self.fill().expect("the server says something in time")
    }

    /// The status of the next HTTP response, which is read whole; `None` if the server hangs up instead.
    pub(crate) fn status(&mut self) -> Option<u16> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.await_more() {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = str::from_utf8(&head).expect("a head is ASCII").to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let body = body.unwrap_or(0);
        while self.unread.len() < body && self.await_more() {}
        self.unread.drain(..body.min(self.unread.len()));
        Some(status.expect("a status"))
    }

    /// What becomes of a request.
    pub(crate) fn ask(&mut self, request: &str) -> Answer {
        self.write(request.as_bytes());
        self.http_answer()
    }

    /// What becomes of a command that is refused.
    pub(crate) fn tell(&mut self, command: &str) -> Answer {
        self.show(&frame(TEXT, command.as_bytes()))
    }

    /// How the connection ends after a command.
    pub(crate) fn ask_to_the_end(&mut self, command: &str) -> Answer {
        self.send(command);
        self.end()
    }

    /// What becomes of such bytes.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> Answer {
        self.write(bytes);
        self.answer()
    }

    /// Sends one after the other until the connection ends, with a thread that reads what is answered.
    pub(crate) fn flood(&mut self, first: u8, payload: impl Fn(u32) -> String) -> Answer {
        let mut writer = self.another_end();
        thread::scope(|scope| {
            let reader = scope.spawn(move || self.end());
            for number in 0.. {
                let frames: Vec<u8> =
                    (0..50).flat_map(|nth| frame(first, payload(50 * number + nth).as_bytes())).collect();
                if reader.is_finished() || writer.write_all(&frames).is_err() {
                    break;
                }
            }
            reader.join().expect("the server speaks the protocol")
        })
    }

    /// Another handle to the connection, to write while this one reads.
    fn another_end(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be shared")
    }

    /// Reads nothing, and writes these bytes one at a time, until the connection has ended.
    pub(crate) fn never_read(&mut self, bytes: &[u8], pause: Duration) -> Answer {
        self.stream.set_write_timeout(Some(pause)).expect("a socket takes a time limit");
        let is_full = |error: &Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        for byte in bytes {
            if self.stream.write(&[*byte]).is_err_and(|error| !is_full(&error)) {
                return Answer::HungUp;
            }
            thread::sleep(pause);
        }
        panic!("whoever never reads is served for ever");
    }

    /// The next frame; `None` if the server hangs up instead.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, payload)) = whole_frame(&self.unread) {
                let frame = (first, self.unread[payload.clone()].to_vec());
                self.unread.drain(..payload.end);
                return Some(frame);
            }
            if !self.await_more() {
                return None;
            }
        }
    }

    /// The next event; `None` if the connection ends instead.
    pub(crate) fn event(&mut self) -> Option<Value> {
        loop {
            match self.frame()? {
                (TEXT, text) => return Some(serde_json::from_slice(&text).expect("the server writes JSON")),
                (CLOSE, _) => return None,
                _ => {}
            }
        }
    }

    /// What becomes of an HTTP request.
    pub(crate) fn http_answer(&mut self) -> Answer {
        self.status().map_or(Answer::HungUp, Answer::Status)
    }

    /// The first error, or how the connection ends, whatever else is said before.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            match self.frame() {
                Some((TEXT, text)) => {
                    let event: Value = serde_json::from_slice(&text).expect("the server writes JSON");
                    if event["type"] == "error" {
                        return Answer::Error(event["code"].as_str().expect("a code").to_owned());
                    }
                }
                Some((CLOSE, payload)) => return Answer::Close(u16::from_be_bytes([payload[0], payload[1]])),
                Some(_) => {}
                None => return Answer::HungUp,
            }
        }
    }

    /// How the connection ends, whatever is said before.
    pub(crate) fn end(&mut self) -> Answer {
        loop {
            match self.answer() {
                Answer::Error(_) => {}
                end => return end,
            }
        }
    }
}

/// The first byte of the first frame of a server, and where its payload is, once it has come whole.
pub(crate) fn whole_frame(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match short {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = start + usize::try_from(length).expect("a length that fits");
    (bytes.len() >= end).then_some((first, start..end))
}
