//! Text is UTF-8: RFC 6455, 8.1.

use crate::echo::Echo;
use crate::peer::{BINARY, CONTINUATION, FIN, PING, PONG, Peer, TEXT, fragments, frame, head, masked, refused};

const INVALID_DATA: u16 = 1007;

/// First and last of each length, what surrounds surrogates, noncharacters, NUL, a byte order mark.
const VALID: [&str; 8] = [
    "",
    "\0\u{1}\u{7F}",
    "\u{80}\u{7FF}",
    "\u{800}\u{FFFF}",
    "\u{10000}\u{10FFFF}",
    "\u{D7FF}\u{E000}\u{FFFD}",
    "\u{FDD0}\u{FFFE}\u{1FFFE}\u{FEFF}",
    "κόσμε Hello-µ@ßöäüàá-UTF-8!!",
];

const INVALID: [&[u8]; 25] = [
    // Continuation bytes of nothing.
    b"\x80",
    b"\xBF",
    b"\x80\xBF\x80",
    // Characters that end too early, at the end and before another.
    b"\xC2",
    b"\xE0\xA0",
    b"\xF0\x90\x80",
    b"\xC3 ",
    b"\xE2\x82 ",
    b"\xF4\x80\x80 ",
    b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE",
    // Bytes that never occur.
    b"\xC0",
    b"\xC1\x80",
    b"\xF5\x80\x80\x80",
    b"\xFE",
    b"\xFE\xFE\xFF\xFF",
    b"\xF8\x88\x80\x80\x80",
    b"\xFC\x84\x80\x80\x80\x80",
    // Longer than they need to be.
    b"\xC0\xAF",
    b"\xE0\x80\xAF",
    b"\xE0\x9F\xBF",
    b"\xF0\x8F\xBF\xBF",
    // Surrogates, alone and as a pair.
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xED\xA0\x80\xED\xB0\x80",
    // Beyond the last character.
    b"\xF4\x90\x80\x80",
];

#[test]
fn rfc6455_8_1_text_that_is_utf_8_comes_back() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for text in VALID {
        peer.send(FIN | TEXT, text.as_bytes());
        peer.expect(FIN | TEXT, text.as_bytes());
    }
}

#[test]
fn rfc6455_8_1_characters_may_be_split_between_fragments() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for text in VALID.map(str::as_bytes) {
        for cut in 0..=text.len() {
            peer.write(&fragments(TEXT, &[&text[..cut], &text[cut..]]));
            peer.expect(FIN | TEXT, text);
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        if !bytes.is_empty() {
            peer.write(&fragments(TEXT, &bytes));
            peer.expect(FIN | TEXT, text);
        }
    }
}

#[test]
fn rfc6455_8_1_a_character_may_be_split_around_a_control_frame() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    peer.write(&[frame(TEXT, b"\xE2\x82"), frame(FIN | PING, b"p"), frame(FIN | CONTINUATION, b"\xAC")].concat());
    peer.expect(FIN | PONG, b"p");
    peer.expect(FIN | TEXT, "€".as_bytes());
}

#[test]
fn rfc6455_8_1_characters_may_be_split_anywhere_in_a_long_frame() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for shift in 0..4 {
        let text = "x".repeat(shift) + &"𝄞".repeat(20_000);
        peer.send(FIN | TEXT, text.as_bytes());
        peer.expect(FIN | TEXT, text.as_bytes());
    }
}

#[test]
fn rfc6455_8_1_text_that_is_not_utf_8_is_refused() {
    let echo = Echo::start();
    for text in INVALID {
        refused(&echo, &frame(FIN | TEXT, text), INVALID_DATA);
        refused(&echo, &frame(FIN | TEXT, &[b"good, then ", text].concat()), INVALID_DATA);
    }
}

#[test]
fn rfc6455_8_1_text_that_is_not_utf_8_is_refused_however_it_is_split() {
    let echo = Echo::start();
    for text in INVALID {
        for cut in 0..=text.len() {
            refused(&echo, &fragments(TEXT, &[&text[..cut], &text[cut..]]), INVALID_DATA);
        }
    }
}

#[test]
fn rfc6455_8_1_a_bad_fragment_is_refused_before_the_next_comes() {
    let echo = Echo::start();
    refused(&echo, &frame(TEXT, b"bad \xFF"), INVALID_DATA);
    // F4 90 begins no character, whatever follows.
    refused(&echo, &[frame(TEXT, b"\xF4"), frame(CONTINUATION, b"\x90")].concat(), INVALID_DATA);
    refused(&echo, &[frame(TEXT, b"good"), frame(CONTINUATION, b"\xED\xA0")].concat(), INVALID_DATA);
}

#[test]
fn rfc6455_8_1_a_bad_byte_in_a_long_frame_is_refused_before_its_end_comes() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    let begun = [&b"\xFF"[..], &[b'x'; 16 * 1024]].concat();
    // A frame that says it is longer.
    let begun = masked(FIN | TEXT, [0; 4], &begun).split_off(8);
    peer.write(&[&head(FIN | TEXT, 0x80, 100_000)[..], &[0; 4], &begun].concat());
    peer.expect_close(INVALID_DATA);
}

#[test]
fn rfc6455_8_1_binary_messages_may_hold_anything() {
    let echo = Echo::start();
    let mut peer = Peer::connect(&echo);
    for bytes in INVALID {
        peer.send(FIN | BINARY, bytes);
        peer.expect(FIN | BINARY, bytes);
        peer.write(&fragments(BINARY, &[&bytes[..1], &bytes[1..]]));
        peer.expect(FIN | BINARY, bytes);
    }
}
