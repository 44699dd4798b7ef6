//! Tests of the module as a whole.

mod client;
mod gate;
mod idle;
mod rfc6455;
mod rfc7692;
mod splits;

use super::header::Rules;
use super::naive::End;
use super::{Incoming, ReadLimits, mock};

/// A stream holds these messages and ends like this, in whatever pieces it comes.
fn check(stream: &[u8], events: &[Incoming], end: End) {
    check_rules(LIMITS, stream, events, end);
}

fn check_rules(rules: impl Into<Rules>, stream: &[u8], events: &[Incoming], end: End) {
    let rules = rules.into();
    let splits: [&[usize]; 5] = [&[], &[1], &[2, 5, 1], &[7], &[4096]];
    for sizes in splits {
        if sizes == [1] && stream.len() > 10_000 {
            continue;
        }
        let (found, found_end) = mock::read(stream, sizes, rules);
        assert_eq!(found, events, "in pieces of {sizes:?}");
        assert_eq!(found_end, end, "in pieces of {sizes:?}");
    }
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.into())
}

fn binary(bytes: &[u8]) -> Incoming {
    Incoming::Binary(bytes.to_vec().into())
}

fn ping(bytes: &[u8]) -> Incoming {
    Incoming::Ping(bytes.to_vec().into())
}

fn pong(bytes: &[u8]) -> Incoming {
    Incoming::Pong(bytes.to_vec().into())
}

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 100_000, fragments_max: 16 };

const END: End = End::Eof { mid_message: false };
const END_INSIDE: End = End::Eof { mid_message: true };
const PROTOCOL: End = End::Violation(1002);
const BAD_DATA: End = End::Violation(1007);
const TOO_BIG: End = End::Violation(1009);
