//! RFC 6455 on the wire, after the handshake: by the sections of the standard.

use crate::client::Client;
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, frame, head};
use crate::server::Server;
use serde_json::json;

const PING_COMMAND: &[u8] = br#"{"type":"ping"}"#;
const PONG_EVENT: &[u8] = br#"{"type":"pong"}"#;

/// What the server does about these bytes, and that it lives on.
#[track_caller]
fn check(server: &Server, bytes: &[u8], code: u16) {
    let mut raw = Raw::connect(server);
    raw.write(bytes);
    raw.expect_close(code);
}

#[test]
fn section_5_1_an_unmasked_frame_is_a_protocol_error() {
    let server = Server::start();
    check(&server, &[&head(TEXT, 0, PING_COMMAND.len() as u64), PING_COMMAND].concat(), 1002);
    check(&server, &head(PING, 0, 0), 1002);
}

#[test]
fn section_5_2_reserved_bits_and_opcodes_are_protocol_errors() {
    let server = Server::start();
    // Reserved bits 2 and 3 mean nothing; bit 1 does only once an extension has been agreed on.
    for first in [0xC1, 0xA1, 0x91, 0xC9] {
        check(&server, &frame(first, PING_COMMAND), 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        check(&server, &frame(0x80 | opcode, b""), 1002);
    }
}

#[test]
fn section_5_2_lengths_are_in_their_shortest_form() {
    let server = Server::start();
    check(&server, &[TEXT, 0x80 | 126, 0, 10, 0, 0, 0, 0], 1002);
    check(&server, &[TEXT, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0], 1002);
    check(&server, &[TEXT, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 1002);
}

#[test]
fn section_5_4_a_message_may_come_in_fragments_with_pings_between() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("a");
    client.fragments(&[br#"{"type":"publ"#, b"", br#"ish","topic":"a","data":"caf"#, &[0xC3], &[0xA9], br#""}"#]);
    let event = client.recv();
    assert_eq!((&event["offset"], &event["data"]), (&json!(1), &json!("café")));
}

#[test]
fn section_5_4_fragments_out_of_order_are_protocol_errors() {
    let server = Server::start();
    // A continuation of nothing, and a message inside another.
    check(&server, &frame(0x80, b"x"), 1002);
    check(&server, &frame(0x00, b"x"), 1002);
    check(&server, &[frame(0x01, b"{"), frame(TEXT, b"}")].concat(), 1002);
    check(&server, &[frame(0x01, b"{"), frame(0x02, b"}")].concat(), 1002);
}

#[test]
fn section_5_5_control_frames_are_short_and_whole() {
    let server = Server::start();
    for kind in [CLOSE, PING, PONG] {
        check(&server, &frame(kind, &[b'x'; 126]), 1002);
        check(&server, &frame(kind & 0x0F, b""), 1002);
    }
}

#[test]
fn section_5_5_1_a_close_is_answered_with_its_own_code() {
    let server = Server::start();
    for code in [1000_u16, 1001, 1008, 1011, 3000, 4999] {
        let mut raw = Raw::connect(&server);
        raw.send(CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat());
        let (first, payload) = raw.frame().expect("an answer");
        assert_eq!((first, &payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
        assert_eq!(raw.frame(), None);
    }
    let mut raw = Raw::connect(&server);
    raw.send(CLOSE, b"");
    let (first, payload) = raw.frame().expect("an answer");
    assert_eq!(first, CLOSE);
    assert!(payload.is_empty() || payload[..2] == [0x03, 0xE8], "{payload:?}");
    assert_eq!(raw.frame(), None);
}

#[test]
fn section_5_5_1_what_was_asked_before_a_close_is_answered() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    raw.write(&[frame(TEXT, PING_COMMAND), frame(CLOSE, &[0x03, 0xE8]), frame(TEXT, PING_COMMAND)].concat());
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
    assert_eq!(raw.frame(), Some((CLOSE, vec![0x03, 0xE8])));
    assert_eq!(raw.frame(), None);
}

#[test]
fn section_7_4_codes_that_must_not_be_sent_are_protocol_errors() {
    let server = Server::start();
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        check(&server, &frame(CLOSE, &code.to_be_bytes()), 1002);
    }
    // Half a code.
    check(&server, &frame(CLOSE, &[3]), 1002);
    // A reason that is not UTF-8.
    check(&server, &frame(CLOSE, &[0x03, 0xE8, 0xFF]), 1007);
}

#[test]
fn section_5_5_2_a_ping_is_answered_with_its_payload() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    for payload in [&b""[..], b"hello", &[0xFF; 125]] {
        raw.send(PING, payload);
        assert_eq!(raw.frame(), Some((PONG, payload.to_vec())));
    }
    // A pong that nobody asked for means nothing.
    raw.send(PONG, b"unasked");
    raw.send(TEXT, PING_COMMAND);
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));

    let mut client = Client::msgpack(&server);
    client.ping(b"to msgpack");
    client.expect_pong(b"to msgpack");
}

#[test]
fn section_8_1_text_that_is_not_utf_8_closes_the_connection() {
    let server = Server::start();
    check(&server, &frame(TEXT, &[0xFF]), 1007);
    check(&server, &frame(TEXT, b"\"\xC3\x28\""), 1007);
    // Cut within a character, an overlong form, half a surrogate pair, beyond Unicode.
    check(&server, &frame(TEXT, &[0xE2, 0x82]), 1007);
    check(&server, &frame(TEXT, &[0xC0, 0xAF]), 1007);
    check(&server, &frame(TEXT, &[0xED, 0xA0, 0x80]), 1007);
    check(&server, &frame(TEXT, &[0xF4, 0x90, 0x80, 0x80]), 1007);
    check(&server, &[frame(0x01, b"\xC3"), frame(0x80, b"x")].concat(), 1007);
    check(&server, &[frame(0x01, b"\xC3"), frame(0x80, b"")].concat(), 1007);
}

#[test]
fn a_message_as_large_as_it_may_be_is_read() {
    const MAX: usize = 65_536;
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    let padded = |length: usize| [PING_COMMAND, &vec![b' '; length - PING_COMMAND.len()]].concat();
    raw.send(TEXT, &padded(MAX));
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
    raw.write(&[frame(0x01, &padded(MAX / 2)), frame(0x80, &vec![b' '; MAX / 2])].concat());
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
    check(&server, &frame(TEXT, &padded(MAX + 1)), 1009);
    check(&server, &[frame(0x01, &padded(MAX)), frame(0x80, b" ")].concat(), 1009);
    check(&server, &frame(BINARY, &vec![0; 2 * MAX]), 1009);
}

#[test]
fn a_large_message_is_refused_at_its_head() {
    let server = Server::start();
    for length in [65_537, 1 << 32, (1 << 63) - 1] {
        // The payload never comes.
        check(&server, &[&head(BINARY, 0x80, length)[..], &[1, 2, 3, 4]].concat(), 1009);
    }
}

#[test]
fn a_message_in_very_many_fragments_does_not_hold_the_server_up() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    let mut bytes = frame(0x01, b"");
    for _ in 0..200_000 {
        bytes.extend(frame(0x00, b""));
    }
    // Either it is read to its end or refused on the way, and others are served meanwhile.
    raw.try_write(&bytes);
    Client::json(&server).expect_quiet();
}

#[test]
fn bytes_may_arrive_one_by_one() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    raw.stream().set_nodelay(true).expect("a socket can be told not to wait");
    for byte in [frame(PING, b"p"), frame(0x01, &PING_COMMAND[..5]), frame(0x80, &PING_COMMAND[5..])].concat() {
        raw.write(&[byte]);
    }
    assert_eq!(raw.frame(), Some((PONG, b"p".to_vec())));
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
}

#[test]
fn a_reply_does_not_wait_for_the_rest_of_the_next_frame() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    let (whole, begun) = (frame(TEXT, PING_COMMAND), frame(TEXT, PING_COMMAND));
    for cut in [1, 4, 6, 9] {
        raw.write(&[&whole[..], &begun[..cut]].concat());
        assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
        raw.write(&begun[cut..]);
        assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
    }
    raw.write(&[frame(PING, b"p"), frame(0x01, b"{")].concat());
    assert_eq!(raw.frame(), Some((PONG, b"p".to_vec())));
}

#[test]
fn frames_may_come_with_the_handshake() {
    let server = Server::start();
    let mut raw = Raw::dial(&server);
    raw.write(
        &[crate::raw::HANDSHAKE.as_bytes(), &frame(TEXT, PING_COMMAND), &frame(TEXT, PING_COMMAND)[..9]].concat(),
    );
    assert_eq!(raw.reply().status, 101);
    assert!(raw.frame().expect("a welcome").1.starts_with(b"{\"type\":\"welcome\""));
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
    raw.write(&frame(TEXT, PING_COMMAND)[9..]);
    assert_eq!(raw.frame(), Some((TEXT, PONG_EVENT.to_vec())));
}
