//! A client that can break every rule: plain bytes over a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::PATIENCE;
use crate::echo::Echo;
pub(crate) use crate::frames::{frame, head, masked};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const RSV2: u8 = 0x20;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The handshake of RFC 6455, 1.3, with no more than it needs.
pub(crate) const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub(crate) struct Peer<'a> {
    stream: TcpStream,
    /// Lives as long as the connection is to.
    _server: &'a Echo,
}

/// The head of the answer to a handshake.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl<'a> Peer<'a> {
    /// A connection on which nothing has been said.
    pub(crate) fn dial(echo: &'a Echo) -> Peer<'a> {
        let stream = TcpStream::connect(echo.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_nodelay(true).expect("a socket can be told not to wait");
        Peer { stream, _server: echo }
    }

    /// A connection after the handshake, without any extension.
    pub(crate) fn connect(echo: &'a Echo) -> Peer<'a> {
        let mut peer = Peer::dial(echo);
        peer.write(HANDSHAKE.as_bytes());
        assert_eq!(peer.reply().status, 101);
        peer
    }

    /// A connection after a handshake with these lines of extensions, and what the server agreed to.
    #[track_caller]
    pub(crate) fn offer(echo: &'a Echo, lines: &[&str]) -> (Peer<'a>, Option<String>) {
        let mut handshake = HANDSHAKE.trim_end().to_owned();
        for line in lines {
            handshake += &format!("\r\nSec-WebSocket-Extensions: {line}");
        }
        let mut peer = Peer::dial(echo);
        peer.write(format!("{handshake}\r\n\r\n").as_bytes());
        let reply = peer.reply();
        assert_eq!(reply.status, 101, "{lines:?}");
        let answer = reply.header("sec-websocket-extensions").map(str::to_owned);
        (peer, answer)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// Sends as far as the server, which may have hung up, goes along.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends every byte on its own.
    pub(crate) fn trickle(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write(&[*byte]);
        }
    }

    /// Sends a frame as a client must, masked. `first` is its first byte: FIN, reserved bits, opcode.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a socket can be half closed");
    }

    /// The head of an HTTP response. It is read byte by byte: frames may follow.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend_from_slice(&self.array::<1>());
        }
        let head = String::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Reply { status: status.expect("a status"), headers: lines.map(header).collect() }
    }

    /// The first byte and the payload of the next frame; `None` once the server has hung up, with nothing
    /// left unread: else this side sees a reset, and may lose what was sent before.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("a frame was expected: {error}"),
        }
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.array())),
            127 => u64::from_be_bytes(self.array()),
            short => {
                assert!(short < 126, "a server must not mask");
                u64::from(short)
            }
        };
        let mut payload = vec![0; usize::try_from(length).expect("a length that fits")];
        self.stream.read_exact(&mut payload).expect("a payload");
        Some((head[0], payload))
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        self.stream.read_exact(&mut array).expect("more bytes");
        array
    }

    /// Passes over the body of a response.
    pub(crate) fn skip(&mut self, length: usize) {
        self.stream.read_exact(&mut vec![0; length]).expect("a body");
    }

    /// The next frame is this one, as short as it can be written.
    #[track_caller]
    pub(crate) fn expect(&mut self, first: u8, payload: &[u8]) {
        let (found, came) = self.frame().expect("a frame, not the end");
        assert_eq!(found, first, "{:?}", String::from_utf8_lossy(&came));
        assert!(came == payload, "{} bytes were expected, other {} came", payload.len(), came.len());
    }

    /// The server sends exactly these bytes next.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, bytes: &[u8]) {
        let mut came = vec![0; bytes.len()];
        self.stream.read_exact(&mut came).expect("more bytes");
        assert_eq!(came, bytes);
    }

    /// The server closes with this code, and hangs up without waiting for an answer.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.frame().expect("a close frame, not the end");
        assert_eq!(first, FIN | CLOSE, "{:?}", String::from_utf8_lossy(&payload));
        let (found, reason) = payload.split_first_chunk().expect("a code");
        assert_eq!(u16::from_be_bytes(*found), code, "{:?}", String::from_utf8_lossy(reason));
        self.expect_end();
    }

    /// The server hangs up, with nothing before.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.frame(), None, "nothing was to follow");
    }

    /// Everything that comes until the server hangs up.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not hang up: {error}"),
        }
        rest
    }
}

impl Reply {
    /// The value of a header that is there at most once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }
}

/// What the server does about these bytes on a connection of their own: it closes with this code.
#[track_caller]
pub(crate) fn refused(echo: &Echo, bytes: &[u8], code: u16) {
    let mut peer = Peer::connect(echo);
    peer.write(bytes);
    peer.expect_close(code);
}

/// A message in fragments: all but the last without FIN, all but the first continuations. `kind` is the
/// opcode, and RSV1 where it is compressed.
pub(crate) fn fragments(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let first = |index| if index == 0 { kind } else { CONTINUATION } | if index == last { FIN } else { 0 };
    parts.iter().enumerate().flat_map(|(index, part)| frame(first(index), part)).collect()
}
