//! What the load publishes: messages that say when they were due, and are all equally long.

use std::fmt::Write as _;

use super::wire;

/// The only topic, or what the names of several begin with.
pub(crate) const TOPIC: &str = "bench";

/// What is published, and how subscribers want it.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    /// How many topics are published to in turn. Of more than one, subscribers follow all by a pattern.
    pub(crate) topics: u64,
    /// Bytes of `data` in each message, quotes and braces included.
    pub(crate) data_bytes: usize,
    /// Whether subscribers offer permessage-deflate.
    pub(crate) deflate: bool,
    /// What a subscriber's socket holds that has not been read, where the kernel should not choose.
    pub(crate) unread_bytes: Option<usize>,
}

/// Times are written with this many digits, so that all messages are equally long.
const AT_DIGITS: usize = 16;

/// What is added to times to make them that long.
pub(crate) const AT_BASE: u64 = 1_000_000_000_000_000;

impl Traffic {
    /// What subscribers subscribe to.
    pub(crate) fn filter(self) -> String {
        if self.topics == 1 { TOPIC.to_owned() } else { format!("{TOPIC}.*") }
    }

    /// The topic of message `id`.
    fn topic(self, id: u64) -> String {
        if self.topics == 1 { TOPIC.to_owned() } else { format!("{TOPIC}.{}", id % self.topics) }
    }
}

/// The command that publishes message `id`, due at `at` (nanoseconds since [`AT_BASE`]).
pub(crate) fn publish(traffic: Traffic, id: u64, at: u64, data_tail: &str, out: &mut String) {
    out.clear();
    let topic = traffic.topic(id);
    // Infallible: the writer is a String.
    let _ = write!(out, r#"{{"type":"publish","id":{id},"topic":"{topic}","data":{{"at":{at}{data_tail}"#);
}

/// What follows the time in every publish and every message: the rest of the data, and the brace that
/// closes the envelope. Keys are in alphabetical order, so that a broker that sorts them changes nothing.
pub(crate) fn data_tail(traffic: Traffic) -> String {
    const AROUND: usize = r#"{"at":,"pad":""}"#.len() + AT_DIGITS;
    let mut rest = String::new();
    // Orders, as such events go: names that come again, numbers that do not.
    let (mut state, mut id) = (1_u32, 4_000_000);
    while AROUND + rest.len() + ORDER_BYTES < traffic.data_bytes {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        id += state % 1_000;
        let (lots, price) = (10 + (state >> 3) % 90, 10_000 + (state >> 7) % 90_000);
        // Infallible: the writer is a String.
        let _ = write!(rest, r#","order{id}":{{"lots":{lots},"price":{price},"side":"buy"}}"#);
    }
    let pad = "x".repeat(traffic.data_bytes - AROUND - rest.len());
    format!(r#"{rest},"pad":"{pad}"}}}}"#)
}

/// Bytes of one order in [`data_tail`].
const ORDER_BYTES: usize = r#","order0000000":{"lots":00,"price":00000,"side":"buy"}"#.len();

/// The time in a message that ends with `data_tail` (see [`data_tail`]).
pub(crate) fn at(message: &[u8], data_tail: &[u8]) -> Option<u64> {
    let end = message.len().checked_sub(data_tail.len())?;
    let start = end.checked_sub(AT_DIGITS)?;
    wire::number(&message[start..end])
}
