//! Any stream, in any pieces, means what the slow and obvious reader says.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::header::Rules;
use super::super::{ReadLimits, Window, deflate::deflate, fuzz};
use super::client::frame;

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        6 => 0..20usize,
        4 => 100..150usize,
        2 => 3000..9000usize,
        1 => 15_000..40_000usize,
        1 => 65_500..70_000usize,
    ];
    (length, 0..8u8).prop_map(|(length, kind)| match kind {
        0 => (0..length).map(|at| (at * 7) as u8).collect(),
        1 => "\u{20ac}".repeat(length / 3).into_bytes(),
        2 => "\u{20ac}".repeat(length / 3 + 1).into_bytes()[..length].to_vec(),
        _ => vec![b'x'; length],
    })
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![10 => Just(0x89), 10 => Just(0x8A), 1 => Just(0x88)];
    (first, vec(any::<u8>(), 0..126)).prop_map(|(first, payload)| frame(first, &payload))
}

/// A message as its fragments, with control frames between them; compressed now and then.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let count = prop_oneof![3 => 1..2usize, 2 => 2..6usize];
    let fragments = count.prop_flat_map(|count| vec((payload(), option::weighted(0.2, control())), count));
    (any::<bool>(), option::weighted(0.3, any::<bool>()), fragments).prop_map(|(is_text, window, mut fragments)| {
        let last = fragments.len() - 1;
        let mut stream = Vec::new();
        if let Some(small) = window {
            let whole: Vec<u8> = fragments.iter().flat_map(|(payload, _)| payload.clone()).collect();
            let window = if small { Window::Bits9 } else { Window::Bits12 };
            let deflated = deflate(&whole, window, <[u8]>::to_vec).unwrap_or_else(|| vec![0]);
            let size = deflated.len().div_ceil(fragments.len());
            for (at, (payload, _)) in fragments.iter_mut().enumerate() {
                *payload = deflated[deflated.len().min(at * size)..deflated.len().min((at + 1) * size)].to_vec();
            }
        }
        let rsv1 = if window.is_some() { 0x40 } else { 0 };
        for (at, (payload, control)) in fragments.into_iter().enumerate() {
            let opcode = match at {
                0 if is_text => 0x1 | rsv1,
                0 => 0x2 | rsv1,
                _ => 0x0,
            };
            let fin = if at == last { 0x80 } else { 0 };
            stream.extend(frame(fin | opcode, &payload));
            stream.extend(control.into_iter().flatten());
        }
        stream
    })
}

/// Messages, of which most are lawful; often cut short, or with a byte changed.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let any_frame = (any::<u8>(), payload()).prop_map(|(first, payload)| frame(first, &payload));
    let part = prop_oneof![8 => message(), 4 => control(), 1 => any_frame];
    let cut = option::weighted(0.3, any::<Index>());
    let change = option::weighted(0.3, (any::<Index>(), any::<u8>()));
    (vec(part, 0..6), cut, change).prop_map(|(parts, cut, change)| {
        let mut stream = parts.concat();
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len() + 1));
        }
        if let Some((at, byte)) = change
            && !stream.is_empty()
        {
            // Headers stand at the start more often than in the middle of a long payload.
            let at = at.index(stream.len().min(300));
            stream[at] = byte;
        }
        stream
    })
}

/// Sizes of pieces: such that a stream of 100 KB does not come in too many.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let small = vec(1..12usize, 0..8);
    let large = prop_oneof![Just(1448usize), Just(4096), Just(16_384), 1000..40_000usize];
    (small, large).prop_map(|(mut sizes, large)| {
        sizes.push(large);
        sizes
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let bytes = prop_oneof![Just(200), Just(50_000), Just(1 << 20)];
    (bytes, prop_oneof![Just(2), Just(100)], prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(
        |(message_bytes_max, fragments_max, deflate)| Rules {
            limits: ReadLimits { message_bytes_max, fragments_max },
            deflate,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_reader_finds_what_the_naive_one_finds(
        stream in stream(),
        sizes in sizes(),
        rules in rules(),
    ) {
        fuzz::check_reader(&stream, &sizes, rules);
    }

    #[test]
    fn a_gate_changes_nothing_but_the_lengths_of_fragments(
        stream in stream(),
        sizes in sizes(),
        buffers in vec(prop_oneof![1..40usize, 1000..20_000usize], 1..6),
        rules in rules(),
    ) {
        fuzz::check_gate(&stream, &sizes, &buffers, rules);
    }

    #[test]
    fn short_streams_mean_the_same_in_the_smallest_pieces(
        stream in stream(),
        sizes in vec(1..9usize, 1..5),
        buffers in vec(1..40usize, 1..6),
        rules in rules(),
    ) {
        let stream = &stream[..stream.len().min(600)];
        fuzz::check_reader(stream, &sizes, rules);
        fuzz::check_gate(stream, &sizes, &buffers, rules);
    }

    #[test]
    fn noise_is_taken_as_the_naive_one_takes_it(noise in vec(any::<u8>(), 0..64)) {
        fuzz::ws_reader(&noise);
        fuzz::frame_gate(&noise);
    }
}
