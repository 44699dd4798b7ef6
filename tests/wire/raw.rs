//! A peer that can break every rule of RFC 6455: plain bytes over a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::PATIENCE;
pub(crate) use crate::frames::{frame, head};
use crate::http::Reply;
use crate::server::Server;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// The handshake of RFC 6455, 1.3.
pub(crate) const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// A connection on which nothing has been said.
    pub(crate) fn dial(server: &Server) -> Raw {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        Raw { stream }
    }

    /// A connection that has been upgraded and welcomed.
    pub(crate) fn connect(server: &Server) -> Raw {
        let mut raw = Raw::dial(server);
        raw.write(HANDSHAKE.as_bytes());
        assert_eq!(raw.reply().status, 101);
        let (first, welcome) = raw.frame().expect("a welcome");
        assert_eq!(first, TEXT);
        assert!(welcome.starts_with(b"{\"type\":\"welcome\""));
        raw
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// Sends as far as the server, which may have hung up, goes along.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a frame as a client must, masked.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    /// The head of an HTTP response. It is read byte by byte: frames may follow.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).expect("a response");
            head.push(byte[0]);
        }
        Reply::parse(&head)
    }

    /// What one read gives.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let read = self.stream.read(&mut bytes).expect("an answer");
        bytes.truncate(read);
        bytes
    }

    /// Reads so many bytes, whatever they are.
    pub(crate) fn skip(&mut self, count: usize) {
        self.stream.read_exact(&mut vec![0; count]).expect("a body");
    }

    /// The first byte and the payload of the next frame; `None` once the server has hung up.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
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
        self.stream.read_exact(&mut array).expect("the rest of a frame's head");
        array
    }

    /// The server says goodbye, closes with this code and hangs up.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) {
        loop {
            match self.frame() {
                Some((CLOSE, payload)) => {
                    assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code, "{payload:?}");
                    break;
                }
                Some((TEXT, text)) => {
                    let event: serde_json::Value = serde_json::from_slice(&text).expect("the server writes JSON");
                    assert_eq!((event["type"].as_str(), event["code"].as_u64()), (Some("goodbye"), Some(code.into())));
                }
                other => panic!("a close with {code} was expected, not {other:?}"),
            }
        }
        self.try_write(&frame(CLOSE, &code.to_be_bytes()));
        assert_eq!(self.frame(), None, "nothing follows a close");
    }

    /// The server hangs up, whatever it says before.
    pub(crate) fn expect_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not hang up: {error}"),
        }
        rest
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a socket can be half closed");
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
