//! Masked frames of a client, read from memory.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use fanfare::internals::ws::gated;
use fanfare::ws::{Incoming, ReadError, ReadLimits, Reader};
use fastwebsockets::{Role, WebSocketError, after_handshake_split, unmask};
use tokio::io::AsyncRead;

use super::{Operation, Piece, codec};

pub(crate) const PIECES: &[Piece] = &[
    Piece { name: "unmask 128 bytes", each: 1, prepare: mask },
    Piece { name: "read a frame", each: FRAMES, prepare: bare },
    Piece { name: "read a frame behind the gate", each: FRAMES, prepare: behind_the_gate },
    Piece { name: "read a message", each: FRAMES, prepare: message },
];

/// So many that setting a reader up hardly counts.
const FRAMES: u32 = 1_000;

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 1 << 20, fragments_max: 16 };

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A text frame as a client sends it.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).expect("no piece is longer").to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn mask() -> Operation {
    let mut payload = codec::DATA.as_bytes().to_vec();
    Box::new(move || {
        let first = payload[0];
        unmask(black_box(&mut payload), KEY);
        assert_eq!(payload[0], first ^ KEY[0]);
    })
}

fn stream() -> Vec<u8> {
    frame(codec::DATA.as_bytes()).repeat(FRAMES as usize)
}

fn bare() -> Operation {
    let stream = stream();
    Box::new(move || assert_eq!(finish(read_bare(black_box(&stream[..]))), FRAMES as usize * codec::DATA.len()))
}

fn behind_the_gate() -> Operation {
    let stream = stream();
    Box::new(move || {
        let stream = gated(black_box(&stream[..]), LIMITS);
        assert_eq!(finish(read_bare(stream)), FRAMES as usize * codec::DATA.len());
    })
}

fn message() -> Operation {
    let stream = stream();
    Box::new(move || {
        let reader = Reader::new(black_box(&stream[..]), LIMITS);
        assert_eq!(finish(read_messages(reader)), FRAMES as usize * codec::DATA.len());
    })
}

async fn read_messages(mut reader: Reader<&[u8]>) -> usize {
    let mut bytes = 0;
    loop {
        match reader.next().await {
            Ok(Incoming::Text(text)) => bytes += black_box(text).len(),
            Err(ReadError::Eof { mid_message: false }) => return bytes,
            other => unreachable!("{other:?}"),
        }
    }
}

async fn read_bare(stream: impl AsyncRead + Unpin) -> usize {
    let (mut frames, _) = after_handshake_split(stream, tokio::io::sink(), Role::Server);
    let mut bytes = 0;
    loop {
        let mut send = |_| ready(Ok::<(), Infallible>(()));
        match frames.read_frame(&mut send).await {
            Ok(frame) => bytes += black_box(frame.payload).len(),
            Err(WebSocketError::UnexpectedEOF) => return bytes,
            Err(error) => unreachable!("{error}"),
        }
    }
}

/// Runs a future that never waits.
fn finish<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a slice of memory is always ready"),
    }
}
