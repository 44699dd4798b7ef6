//! Frames: RFC 6455, 5.1 to 5.3 and 5.7.

use crate::echo::Echo;
use crate::peer::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Peer, TEXT, frame, head, masked, refused};

const PROTOCOL: u16 = 1002;

#[test]
fn rfc6455_5_1_a_frame_that_is_not_masked_is_refused() {
    let echo = Echo::start();
    for first in [FIN | TEXT, FIN | BINARY, TEXT, FIN | CLOSE, FIN | PING, FIN | PONG] {
        // At its second byte: the rest does not come.
        refused(&echo, &head(first, 0, 5), PROTOCOL);
        refused(&echo, &[&head(first, 0, 5)[..], b"hello"].concat(), PROTOCOL);
    }
    refused(&echo, &[frame(TEXT, b"x"), head(FIN | CONTINUATION, 0, 0)].concat(), PROTOCOL);
}

#[test]
fn rfc6455_5_2_payloads_of_every_length_come_back() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for length in (0..=130).chain([1000, 4095, 4096, 4097, 8192, 65_534, 65_535, 65_536, 65_537, 131_072, 1 << 20]) {
        let payload: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        for opcode in [TEXT, BINARY] {
            peer.send(FIN | opcode, &payload);
            peer.expect(FIN | opcode, &payload);
        }
    }
}

#[test]
fn rfc6455_5_2_the_longest_length_form_is_read_and_written() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.send(FIN | BINARY, &[7; 65_536]);
    peer.expect_bytes(&[FIN | BINARY, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    peer.skip(65_536);
    peer.send(FIN | BINARY, &[7; 65_535]);
    peer.expect_bytes(&[FIN | BINARY, 126, 0xFF, 0xFF]);
    peer.skip(65_535);
    peer.send(FIN | BINARY, &[7; 125]);
    peer.expect_bytes(&[FIN | BINARY, 125]);
}

#[test]
fn rfc6455_5_2_lengths_that_are_not_minimal_are_refused() {
    let echo = Echo::start();
    for length in [0_u16, 1, 125] {
        refused(&echo, &[&[FIN | TEXT, 0x80 | 126][..], &length.to_be_bytes()].concat(), PROTOCOL);
        refused(&echo, &[&[FIN | PING, 0x80 | 126][..], &length.to_be_bytes()].concat(), PROTOCOL);
    }
    for length in [0_u64, 125, 126, 65_535] {
        refused(&echo, &[&[FIN | BINARY, 0x80 | 127][..], &length.to_be_bytes()].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_2_a_length_with_its_top_bit_set_is_refused() {
    let echo = Echo::start();
    for length in [1 << 63, 1 << 63 | 70_000, u64::MAX] {
        refused(&echo, &[&[FIN | BINARY, 0x80 | 127][..], &u64::to_be_bytes(length)].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_2_reserved_bits_without_an_extension_are_refused() {
    let echo = Echo::start();
    for bits in (0x10..=0x70).step_by(0x10) {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            refused(&echo, &frame(FIN | bits | opcode, b""), PROTOCOL);
        }
        refused(&echo, &[frame(TEXT, b"x"), frame(FIN | bits | CONTINUATION, b"")].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_2_reserved_opcodes_are_refused() {
    let echo = Echo::start();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refused(&echo, &frame(FIN | opcode, b""), PROTOCOL);
        refused(&echo, &frame(opcode, b"x"), PROTOCOL);
        refused(&echo, &[frame(TEXT, b"x"), frame(FIN | opcode, b"")].concat(), PROTOCOL);
    }
}

#[test]
fn rfc6455_5_2_a_bad_first_byte_is_refused_before_the_second_comes() {
    let echo = Echo::start();
    for first in [FIN | 0x20 | TEXT, FIN | 3, FIN | CONTINUATION, PING] {
        refused(&echo, &[first], PROTOCOL);
    }
}

#[test]
fn rfc6455_5_2_what_came_before_a_bad_frame_is_answered() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let frames = [frame(FIN | TEXT, b"good"), frame(FIN | PING, b"p"), frame(FIN | 3, b""), frame(FIN | TEXT, b"late")];
    peer.write(&frames.concat());
    peer.expect(FIN | TEXT, b"good");
    peer.expect(FIN | PONG, b"p");
    peer.expect_close(PROTOCOL);
}

#[test]
fn rfc6455_5_3_any_masking_key_is_taken_off() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for key in [[0; 4], [0xFF; 4], [1, 2, 3, 4], [0x80, 0, 0, 1], *b"mask"] {
        for length in (0..=17).chain([125, 126, 4099, 65_536]) {
            let payload: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            peer.write(&masked(FIN | BINARY, key, &payload));
            peer.expect(FIN | BINARY, &payload);
        }
    }
}

#[test]
fn rfc6455_5_7_the_masked_hello_of_the_standard_is_read() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.write(&[0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
    peer.expect_bytes(&[0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
    peer.write(&[0x89, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
    peer.expect_bytes(&[0x8A, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
}

#[test]
fn rfc6455_5_2_frames_may_come_byte_by_byte() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let long = vec![b'x'; 300];
    peer.trickle(&[frame(FIN | PING, b"p"), frame(FIN | TEXT, &long), frame(FIN | BINARY, b"")].concat());
    peer.expect(FIN | PONG, b"p");
    peer.expect(FIN | TEXT, &long);
    peer.expect(FIN | BINARY, b"");
}

#[test]
fn rfc6455_5_2_an_answer_does_not_wait_for_the_rest_of_the_next_frame() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let next = frame(FIN | TEXT, &[b'n'; 200]);
    for cut in [1, 2, 3, 4, 7, 8, 9, 100] {
        peer.write(&[&frame(FIN | TEXT, b"whole")[..], &next[..cut]].concat());
        peer.expect(FIN | TEXT, b"whole");
        peer.write(&next[cut..]);
        peer.expect(FIN | TEXT, &[b'n'; 200]);
    }
}
