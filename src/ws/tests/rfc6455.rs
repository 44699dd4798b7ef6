//! RFC 6455, section by section.

use super::super::naive::End;
use super::super::{CloseCode, Incoming, ReadLimits};
use super::client::{frame, header};
use super::{BAD_DATA, END, END_INSIDE, LIMITS, PROTOCOL, TOO_BIG, binary, check, check_rules, ping, pong, text};

/// After lawful frames, `bad` ends the connection with `end`, and they are delivered before.
fn check_violation(bad: &[u8], end: End) {
    let before = [frame(0x81, b"one"), frame(0x89, b"two"), frame(0x82, &[3; 5000])].concat();
    let stream = [&before[..], bad].concat();
    check(&stream, &[text("one"), ping(b"two"), binary(&[3; 5000])], end);
    // What follows changes nothing.
    let stream = [&before[..], bad, &frame(0x81, b"more")].concat();
    check(&stream, &[text("one"), ping(b"two"), binary(&[3; 5000])], end);
}

#[test]
fn section_5_1_an_unmasked_frame_is_refused() {
    check_violation(b"\x81\x05Hello", PROTOCOL);
    check_violation(b"\x89\x00", PROTOCOL);
    check_violation(b"\x82\x7e\x10\x00", PROTOCOL);
}

#[test]
fn section_5_2_reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        check_violation(&frame(0x81 | bit, b"x"), PROTOCOL);
        check_violation(&frame(0x89 | bit, b"x"), PROTOCOL);
        check_violation(&[0x81 | bit], PROTOCOL);
    }
}

#[test]
fn section_5_2_reserved_opcodes_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        check_violation(&frame(0x80 | opcode, b""), PROTOCOL);
        check_violation(&[0x80 | opcode], PROTOCOL);
    }
}

#[test]
fn section_5_2_lengths_at_the_edges_are_read() {
    for length in [0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536] {
        let payload = vec![b'x'; length];
        let stream = [frame(0x82, &payload), frame(0x81, b"next")].concat();
        check(&stream, &[binary(&payload), text("next")], END);
    }
}

#[test]
fn section_5_2_a_length_that_is_not_minimal_is_refused() {
    check_violation(b"\x81\xfe\x00\x7d", PROTOCOL);
    check_violation(b"\x81\xfe\x00\x00", PROTOCOL);
    check_violation(b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", PROTOCOL);
}

#[test]
fn section_5_2_a_length_with_its_top_bit_set_is_refused() {
    check_violation(b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01", PROTOCOL);
    check_violation(&header(0x82, u64::MAX), PROTOCOL);
}

#[test]
fn section_5_3_masks_are_taken_off() {
    check(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[text("Hello")], END);
    check(b"\x82\x83\x00\x00\x00\x00abc", &[binary(b"abc")], END);
}

#[test]
fn section_5_4_fragments_make_one_message() {
    let stream =
        [frame(0x01, b"Hel"), frame(0x00, b""), frame(0x80, b"lo"), frame(0x02, b""), frame(0x80, b"")].concat();
    check(&stream, &[text("Hello"), binary(b"")], END);
}

#[test]
fn section_5_4_control_frames_may_stand_between_fragments() {
    let stream = [
        frame(0x02, &[1; 70_000]),
        frame(0x89, b"ping"),
        frame(0x00, &[2; 10]),
        frame(0x8A, b"pong"),
        frame(0x80, &[3; 5000]),
    ]
    .concat();
    let message = [vec![1; 70_000], vec![2; 10], vec![3; 5000]].concat();
    check(&stream, &[ping(b"ping"), pong(b"pong"), binary(&message)], END);
}

#[test]
fn section_5_4_a_continuation_of_nothing_is_refused() {
    check_violation(&frame(0x80, b"x"), PROTOCOL);
    check_violation(&frame(0x00, b"x"), PROTOCOL);
    let stream = [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")].concat();
    check(&stream, &[text("ab")], PROTOCOL);
}

#[test]
fn section_5_4_a_message_inside_a_fragmented_message_is_refused() {
    for second in [0x01, 0x02, 0x81, 0x82] {
        check_violation(&[frame(0x01, b"a"), frame(second, b"b")].concat(), PROTOCOL);
    }
}

#[test]
fn section_5_5_a_fragmented_control_frame_is_refused() {
    for opcode in [0x08, 0x09, 0x0A] {
        check_violation(&frame(opcode, b""), PROTOCOL);
    }
}

#[test]
fn section_5_5_a_control_frame_of_125_bytes_is_the_longest() {
    check(&frame(0x89, &[7; 125]), &[ping(&[7; 125])], END);
    check(&frame(0x8A, &[7; 125]), &[pong(&[7; 125])], END);
    for opcode in [0x88, 0x89, 0x8A] {
        check_violation(&frame(opcode, &[7; 126]), PROTOCOL);
        check_violation(&frame(opcode, &[7; 200]), PROTOCOL);
        check_violation(&header(opcode, 1 << 40), PROTOCOL);
    }
}

#[test]
fn section_5_5_1_a_close_frame_may_have_code_and_reason() {
    let close = |code, reason: &str| Incoming::Close(Some((CloseCode(code), reason.to_owned())));
    check(&frame(0x88, b""), &[Incoming::Close(None)], End::Closed);
    check(&frame(0x88, b"\x03\xe8"), &[close(1000, "")], End::Closed);
    let payload = [&4000_u16.to_be_bytes()[..], "gr\u{fc}\u{df}e".as_bytes()].concat();
    check(&frame(0x88, &payload), &[close(4000, "gr\u{fc}\u{df}e")], End::Closed);
}

#[test]
fn section_5_5_1_nothing_is_read_after_a_close_frame() {
    let stream = [frame(0x88, b"\x03\xe9bye"), frame(0x81, b"x"), vec![0xFF; 20]].concat();
    let close = Incoming::Close(Some((CloseCode::GOING_AWAY, "bye".to_owned())));
    check(&stream, &[close], End::Closed);
}

#[test]
fn section_5_5_1_a_close_frame_may_stand_inside_a_fragmented_message() {
    let stream = [frame(0x01, b"begun"), frame(0x88, b"")].concat();
    check(&stream, &[Incoming::Close(None)], End::Closed);
}

#[test]
fn section_5_5_1_half_a_close_code_is_refused() {
    check_violation(&frame(0x88, b"\x03"), PROTOCOL);
}

#[test]
fn section_5_5_1_a_close_reason_that_is_not_utf_8_is_refused() {
    check_violation(&frame(0x88, b"\x03\xe8\xff"), BAD_DATA);
    check_violation(&frame(0x88, b"\x03\xe8\xe2\x82"), BAD_DATA);
}

#[test]
fn section_7_4_close_codes_that_must_not_be_sent_are_refused() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        check_violation(&frame(0x88, &code.to_be_bytes()), PROTOCOL);
    }
    for code in [1000u16, 1003, 1007, 1014, 3000, 4999] {
        let close = Incoming::Close(Some((CloseCode(code), String::new())));
        check(&frame(0x88, &code.to_be_bytes()), &[close], End::Closed);
    }
}

#[test]
fn section_8_1_text_that_is_not_utf_8_is_refused() {
    check_violation(&frame(0x81, b"\xc0\xaf"), BAD_DATA);
    check_violation(&frame(0x81, b"cut \xe2\x82"), BAD_DATA);
    check_violation(&[frame(0x01, b"cut \xe2"), frame(0x80, b"\x82")].concat(), BAD_DATA);
    check_violation(&frame(0x81, &[b"long ", &[b'x'; 20_000][..], b"\xff"].concat()), BAD_DATA);
}

#[test]
fn section_8_1_a_fragment_that_is_bad_is_refused_before_the_message_ends() {
    check_violation(&frame(0x01, b"\xff"), BAD_DATA);
    check_violation(&[frame(0x01, b"\xf4"), frame(0x00, b"\x90")].concat(), BAD_DATA);
}

#[test]
fn section_8_1_characters_may_be_cut_by_fragments() {
    let stream = [frame(0x01, b"\xf0\x9f"), frame(0x89, b"\xff"), frame(0x00, b"\x8e"), frame(0x80, b"\x89!")].concat();
    check(&stream, &[ping(b"\xff"), text("\u{1f389}!")], END);
    let long = "\u{20ac}".repeat(20_000);
    check(&frame(0x81, long.as_bytes()), &[text(&long)], END);
}

#[test]
fn section_10_4_a_message_of_just_the_limit_is_read() {
    let limits = ReadLimits { message_bytes_max: 6000, ..LIMITS };
    let just = frame(0x82, &[1; 6000]);
    check_rules(limits, &just, &[binary(&[1; 6000])], END);
    check_rules(limits, &frame(0x82, &[1; 6001]), &[], TOO_BIG);
    check_rules(limits, &header(0x82, 1 << 62), &[], TOO_BIG);
}

#[test]
fn section_10_4_all_fragments_together_count() {
    let limits = ReadLimits { message_bytes_max: 1000, ..LIMITS };
    let fragments = [frame(0x02, &[1; 400]), frame(0x89, &[9; 100]), frame(0x00, &[1; 400])].concat();
    let just = [&fragments[..], &frame(0x80, &[1; 200])].concat();
    let ping = ping(&[9; 100]);
    check_rules(limits, &just, &[ping.clone(), binary(&[1; 1000])], END);
    let over = [&fragments[..], &header(0x80, 201)].concat();
    check_rules(limits, &over, &[ping], TOO_BIG);
    // Each message counts anew.
    check_rules(
        limits,
        &frame(0x82, &[1; 1000]).repeat(3),
        &[binary(&[1; 1000]), binary(&[1; 1000]), binary(&[1; 1000])],
        END,
    );
}

#[test]
fn section_10_4_fragments_are_counted() {
    let fragments = |count: usize| {
        let middle = frame(0x00, b"").repeat(count - 2);
        [frame(0x01, b"a"), middle, frame(0x80, b"b")].concat()
    };
    check(&fragments(16), &[text("ab")], END);
    check(&fragments(17), &[], TOO_BIG);
    check(&fragments(16).repeat(2), &[text("ab"), text("ab")], END);
    let limits = ReadLimits { fragments_max: 0, ..LIMITS };
    check_rules(limits, &frame(0x81, b"one is always allowed"), &[text("one is always allowed")], END);
    check_rules(limits, &fragments(2), &[], TOO_BIG);
    // What the gate cuts does not count.
    check_rules(limits, &frame(0x82, &[1; 90_000]), &[binary(&[1; 90_000])], END);
}

#[test]
fn section_7_1_5_a_stream_that_ends_early_says_so() {
    check(b"", &[], END);
    check(&frame(0x01, b"begun"), &[], END_INSIDE);
    let whole = frame(0x82, &[1; 300]);
    for cut in [1, 2, 3, 4, 7, 8, 9, whole.len() - 1] {
        check(&whole[..cut], &[], END_INSIDE);
    }
    check(&header(0x82, 99_999)[..13], &[], END_INSIDE);
    check(&header(0x82, 99_999), &[], END_INSIDE);
}
