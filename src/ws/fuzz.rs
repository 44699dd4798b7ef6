//! What the fuzz targets of this module do. The bodies live here, so that tests run them as well.

use super::naive::{self, End};
use super::{Incoming, ReadLimits, mock};

/// A gate hands on a stream that means the same and never announces more than it may, whatever
/// comes, in whatever pieces, into whatever buffers.
///
/// The first bytes choose limits, pieces and buffers; the rest is the stream.
///
/// # Panics
///
/// If the gate breaks its word.
pub fn frame_gate(data: &[u8]) {
    let Some((choices, stream)) = data.split_first_chunk::<4>() else {
        return;
    };
    let limits = limits(choices[0]);
    let sizes = sizes(choices[1]);
    let buffers = [usize::from(choices[2]) * 8 + 1, usize::from(choices[3])];
    check_gate(stream, &sizes, &buffers, limits);
}

/// A reader finds in a stream what a slow and obvious one finds, whatever comes, in whatever
/// pieces.
///
/// The first bytes choose limits and pieces; the rest is the stream.
///
/// # Panics
///
/// If it does not.
pub fn ws_reader(data: &[u8]) {
    let Some((choices, stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    check_reader(stream, &sizes(choices[1]), limits(choices[0]));
}

pub(super) fn check_gate(stream: &[u8], sizes: &[usize], buffers: &[usize], limits: ReadLimits) {
    let (events, end) = naive::read(stream, limits);
    let (out, gate_end) = mock::pass(stream, sizes, buffers, limits);
    // Cutting frames into fragments is the gate's right.
    let unlimited = ReadLimits { fragments_max: usize::MAX, ..limits };
    let (events_after, end_after) = naive::read(&out, unlimited);
    assert_eq!(events_after, events);
    match end {
        End::Eof { .. } => assert_eq!(gate_end, end),
        // The gate does not read payloads: it passes bad ones on, for others to find.
        End::Violation(1007) | End::EofInBadText | End::Closed => {}
        End::Violation(1002) if end_after == end => {}
        End::Violation(_) => {
            assert_eq!(gate_end, end);
            assert!(matches!(end_after, End::Eof { .. }));
        }
    }
}

pub(super) fn check_reader(stream: &[u8], sizes: &[usize], limits: ReadLimits) {
    let (events, end) = naive::read(stream, limits);
    let (found, found_end) = mock::read(stream, sizes, limits);
    assert_eq!(found, events);
    match end {
        End::EofInBadText => assert!(matches!(found_end, End::Eof { mid_message: true } | End::Violation(1007))),
        end => assert_eq!(found_end, end),
    }
    assert!(!events.contains(&Incoming::Idle));
}

fn limits(choice: u8) -> ReadLimits {
    ReadLimits {
        message_bytes_max: [0, 125, 1000, 70_000][usize::from(choice & 3)],
        fragments_max: [1, 2, 5, 100][usize::from(choice >> 2 & 3)],
    }
}

fn sizes(choice: u8) -> [usize; 3] {
    match choice {
        0 => [usize::MAX; 3],
        _ => [usize::from(choice & 7), usize::from(choice >> 3 & 3), usize::from(choice >> 5) * 64],
    }
}
