//! RFC 7692, section by section: what comes out of a reader that inflates.

use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::super::deflate::deflate;
use super::super::header::Rules;
use super::super::mock;
use super::super::naive::End;
use super::super::{Deflate, DeflateOptions, Incoming, ReadLimits, Reader, Window};
use super::client::{frame, header};
use super::{BAD_DATA, END, END_INSIDE, LIMITS, PROTOCOL, TOO_BIG, binary, check_rules, ping, text};

const RULES: Rules = Rules { limits: LIMITS, deflate: true };

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn check(stream: &[u8], events: &[Incoming], end: End) {
    check_rules(RULES, stream, events, end);
}

/// `payload` as DEFLATE blocks.
fn deflated(payload: &[u8]) -> Vec<u8> {
    deflate(payload, Window::Bits12, <[u8]>::to_vec).expect("it becomes shorter")
}

#[test]
fn section_7_2_3_1_a_message_in_one_frame() {
    check(&frame(0xC1, HELLO), &[text("Hello")], END);
    check(&frame(0xC2, HELLO), &[binary(b"Hello")], END);
}

#[test]
fn section_7_2_3_1_a_message_in_two_frames_with_a_ping_between() {
    let stream = [frame(0x41, &HELLO[..3]), frame(0x89, b"?"), frame(0x80, &HELLO[3..])].concat();
    check(&stream, &[ping(b"?"), text("Hello")], END);
}

#[test]
fn section_6_compressed_and_plain_messages_may_alternate() {
    let stream =
        [frame(0xC1, HELLO), frame(0x81, b"plain"), frame(0xC2, HELLO), frame(0x82, b"\xff"), frame(0xC1, HELLO)];
    check(&stream.concat(), &[text("Hello"), text("plain"), binary(b"Hello"), binary(b"\xff"), text("Hello")], END);
}

#[test]
fn section_6_rsv1_belongs_to_the_first_frame_of_a_message_alone() {
    check(&[frame(0x41, &HELLO[..3]), frame(0xC0, &HELLO[3..])].concat(), &[], PROTOCOL);
    check(&[frame(0x01, b"a"), frame(0xC0, b"b")].concat(), &[], PROTOCOL);
    for control in [0xC8, 0xC9, 0xCA] {
        check(&frame(control, b""), &[], PROTOCOL);
    }
    check(&frame(0xC0, HELLO), &[], PROTOCOL);
    for other in [0xA1, 0x91, 0xE1] {
        check(&frame(other, HELLO), &[], PROTOCOL);
    }
}

#[test]
fn section_6_without_agreement_there_is_no_rsv1() {
    check_rules(LIMITS, &frame(0xC1, HELLO), &[], PROTOCOL);
}

#[test]
fn section_7_2_2_empty_frames_and_long_messages_in_many_pieces() {
    let long = "0123456789".repeat(9_000);
    let bytes = deflated(long.as_bytes());
    let mut stream = frame(0x41, b"");
    for piece in bytes.chunks(bytes.len().div_ceil(12)) {
        stream.extend(frame(0x00, piece));
        stream.extend(frame(0x00, b""));
    }
    stream.truncate(stream.len() - frame(0x00, b"").len());
    stream.extend(frame(0x80, b""));
    let limits = ReadLimits { fragments_max: 40, ..LIMITS };
    check_rules(Rules { limits, deflate: true }, &stream, &[text(&long)], END);
}

#[test]
fn section_7_2_3_6_an_empty_message() {
    check(&frame(0xC1, &[0x00]), &[text("")], END);
}

#[test]
fn section_7_2_2_what_cannot_be_inflated_is_refused() {
    for garbage in [&b""[..], b"garbage", &HELLO[..4], &[0xff; 300]] {
        check(&[frame(0xC1, HELLO), frame(0xC1, garbage)].concat(), &[text("Hello")], BAD_DATA);
    }
}

#[test]
fn section_7_2_2_the_limit_is_that_of_the_inflated_message() {
    let zeros = vec![0; LIMITS.message_bytes_max];
    check(&frame(0xC2, &deflated(&zeros)), &[binary(&zeros)], END);
    let bomb = deflated(&vec![0; LIMITS.message_bytes_max + 1]);
    assert!(bomb.len() < 1_000);
    check(&[frame(0xC1, HELLO), frame(0xC2, &bomb)].concat(), &[text("Hello")], TOO_BIG);
    let fragments = [frame(0x42, &bomb[..10]), frame(0x80, &bomb[10..])].concat();
    check(&fragments, &[], TOO_BIG);
}

#[test]
fn section_7_2_3_3_a_message_that_cannot_be_compressed_may_be_a_little_longer_than_it_is() {
    let limits = ReadLimits { message_bytes_max: 1_000, ..LIMITS };
    let rules = Rules { limits, deflate: true };
    let stored = [&[0x00, 0xe8, 0x03, 0x17, 0xfc][..], &[b'x'; 1_000], &[0x00]].concat();
    check_rules(rules, &frame(0xC2, &stored), &[binary(&[b'x'; 1_000])], END);
    check_rules(rules, &header(0xC2, 1_000 + 125 + 64 + 1), &[], TOO_BIG);
    check_rules(rules, &header(0xC2, 1_000 + 125 + 64), &[], END_INSIDE);
    check_rules(rules, &header(0x82, 1_001), &[], TOO_BIG);
}

#[test]
fn rfc6455_8_1_compressed_text_is_utf8_when_it_is_inflated() {
    let good = "\u{20ac}".repeat(100);
    check(&frame(0xC1, &deflated(good.as_bytes())), &[text(&good)], END);
    let bad = [good.as_bytes(), b"\xe2\x82"].concat();
    check(&frame(0xC1, &deflated(&bad)), &[], BAD_DATA);
    check(&frame(0xC2, &deflated(&bad)), &[binary(&bad)], END);
}

#[test]
fn a_gate_tells_the_kinds_of_many_compressed_messages_in_order() {
    let stream: Vec<u8> = (0..500).flat_map(|n| frame(if n % 3 == 0 { 0xC2 } else { 0xC1 }, HELLO)).collect();
    let expected: Vec<_> = (0..500).map(|n| if n % 3 == 0 { binary(b"Hello") } else { text("Hello") }).collect();
    let (found, end) = mock::read(&stream, &[], RULES);
    assert_eq!((found, end), (expected, END));
}

#[tokio::test]
async fn section_7_1_1_2_with_context_takeover_messages_refer_to_earlier_ones() {
    let mut headers = HeaderMap::new();
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer);
    let options = DeflateOptions { client_context_takeover: true, client_window_bits_max: 9 };
    let agreed = Deflate::negotiate(&headers, &options).unwrap();
    assert!(agreed.client_context_takeover());

    // The second sample of the section refers to the first.
    let stream = [frame(0xC1, HELLO), frame(0xC1, &[0xf2, 0x00, 0x11, 0x00, 0x00])].concat();
    let mut reader = Reader::inflating(&stream[..], LIMITS, &agreed);
    assert_eq!(reader.next().await.unwrap(), text("Hello"));
    assert_eq!(reader.next().await.unwrap(), text("Hello"));
    assert_eq!(reader.inflated(), 2);

    // 512 bytes later it is forgotten, as agreed.
    let zeros = deflated(&[0; 512]);
    let stream = [frame(0xC1, HELLO), frame(0xC2, &zeros), frame(0xC2, &[0x42, 0x20, 0x1f, 0x00])].concat();
    let mut reader = Reader::inflating(&stream[..], LIMITS, &agreed);
    assert_eq!(reader.next().await.unwrap(), text("Hello"));
    assert_eq!(reader.next().await.unwrap(), binary(&[0; 512]));
}
