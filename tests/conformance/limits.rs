//! Limits: RFC 6455, 10.4.

use crate::echo::Echo;
use crate::peer::{BINARY, CONTINUATION, FIN, Peer, TEXT, fragments, frame, head, refused};

const TOO_BIG: u16 = 1009;

/// Both as `examples/echo.rs` has them.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const FRAGMENTS_MAX: usize = 65_537;

#[test]
fn rfc6455_10_4_the_largest_message_comes_back() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let message = vec![b'x'; MESSAGE_BYTES_MAX];
    peer.send(FIN | TEXT, &message);
    peer.expect(FIN | TEXT, &message);
    peer.write(&fragments(BINARY, &message.chunks(1 << 20).collect::<Vec<_>>()));
    peer.expect(FIN | BINARY, &message);
}

#[test]
fn rfc6455_10_4_a_larger_message_is_refused_at_the_head_that_says_so() {
    let echo = Echo::start();
    for length in [MESSAGE_BYTES_MAX as u64 + 1, 1 << 32, 1 << 62, (1 << 63) - 1] {
        refused(&echo, &head(FIN | BINARY, 0x80, length), TOO_BIG);
        refused(&echo, &head(TEXT, 0x80, length), TOO_BIG);
    }
    // All fragments count together.
    let mut peer = Peer::connect(&echo);
    peer.send(BINARY, &vec![0; MESSAGE_BYTES_MAX / 2]);
    peer.send(CONTINUATION, &vec![0; MESSAGE_BYTES_MAX / 2]);
    peer.write(&head(FIN | CONTINUATION, 0x80, 1));
    peer.expect_close(TOO_BIG);
}

#[test]
fn rfc6455_10_4_as_many_fragments_as_allowed_come_back() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let message = vec![b'f'; FRAGMENTS_MAX];
    peer.write(&fragments(TEXT, &message.chunks(1).collect::<Vec<_>>()));
    peer.expect(FIN | TEXT, &message);
}

#[test]
fn rfc6455_10_4_more_fragments_are_refused() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let mut bytes = frame(TEXT, b"");
    for _ in 0..FRAGMENTS_MAX {
        bytes.extend(frame(CONTINUATION, b""));
    }
    peer.write(&bytes);
    peer.expect_close(TOO_BIG);
}
