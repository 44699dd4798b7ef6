//! Closing: RFC 6455, 5.5.1 and 7.

use crate::echo::Echo;
use crate::peer::{CLOSE, FIN, PING, PONG, Peer, TEXT, fragments, frame, head, refused};

const PROTOCOL: u16 = 1002;
const INVALID_DATA: u16 = 1007;

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

#[test]
fn rfc6455_5_5_1_a_close_is_answered_with_its_code() {
    let echo = Echo::start();
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let mut peer = Peer::connect(&echo);
        peer.write(&close(code, b"bye"));
        peer.expect_close(code);
    }
}

#[test]
fn rfc6455_5_5_1_a_close_without_a_code_is_answered_without_one() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.send(FIN | CLOSE, b"");
    peer.expect(FIN | CLOSE, b"");
    peer.expect_end();
}

#[test]
fn rfc6455_5_5_1_half_a_code_is_refused() {
    refused(&Echo::start(), &frame(FIN | CLOSE, &[3]), PROTOCOL);
}

#[test]
fn rfc6455_5_5_1_a_reason_is_utf_8_of_up_to_123_bytes() {
    let echo = Echo::start();
    for reason in [&b""[..], &[b'x'; 123], "Zoë ✓ 𝄞".as_bytes()] {
        let mut peer = Peer::connect(&echo);
        peer.write(&close(1000, reason));
        peer.expect_close(1000);
    }
    for reason in [&b"\xFF"[..], b"ends inside \xE2\x82", b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90\x80\x80"] {
        refused(&echo, &close(1000, reason), INVALID_DATA);
    }
}

#[test]
fn rfc6455_5_5_1_nothing_after_a_close_is_looked_at() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let after = [frame(FIN | TEXT, b"late"), frame(FIN | PING, b"late"), frame(FIN | 3, b"late"), close(1001, b"")];
    peer.write(&[frame(FIN | TEXT, b"in time"), close(1000, b""), after.concat()].concat());
    peer.expect(FIN | TEXT, b"in time");
    peer.expect_close(1000);
}

#[test]
fn rfc6455_5_5_1_a_close_inside_a_fragmented_message_is_answered() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.write(&[frame(TEXT, b"never ends"), close(1001, b"")].concat());
    peer.expect_close(1001);
}

#[test]
fn rfc6455_7_1_1_the_server_hangs_up_first() {
    // The socket of this side stays open all the while: `expect_close` sees the end of the other.
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.write(&close(1000, b""));
    peer.expect_close(1000);
    peer.try_write(&frame(FIN | TEXT, b"nobody hears"));
}

#[test]
fn rfc6455_7_1_4_a_peer_that_sends_no_more_gets_its_answers() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.write(&[frame(FIN | TEXT, b"last words"), frame(FIN | PING, b"p")].concat());
    peer.finish();
    peer.expect(FIN | TEXT, b"last words");
    peer.expect(FIN | PONG, b"p");
    peer.expect_end();
}

#[test]
fn rfc6455_7_1_4_a_peer_that_stops_inside_a_message_is_hung_up_on() {
    let echo = Echo::start();
    let whole = fragments(TEXT, &[b"one ", b"two"]);
    for cut in 1..whole.len() {
        let mut peer = Peer::connect(&echo);
        peer.write(&whole[..cut]);
        peer.finish();
        peer.expect_end();
    }
}

#[test]
fn rfc6455_7_1_7_the_close_frame_arrives_although_the_peer_goes_on_sending() {
    let echo = Echo::start();
    for _ in 0..5 {
        let mut peer = Peer::connect(&echo);
        peer.write(&head(FIN | TEXT, 0, 5));
        // A server that hung up with these unread would reset the connection, and the writes would fail.
        for _ in 0..64 {
            peer.write(&[0; 64 * 1024]);
        }
        peer.expect_close(PROTOCOL);
    }
}

#[test]
fn rfc6455_7_1_7_other_connections_live_on_when_one_fails() {
    let echo = Echo::start();
    let mut bystander = Peer::connect(&echo);
    refused(&echo, &frame(FIN | 3, b""), PROTOCOL);
    bystander.send(FIN | TEXT, b"unmoved");
    bystander.expect(FIN | TEXT, b"unmoved");
}

#[test]
fn rfc6455_7_4_codes_that_must_not_be_sent_are_refused() {
    let echo = Echo::start();
    let unused = [0, 1, 999];
    let never_on_the_wire = [1004, 1005, 1006, 1015];
    let without_meaning = [1016, 1100, 2000, 2999, 5000, 65_535];
    for code in unused.into_iter().chain(never_on_the_wire).chain(without_meaning) {
        refused(&echo, &close(code, b""), PROTOCOL);
        refused(&echo, &close(code, b"with a reason"), PROTOCOL);
    }
}
