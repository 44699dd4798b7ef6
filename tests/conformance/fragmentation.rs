//! Fragments: RFC 6455, 5.4.

use crate::echo::Echo;
use crate::peer::{BINARY, CONTINUATION, FIN, PING, PONG, Peer, TEXT, fragments, frame, refused};

const PROTOCOL: u16 = 1002;

#[test]
fn rfc6455_5_4_a_message_in_fragments_comes_back_whole() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let message: Vec<u8> = (0..10_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
    for size in [1, 2, 3, 125, 126, 1000, 4096, 5000, 9999] {
        let parts: Vec<&[u8]> = message.chunks(size).collect();
        for opcode in [TEXT, BINARY] {
            peer.write(&fragments(opcode, &parts));
            peer.expect(FIN | opcode, &message);
        }
    }
}

#[test]
fn rfc6455_5_4_fragments_may_be_empty() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for parts in [&[&b""[..], b""][..], &[b"", b"", b""], &[b"", b"x", b""], &[b"x", b"", b"", b"y"], &[b"x", b""]] {
        peer.write(&fragments(TEXT, parts));
        peer.expect(FIN | TEXT, &parts.concat());
    }
}

#[test]
fn rfc6455_5_4_long_fragments_come_back_whole() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let parts: Vec<Vec<u8>> = [70_000, 0, 65_536, 1, 200_000].iter().map(|&length| vec![0xAB; length]).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    peer.write(&fragments(BINARY, &parts));
    peer.expect(FIN | BINARY, &parts.concat());
}

#[test]
fn rfc6455_5_4_a_continuation_of_nothing_is_refused() {
    let echo = Echo::start();
    refused(&echo, &frame(FIN | CONTINUATION, b"x"), PROTOCOL);
    refused(&echo, &frame(CONTINUATION, b"x"), PROTOCOL);

    // A message that was whole, in one frame or in several, leaves nothing to continue.
    for message in [frame(FIN | TEXT, b"ab"), fragments(TEXT, &[b"a", b"b"])] {
        let mut peer = Peer::connect(&echo);
        peer.write(&[message, frame(FIN | CONTINUATION, b"x")].concat());
        peer.expect(FIN | TEXT, b"ab");
        peer.expect_close(PROTOCOL);
    }
}

#[test]
fn rfc6455_5_4_a_message_inside_another_is_refused() {
    let echo = Echo::start();
    for inner in [FIN | TEXT, FIN | BINARY, TEXT, BINARY] {
        refused(&echo, &[frame(TEXT, b"x"), frame(inner, b"y")].concat(), PROTOCOL);
        refused(&echo, &[frame(BINARY, b"x"), frame(CONTINUATION, b"y"), frame(inner, b"z")].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_4_control_frames_between_fragments_are_answered_at_once() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.send(TEXT, b"first ");
    for payload in [&b"one"[..], b"two"] {
        peer.send(FIN | PING, payload);
        peer.expect(FIN | PONG, payload);
    }
    peer.send(FIN | PONG, b"unasked");
    peer.send(CONTINUATION, b"second ");
    peer.send(FIN | PING, b"three");
    peer.expect(FIN | PONG, b"three");
    peer.send(FIN | CONTINUATION, b"third");
    peer.expect(FIN | TEXT, b"first second third");
}

#[test]
fn rfc6455_5_4_fragments_may_come_byte_by_byte() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let ping = frame(FIN | PING, b"p");
    peer.trickle(
        &[frame(TEXT, b"a"), ping.clone(), frame(CONTINUATION, b"bc"), ping, frame(FIN | CONTINUATION, b"")].concat(),
    );
    peer.expect(FIN | PONG, b"p");
    peer.expect(FIN | PONG, b"p");
    peer.expect(FIN | TEXT, b"abc");
}
