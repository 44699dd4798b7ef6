//! What comes out of a gate, byte by byte.

use super::super::gate::FRAGMENT_BYTES_MIN;
use super::super::mock;
use super::super::naive::{self, End};
use super::super::{ReadLimits, fuzz};
use super::client::{frame, header};
use super::{END, END_INSIDE, LIMITS};

const MIB: usize = 1024 * 1024;

const ROOMY: ReadLimits = ReadLimits { message_bytes_max: 64 * MIB, fragments_max: 1 };

#[test]
fn short_frames_pass_as_they_are() {
    let stream = [frame(0x01, b"a"), frame(0x89, b""), frame(0x80, &[b'x'; 4096]), frame(0x82, &[0; 200])].concat();
    for sizes in [&[][..], &[1], &[3, 100]] {
        for buffers in [&[8192][..], &[1], &[5, 14, 15, 16]] {
            let (out, end) = mock::pass(&stream, sizes, buffers, LIMITS.into());
            assert_eq!((out, end), (stream.clone(), END));
        }
    }
}

#[test]
fn a_long_frame_that_has_come_in_full_passes_as_it_is() {
    let stream = frame(0x82, &[1; 8000]);
    let (out, _) = mock::pass(&stream, &[], &[16_384], LIMITS.into());
    assert_eq!(out, stream);
}

#[test]
fn a_header_that_announces_60_mib_announces_little_to_the_reader() {
    let stream = header(0x82, 60 * MIB as u64);
    assert_eq!(stream.len(), 14);
    for sizes in [&[][..], &[1]] {
        let (out, end) = mock::pass(&stream, sizes, &[8192], ROOMY.into());
        assert_eq!(out.len(), 8);
        assert_eq!(naive::outstanding(&out), FRAGMENT_BYTES_MIN);
        assert_eq!(end, END_INSIDE);
    }
}

#[test]
fn what_is_announced_follows_what_has_come() {
    let mut stream = header(0x82, 60 * MIB as u64);
    stream.resize(MIB, 7);
    // The claim itself is in `pass`.
    let (out, end) = mock::pass(&stream, &[1448], &[16_384], ROOMY.into());
    assert!(out.len() > MIB);
    assert_eq!(end, END_INSIDE);
}

#[test]
fn headers_are_handed_on_in_full_or_not_at_all() {
    let stream = [frame(0x81, b"a"), header(0x82, 70_000)].concat();
    for cut in frame(0x81, b"a").len()..stream.len() {
        let (out, end) = mock::pass(&stream[..cut], &[], &[8192], LIMITS.into());
        assert_eq!(out, frame(0x81, b"a"));
        assert_eq!(end, if cut == 7 { END } else { END_INSIDE });
    }
}

#[test]
fn what_came_before_a_bad_header_is_handed_on_first() {
    let good = [frame(0x81, b"a"), frame(0x01, b"b")].concat();
    let stream = [&good[..], &frame(0x81, b"c")].concat();
    for buffers in [&[8192][..], &[1], &[6], &[15]] {
        let (out, end) = mock::pass(&stream, &[], buffers, LIMITS.into());
        assert_eq!(out, good);
        assert_eq!(end, End::Violation(1002));
    }
}

#[test]
fn fuzz_bodies_hold_on_what_once_was_of_interest() {
    let mut long = header(0x82, 66_000);
    long.resize(66_014, 1);
    let streams = [
        Vec::new(),
        long,
        [frame(0x01, b"\xf0\x9f"), frame(0x80, b"\x8e\x89")].concat(),
        [frame(0x81, &[b'x'; 70_000]), frame(0x88, b"\x03\xe8")].concat(),
        [frame(0x88, b""), vec![0xFF; 9]].concat(),
        frame(0x81, &[0xFF; 9000])[..6000].to_vec(),
    ];
    for stream in &streams {
        for choice in [0x0F, 0x0C, 0x03] {
            for pieces in [0, 1, 0xE9] {
                fuzz::ws_reader(&[&[choice, pieces], &stream[..]].concat());
                fuzz::frame_gate(&[&[choice, pieces, 200, 3], &stream[..]].concat());
                fuzz::frame_gate(&[&[choice, pieces, 1, 15], &stream[..]].concat());
            }
        }
    }
}
