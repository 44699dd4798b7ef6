//! Decompression of incoming messages (RFC 7692, 7.2.2).
//!
//! A message is inflated in one go once it has come in full, by the thread that reads it. So at most
//! as many messages are inflated at a time as there are threads, an inflater belongs to a thread and
//! not to a connection, and what a connection keeps for a client that refers to earlier messages is
//! only their last bytes.

use std::cell::RefCell;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::deflate::BLOCK_END;

/// Why a message could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is not a sequence of whole DEFLATE blocks.
    Malformed,
    /// It is longer than it may be.
    TooLong,
}

/// What messages of a client may refer back to.
#[derive(Debug)]
pub(super) struct History {
    /// The last bytes of all messages so far. bytes.len() <= bytes_max
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl History {
    /// Up to so many bytes; 0 for clients that do not refer to earlier messages.
    pub(super) fn of(bytes_max: usize) -> Self {
        History { bytes: Vec::new(), bytes_max }
    }

    fn add(&mut self, message: &[u8]) {
        let new = &message[message.len().saturating_sub(self.bytes_max)..];
        let kept = self.bytes.len().min(self.bytes_max - new.len());
        self.bytes.drain(..self.bytes.len() - kept);
        self.bytes.extend_from_slice(new);
    }
}

/// Inflates a message and hands its bytes, at most `bytes_max`, to `take`.
///
/// # Errors
///
/// [`InflateError`]. What a message that is too long would become does not matter: inflating ends one
/// byte beyond `bytes_max`.
pub(super) fn inflate<T>(
    deflated: &[u8],
    history: &mut History,
    bytes_max: usize,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T, InflateError> {
    INFLATER.with_borrow_mut(|inflater| {
        let Inflater { stream, out } = inflater;
        stream.reset(false);
        if !history.bytes.is_empty() {
            stream.set_dictionary(&history.bytes).map_err(|_| InflateError::Malformed)?;
        }
        let count = run(stream, deflated, out, bytes_max);
        let taken = count.map(|count| {
            history.add(&out[..count]);
            take(&out[..count])
        });
        if out.len() > OUT_BYTES_KEPT {
            *out = Vec::new();
        }
        taken
    })
}

/// Inflates a message that refers to nothing earlier. `None` if it is malformed or longer than `bytes_max`.
#[cfg(feature = "server")]
pub(crate) fn inflate_alone<T>(deflated: &[u8], bytes_max: usize, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
    inflate(deflated, &mut History::of(0), bytes_max, take).ok()
}

/// Inflates into `out`, which grows as need be, and gives the number of bytes.
fn run(stream: &mut Inflate, deflated: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<usize, InflateError> {
    let mut count = 0;
    let mut ended = false;
    for mut input in [deflated, &BLOCK_END, &LAST_BLOCK] {
        while !input.is_empty() {
            if count == out.len() {
                // One byte of room more than may be used shows that there would be more.
                let len = (2 * count).clamp(OUT_BYTES_MIN, bytes_max.saturating_add(1).max(OUT_BYTES_MIN));
                out.resize(len, 0);
            }
            let (read, written) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(input, &mut out[count..], InflateFlush::NoFlush)
                .map_err(|_| InflateError::Malformed)?;
            let read = (stream.total_in() - read) as usize;
            let written = (stream.total_out() - written) as usize;
            input = &input[read..];
            count += written;
            if count > bytes_max {
                return Err(InflateError::TooLong);
            }
            ended = status == Status::StreamEnd;
            if ended {
                // RFC 7692, 7.2.3.4: a block that says it is the last one may be followed by others.
                stream.reset(false);
            } else if read == 0 && written == 0 && count < out.len() {
                return Err(InflateError::Malformed);
            }
        }
        // What is still in the stream for want of room comes out with the next input.
    }
    // The last block was mine: had the message ended inside a block, it would not have been read as one.
    if ended { Ok(count) } else { Err(InflateError::Malformed) }
}

struct Inflater {
    stream: Inflate,
    /// Where the inflated bytes come to stand.
    out: Vec<u8>,
}

thread_local! {
    /// Some 48 KB, and the buffer. A message may refer back as far as DEFLATE can, whatever was agreed.
    static INFLATER: RefCell<Inflater> =
        RefCell::new(Inflater { stream: Inflate::new(false, 15), out: Vec::new() });
}

/// An empty block that says it is the last one.
pub(super) const LAST_BLOCK: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];

/// The buffer's size to begin with, and what a thread keeps of it between messages.
const OUT_BYTES_MIN: usize = 16 * 1024;
const OUT_BYTES_KEPT: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

    fn alone(deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
        inflate(deflated, &mut History::of(0), bytes_max, <[u8]>::to_vec)
    }

    fn check(deflated: &[u8], expected: &str) {
        assert_eq!(alone(deflated, 100).as_deref(), Ok(expected.as_bytes()));
    }

    #[test]
    fn rfc7692_7_2_3_1_one_block() {
        check(HELLO, "Hello");
    }

    #[test]
    fn rfc7692_7_2_3_2_a_second_message_that_refers_to_the_first() {
        let mut history = History::of(1 << 15);
        let first = inflate(HELLO, &mut history, 100, <[u8]>::to_vec);
        let second = inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], &mut history, 100, <[u8]>::to_vec);
        assert_eq!((first.as_deref(), second.as_deref()), (Ok(&b"Hello"[..]), Ok(&b"Hello"[..])));
        assert_eq!(alone(&[0xf2, 0x00, 0x11, 0x00, 0x00], 100), Err(InflateError::Malformed));
    }

    #[test]
    fn rfc7692_7_2_3_3_a_block_without_compression() {
        check(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello");
    }

    #[test]
    fn rfc7692_7_2_3_4_a_block_that_says_it_is_the_last() {
        check(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello");
    }

    #[test]
    fn rfc7692_7_2_3_5_two_blocks_in_one_message() {
        check(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello");
    }

    #[test]
    fn rfc7692_7_2_3_6_an_empty_message() {
        check(&[0x00], "");
    }

    #[test]
    fn what_is_not_whole_blocks_is_refused() {
        for deflated in
            [&b""[..], b"garbage", &[0xff; 20], &HELLO[..3], &HELLO[..6], &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]]
        {
            assert_eq!(alone(deflated, 100), Err(InflateError::Malformed), "{deflated:?}");
        }
    }

    #[test]
    fn a_message_is_inflated_up_to_its_limit_and_no_further() {
        assert_eq!(alone(HELLO, 5).as_deref(), Ok(&b"Hello"[..]));
        assert_eq!(alone(HELLO, 4), Err(InflateError::TooLong));
        for len in [OUT_BYTES_MIN - 1, OUT_BYTES_MIN, OUT_BYTES_MIN + 1, 1_000_000] {
            let deflated = crate::ws::deflate::deflate(&vec![0; len], crate::ws::Window::Bits12, <[u8]>::to_vec);
            let deflated = deflated.expect("zeros become fewer");
            assert_eq!(alone(&deflated, len).map(|bytes| bytes.len()), Ok(len));
            assert_eq!(alone(&deflated, len - 1), Err(InflateError::TooLong));
            INFLATER.with_borrow(|inflater| assert!(inflater.out.len() <= OUT_BYTES_KEPT));
        }
    }

    #[test]
    fn history_is_as_long_as_it_may_be() {
        let mut history = History::of(5);
        history.add(b"abc");
        assert_eq!(history.bytes, b"abc");
        history.add(b"defg");
        assert_eq!(history.bytes, b"cdefg");
        history.add(b"0123456789");
        assert_eq!(history.bytes, b"56789");
        history.add(b"");
        assert_eq!(history.bytes, b"56789");
    }
}
