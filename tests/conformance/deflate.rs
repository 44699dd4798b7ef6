//! Compressed messages: RFC 7692, 6 and 7.2.

use crate::blocks::{self, Symbol};
use crate::echo::Echo;
use crate::peer::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Peer, RSV1, RSV2, TEXT, fragments, frame, head};

const PROTOCOL: u16 = 1002;
const INVALID_DATA: u16 = 1007;
const TOO_BIG: u16 = 1009;

const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// "Hello", by RFC 7692, 7.2.3.1.
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

/// A connection that compresses.
fn connect(echo: &Echo) -> Peer<'_> {
    let (peer, answer) = Peer::offer(echo, &["permessage-deflate"]);
    assert!(answer.is_some());
    peer
}

/// The next frame is this message, compressed or not; gives the longest distance in it.
#[track_caller]
fn expect(peer: &mut Peer<'_>, opcode: u8, payload: &[u8]) -> usize {
    let (first, sent) = peer.frame().expect("a frame, not the end");
    assert_eq!(first & !RSV1, FIN | opcode, "{:?}", String::from_utf8_lossy(&sent));
    let (found, distance) = if first & RSV1 == 0 { (sent, 0) } else { blocks::inflate(&sent) };
    assert!(found == payload, "{} bytes were expected, other {} came", payload.len(), found.len());
    distance
}

/// A compressed message, with this payload on the wire, means this text.
#[track_caller]
fn check(echo: &Echo, compressed: &[u8], text: &str) {
    let mut peer = connect(echo);
    for _ in 0..2 {
        peer.send(FIN | RSV1 | TEXT, compressed);
        expect(&mut peer, TEXT, text.as_bytes());
    }
}

/// These frames, after one that is good, close the connection with this code.
#[track_caller]
fn refused(echo: &Echo, frames: &[u8], code: u16) {
    let mut peer = connect(echo);
    peer.write(&[&frame(FIN | RSV1 | TEXT, &HELLO)[..], frames].concat());
    expect(&mut peer, TEXT, b"Hello");
    peer.expect_close(code);
}

/// Words that repeat themselves, near and far.
fn prose(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ["price", "{\"bid\":", "volume", "0.25", "topic", "EURUSD", "é", "10"][(state >> 24) as usize % 8]
    });
    let text: String = words.flat_map(|word| [word, " "]).take(length).collect();
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.as_bytes()[..end].to_vec()
}

#[test]
fn rfc7692_7_2_3_1_the_sample_in_one_frame_and_in_two() {
    let echo = Echo::start();
    check(&echo, &HELLO, "Hello");
    let mut peer = connect(&echo);
    peer.write(&[frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | CONTINUATION, &HELLO[3..])].concat());
    expect(&mut peer, TEXT, b"Hello");
}

#[test]
fn rfc7692_7_2_3_2_the_sample_that_refers_to_the_message_before() {
    let echo = Echo::with(&["--takeover"]);
    let mut peer = connect(&echo);
    for compressed in [&HELLO[..], &[0xF2, 0x00, 0x11, 0x00, 0x00]] {
        peer.send(FIN | RSV1 | TEXT, compressed);
        expect(&mut peer, TEXT, b"Hello");
    }
    // Where that was not agreed there is nothing to refer to.
    refused(&Echo::start(), &frame(FIN | RSV1 | TEXT, &[0xF2, 0x00, 0x11, 0x00, 0x00]), INVALID_DATA);
}

#[test]
fn rfc7692_7_2_3_3_the_sample_in_a_block_without_compression() {
    let echo = Echo::start();
    check(&echo, &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00], "Hello");
}

#[test]
fn rfc7692_7_2_3_3_messages_may_consist_of_many_stored_blocks() {
    let echo = Echo::start();
    let text = String::from_utf8(prose(100_000)).expect("prose is text");
    for block_bytes_max in [1000, 65_535] {
        check(&echo, &blocks::stored(text.as_bytes(), block_bytes_max), &text);
    }
}

#[test]
fn rfc7692_7_2_3_4_the_sample_in_a_block_that_says_it_is_the_last() {
    let echo = Echo::start();
    check(&echo, &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], "Hello");
    // And the next message goes on with another such block.
    let echo = Echo::with(&["--takeover"]);
    check(&echo, &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], "Hello");
}

#[test]
fn rfc7692_7_2_3_5_the_sample_in_two_blocks() {
    let blocks = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
    check(&Echo::start(), &blocks, "Hello");
}

#[test]
fn rfc7692_7_2_3_6_the_empty_message() {
    let echo = Echo::start();
    check(&echo, &[0x00], "");
    check(&echo, &[0x02, 0x00], "");
    let mut peer = connect(&echo);
    peer.write(&[frame(RSV1 | BINARY, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, &[0])].concat());
    expect(&mut peer, BINARY, b"");
}

#[test]
fn rfc7692_6_rsv1_is_for_the_first_frame_of_a_message() {
    let echo = Echo::start();
    refused(
        &echo,
        &[frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | RSV1 | CONTINUATION, &HELLO[3..])].concat(),
        PROTOCOL,
    );
    refused(&echo, &[frame(TEXT, b"plain"), frame(FIN | RSV1 | CONTINUATION, b"")].concat(), PROTOCOL);
    refused(&echo, &frame(FIN | RSV1 | CONTINUATION, &HELLO), PROTOCOL);
    for opcode in [CLOSE, PING, PONG] {
        refused(&echo, &frame(FIN | RSV1 | opcode, b""), PROTOCOL);
        refused(&echo, &[frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | RSV1 | opcode, b"")].concat(), PROTOCOL);
    }
}

#[test]
fn rfc7692_6_the_other_reserved_bits_still_mean_nothing() {
    let echo = Echo::start();
    for bits in [RSV2, 0x10, RSV1 | RSV2, RSV1 | 0x10, 0x70] {
        refused(&echo, &frame(FIN | bits | TEXT, &HELLO), PROTOCOL);
    }
}

#[test]
fn rfc7692_6_messages_may_be_sent_as_they_are() {
    let echo = Echo::start();
    let mut peer = connect(&echo);
    for _ in 0..10 {
        peer.write(&[frame(FIN | TEXT, b"plain"), frame(FIN | RSV1 | TEXT, &HELLO)].concat());
        expect(&mut peer, TEXT, b"plain");
        expect(&mut peer, TEXT, b"Hello");
        peer.write(&[fragments(BINARY, &[b"pl", b"", b"ain"]), frame(FIN | RSV1 | BINARY, &HELLO)].concat());
        expect(&mut peer, BINARY, b"plain");
        expect(&mut peer, BINARY, b"Hello");
    }
}

#[test]
fn rfc7692_6_1_control_frames_may_stand_between_compressed_fragments() {
    let echo = Echo::start();
    let mut peer = connect(&echo);
    peer.send(RSV1 | TEXT, &HELLO[..1]);
    for byte in &HELLO[1..] {
        peer.send(FIN | PING, b"between");
        peer.expect(FIN | PONG, b"between");
        peer.send(CONTINUATION, &[*byte]);
    }
    peer.send(FIN | CONTINUATION, b"");
    expect(&mut peer, TEXT, b"Hello");
}

#[test]
fn rfc7692_6_2_fragments_may_be_cut_anywhere_and_come_byte_by_byte() {
    let echo = Echo::start();
    let mut peer = connect(&echo);
    let text = prose(2000);
    let compressed = blocks::literal(&text);
    for size in [1, 7, 100, 1999] {
        let parts: Vec<&[u8]> = compressed.chunks(size).collect();
        peer.write(&fragments(RSV1 | TEXT, &parts));
        expect(&mut peer, TEXT, &text);
    }
    peer.trickle(&frame(FIN | RSV1 | TEXT, &compressed));
    expect(&mut peer, TEXT, &text);
}

#[test]
fn rfc7692_7_2_1_what_the_server_compresses_stands_by_itself() {
    let echo = Echo::start();
    let mut peer = connect(&echo);
    for length in (0..100).chain([126, 255, 256, 1000, 4096, 10_000, 65_535, 65_536, 70_000, 300_000]) {
        let text = prose(length);
        let mut last = None;
        for _ in 0..2 {
            peer.send(FIN | TEXT, &text);
            let (first, sent) = peer.frame().expect("a frame");
            if first & RSV1 != 0 {
                assert!(sent.len() < text.len(), "{length}");
                assert!(!sent.ends_with(&[0x00, 0x00, 0xFF, 0xFF]), "{length}");
                assert!(blocks::inflate(&sent).0 == text, "{length}");
            } else {
                assert!(sent == text, "{length}");
            }
            assert!(length < 1000 || first & RSV1 != 0, "{length} bytes of prose are worth compressing");
            // 7.1.1.1: without context takeover the same message is the same bytes.
            assert!(last.is_none_or(|last| last == sent), "{length}");
            last = Some(sent);
        }
    }
}

#[test]
fn rfc7692_7_2_1_messages_that_do_not_shrink_are_sent_as_they_are() {
    let echo = Echo::start();
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for bits in [9, 15] {
        let (mut peer, _) = Peer::offer(&echo, &[&format!("permessage-deflate; server_max_window_bits={bits}")]);
        for length in [0, 1, 2, 64, 256, 1024, 4096, 70_000].repeat(20) {
            let payload: Vec<u8> = (0..length).map(|_| noise()).collect();
            peer.send(FIN | BINARY, &payload);
            peer.expect(FIN | BINARY, &payload);
        }
        let text = prose(2000);
        peer.send(FIN | TEXT, &text);
        expect(&mut peer, TEXT, &text);
    }
}

#[test]
fn rfc7692_7_1_2_1_the_server_stays_within_the_window_that_was_asked_for() {
    let echo = Echo::start();
    // Every phrase comes again 600 bytes later, and again and again.
    let noise: Vec<u8> = blocks::literal(&prose(600)).into_iter().chain(prose(100)).collect();
    let payload = noise.repeat(200);
    let mut longest = Vec::new();
    for bits in 9..=15 {
        let (mut peer, answer) = Peer::offer(&echo, &[&format!("permessage-deflate; server_max_window_bits={bits}")]);
        assert!(answer.is_some_and(|answer| answer.contains(&format!("server_max_window_bits={bits}"))));
        peer.send(FIN | BINARY, &payload);
        let distance = expect(&mut peer, BINARY, &payload);
        assert!(distance <= 1 << bits, "{distance} with {bits} bits");
        longest.push(distance);
    }
    assert!(longest[6] > 512, "no test, if nothing is ever far away: {longest:?}");
}

#[test]
fn rfc7692_7_1_1_2_the_client_may_refer_as_far_back_as_the_window_reaches() {
    const WINDOW: usize = 32_768;
    let echo = Echo::with(&["--takeover"]);
    let mut peer = connect(&echo);
    let mut before = b"the first words".to_vec();
    peer.send(FIN | RSV1 | BINARY, &blocks::literal(&before));
    expect(&mut peer, BINARY, &before);
    // What is not compressed, and what has no bytes, does not move the window.
    peer.send(FIN | BINARY, b"plain");
    expect(&mut peer, BINARY, b"plain");
    peer.send(FIN | RSV1 | BINARY, &[0]);
    expect(&mut peer, BINARY, b"");
    for part in prose(WINDOW - before.len()).chunks(5000) {
        peer.send(FIN | RSV1 | BINARY, &blocks::literal(part));
        expect(&mut peer, BINARY, part);
        before.extend_from_slice(part);
    }
    let distance = before.len();
    assert!(distance <= WINDOW && distance > WINDOW - 8);
    peer.write(&fragments(
        RSV1 | BINARY,
        &blocks::message([Symbol::Copy { length: 15, distance }]).chunks(1).collect::<Vec<_>>(),
    ));
    expect(&mut peer, BINARY, b"the first words");
}

#[test]
fn rfc7692_7_1_1_2_the_client_may_not_refer_to_what_never_was() {
    let echo = Echo::with(&["--takeover"]);
    refused(
        &echo,
        &frame(FIN | RSV1 | BINARY, &blocks::message([Symbol::Copy { length: 3, distance: 6 }])),
        INVALID_DATA,
    );
    // 7.1.1.2: who says that it will not take its context over has none.
    let (mut peer, _) = Peer::offer(&echo, &["permessage-deflate; client_no_context_takeover"]);
    peer.send(FIN | RSV1 | TEXT, &HELLO);
    expect(&mut peer, TEXT, b"Hello");
    peer.send(FIN | RSV1 | TEXT, &[0xF2, 0x00, 0x11, 0x00, 0x00]);
    peer.expect_close(INVALID_DATA);
}

#[test]
fn rfc7692_7_2_2_the_largest_message_may_be_compressed() {
    let echo = Echo::start();
    let mut peer = connect(&echo);
    peer.send(FIN | RSV1 | BINARY, &blocks::zeros(MESSAGE_BYTES_MAX));
    expect(&mut peer, BINARY, &vec![0; MESSAGE_BYTES_MAX]);
}

#[test]
fn rfc7692_8_a_bomb_is_refused_and_costs_no_more_than_the_largest_message() {
    let echo = Echo::start();
    refused(&echo, &frame(FIN | RSV1 | BINARY, &blocks::zeros(MESSAGE_BYTES_MAX + 1)), TOO_BIG);
    let gigabyte = blocks::zeros(1 << 30);
    assert!(gigabyte.len() < MESSAGE_BYTES_MAX);
    refused(&echo, &frame(FIN | RSV1 | BINARY, &gigabyte), TOO_BIG);
    refused(&echo, &fragments(RSV1 | TEXT, &gigabyte.chunks(100_000).collect::<Vec<_>>()), TOO_BIG);
    if let Some(peak) = echo.memory_peak_bytes() {
        assert!(peak < 8 * MESSAGE_BYTES_MAX, "{peak}");
    }
}

#[test]
fn rfc7692_8_a_message_that_stays_too_long_when_compressed_is_refused_at_its_head() {
    let echo = Echo::start();
    for length in [MESSAGE_BYTES_MAX as u64 * 2, 1 << 40, (1 << 63) - 1] {
        refused(&echo, &head(FIN | RSV1 | BINARY, 0x80, length), TOO_BIG);
    }
}

#[test]
fn rfc7692_7_2_2_what_cannot_be_inflated_is_refused() {
    let echo = Echo::start();
    let invalid_block = &[0xFF; 10][..];
    let too_far_back = blocks::message([Symbol::Byte(b'x'), Symbol::Copy { length: 3, distance: 2 }]);
    let wrong_complement = &[0x00, 0x05, 0x00, 0x05, 0x00, b'H', b'e', b'l', b'l', b'o', 0x00][..];
    let cut = &HELLO[..4];
    for garbage in [&b""[..], invalid_block, &too_far_back, wrong_complement, cut, b"Hello"] {
        refused(&echo, &frame(FIN | RSV1 | TEXT, garbage), INVALID_DATA);
        refused(&echo, &frame(FIN | RSV1 | BINARY, garbage), INVALID_DATA);
    }
}

#[test]
fn rfc6455_8_1_compressed_text_is_utf_8_once_it_is_inflated() {
    let echo = Echo::start();
    for text in [&b"\xFF"[..], b"good, then \xC0\xAF", b"ends inside \xE2\x82", b"\xED\xA0\x80"] {
        let compressed = blocks::literal(text);
        refused(&echo, &frame(FIN | RSV1 | TEXT, &compressed), INVALID_DATA);
        refused(&echo, &fragments(RSV1 | TEXT, &compressed.chunks(1).collect::<Vec<_>>()), INVALID_DATA);
        let mut peer = connect(&echo);
        peer.send(FIN | RSV1 | BINARY, &compressed);
        expect(&mut peer, BINARY, text);
    }
    let mut peer = connect(&echo);
    let euros = "€".repeat(100);
    let compressed = blocks::literal(euros.as_bytes());
    peer.write(&fragments(RSV1 | TEXT, &compressed.chunks(1).collect::<Vec<_>>()));
    expect(&mut peer, TEXT, euros.as_bytes());
}
