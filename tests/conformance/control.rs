//! Control frames: RFC 6455, 5.5.

use crate::echo::Echo;
use crate::peer::{CLOSE, FIN, PING, PONG, Peer, TEXT, frame, head, refused};

const PROTOCOL: u16 = 1002;

#[test]
fn rfc6455_5_5_control_frames_have_at_most_125_bytes() {
    let echo = Echo::start();
    for opcode in [CLOSE, PING, PONG] {
        // At the head: the payload does not come.
        for length in [126, 127, 65_535, 65_536] {
            refused(&echo, &head(FIN | opcode, 0x80, length), PROTOCOL);
        }
    }
    let mut peer = Peer::connect(&echo);
    peer.send(FIN | PONG, &[b'x'; 125]);
    peer.send(FIN | PING, &[b'x'; 125]);
    peer.expect(FIN | PONG, &[b'x'; 125]);
}

#[test]
fn rfc6455_5_5_control_frames_are_not_fragmented() {
    let echo = Echo::start();
    for opcode in [CLOSE, PING, PONG] {
        refused(&echo, &frame(opcode, b""), PROTOCOL);
        refused(&echo, &[frame(TEXT, b"x"), frame(opcode, b"")].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_5_2_a_ping_is_answered_with_its_payload() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for payload in [&b""[..], b"hello", &[0xFF, 0, 0x80], &[0xFE; 124], &[0xFF; 125]] {
        peer.send(FIN | PING, payload);
        peer.expect(FIN | PONG, payload);
    }
}

#[test]
fn rfc6455_5_5_2_pings_are_answered_in_order_among_messages() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let mut bytes = Vec::new();
    for number in 0..100_u8 {
        bytes.extend(frame(FIN | PING, &[number]));
        bytes.extend(frame(FIN | TEXT, number.to_string().as_bytes()));
    }
    peer.write(&bytes);
    for number in 0..100_u8 {
        peer.expect(FIN | PONG, &[number]);
        peer.expect(FIN | TEXT, number.to_string().as_bytes());
    }
}

#[test]
fn rfc6455_5_5_3_a_pong_that_nobody_asked_for_means_nothing() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for payload in [&b""[..], b"unasked", &[0xFF; 125]] {
        peer.send(FIN | PONG, payload);
    }
    peer.send(FIN | TEXT, b"still here");
    peer.expect(FIN | TEXT, b"still here");
}
