//! Compression of outgoing messages (RFC 7692, 7.2.1).
//!
//! A message is compressed by itself, whatever came before: so the bytes can be made once and sent
//! to every client whose window is large enough. A compressor belongs to a thread, not to a
//! connection.

use std::cell::RefCell;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Method, Status, Strategy};

use super::frame::{Opcode, head};

/// The window of a compressor: how far back it refers, and so what a client needs to inflate.
///
/// Two are enough for every client: most allow any window, and with more of them a message would be
/// compressed more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 512 bytes, for clients that ask for the smallest.
    Bits9,
    /// 4 KiB. A larger one hardly makes messages shorter.
    Bits12,
}

impl Window {
    /// All windows, by their numbers.
    pub(crate) const ALL: [Window; 2] = [Window::Bits9, Window::Bits12];

    /// The largest window of no more than so many bits, 9 to 15.
    pub(super) fn within(bits: u8) -> Self {
        if bits < 12 { Window::Bits9 } else { Window::Bits12 }
    }

    fn config(self) -> DeflateConfig {
        // The memory levels from which on messages do not get shorter.
        let (window_bits, mem_level) = match self {
            Window::Bits9 => (9, 5),
            Window::Bits12 => (12, 6),
        };
        DeflateConfig {
            level: LEVEL,
            method: Method::Deflated,
            // Negative: without zlib's header.
            window_bits: -window_bits,
            mem_level,
            strategy: Strategy::Default,
        }
    }
}

/// Appends a frame that is a whole message, compressed if that makes it shorter. Gives whether it is.
///
/// Short messages, of less than some 256 bytes, rarely get much shorter and are better sent with
/// [`push`](super::push).
///
/// # Examples
///
/// ```
/// use fanfare::ws::{Opcode, Window, push_deflated};
///
/// let mut out = Vec::new();
/// assert!(push_deflated(&mut out, Opcode::Text, &[b'x'; 1000], Window::Bits12));
/// assert!(out.len() < 32);
/// assert_eq!(out[0], 0xC1, "FIN, RSV1 and text");
/// ```
pub fn push_deflated(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], window: Window) -> bool {
    let deflated = deflate(payload, window, |deflated| {
        out.extend_from_slice(&head(opcode, deflated.len()).deflated());
        out.extend_from_slice(deflated);
    });
    if deflated.is_none() {
        super::push(out, opcode, payload);
    }
    deflated.is_some()
}

/// Compresses a message and hands the bytes to `take`. `None` if they are not fewer than before.
pub(crate) fn deflate<T>(payload: &[u8], window: Window, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
    COMPRESSORS.with_borrow_mut(|compressors| {
        let compressor = compressors[window as usize].get_or_insert_with(|| Compressor::new(window));
        let Compressor { stream, out } = compressor;
        // Room for what becomes longer as well. A compressor that is stopped for want of room loses some of
        // its own for good (zlib-rs 0.6.8 takes a reset buffer up where it was left, not at its start), and
        // panics when none is left: a few messages in a row that do not shrink are enough.
        let room = payload.len() + payload.len() / 8 + 64;
        if out.len() < room {
            out.resize(room, 0);
        }
        stream.reset();
        let status = stream.compress(payload, &mut out[..room], DeflateFlush::SyncFlush);
        let count = usize::try_from(stream.total_out()).unwrap_or(usize::MAX);
        if count >= room {
            *compressor = Compressor::new(window);
            return None;
        }
        let taken = match (status, out[..count].strip_suffix(&BLOCK_END)) {
            (Ok(Status::Ok), Some(deflated)) if deflated.len() < payload.len() => Some(take(deflated)),
            _ => None,
        };
        if out.len() > OUT_BYTES_KEPT {
            *out = Vec::new();
        }
        taken
    })
}

struct Compressor {
    stream: Deflate,
    /// Where the compressed bytes come to stand.
    out: Vec<u8>,
}

impl Compressor {
    fn new(window: Window) -> Self {
        Compressor { stream: Deflate::new_with_config(window.config()), out: Vec::new() }
    }
}

thread_local! {
    /// One for each window, made when it is first needed: some 150 KB each.
    static COMPRESSORS: RefCell<[Option<Compressor>; Window::ALL.len()]> = const { RefCell::new([const { None }; 2]) };
}

/// RFC 7692, 7.2.1: the end of the empty block that a flush appends. It is not sent.
pub(super) const BLOCK_END: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// How hard the compressor tries, 1 to 9. Of 1 KiB level 1 leaves 54 % in 4 µs, 3 leaves 39 % in 11 µs,
/// which many subscribers share; more effort hardly makes it shorter (docs/benchmarks.md, Deflate).
const LEVEL: i32 = 3;

/// What a thread keeps of its buffer between messages.
const OUT_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::inflate::{History, inflate};

    /// `payload` comes back from its compressed form; gives how many bytes that has.
    fn round_trip(payload: &[u8], window: Window) -> Option<usize> {
        let deflated = deflate(payload, window, <[u8]>::to_vec)?;
        assert!(deflated.len() < payload.len());
        let back = inflate(&deflated, &mut History::of(0), payload.len(), <[u8]>::to_vec);
        assert_eq!(back.as_deref(), Ok(payload));
        Some(deflated.len())
    }

    #[test]
    fn rfc7692_7_2_1_what_is_compressed_can_be_inflated() {
        for window in Window::ALL {
            for len in [100, 1_000, 4_096, 10_000, 70_000, 300_000] {
                let payload: Vec<u8> =
                    (0..len).flat_map(|n: u32| n.to_string().into_bytes()).take(len as usize).collect();
                let deflated = round_trip(&payload, window).expect("digits become fewer");
                assert!(deflated * 3 < payload.len() * 2, "{len} became {deflated}");
            }
        }
    }

    #[test]
    fn a_window_reaches_as_far_back_as_its_bits_say() {
        // The same 256 bytes that do not repeat themselves, some distance apart.
        let noise: Vec<u8> = (0u32..256).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let gap = vec![b' '; 1_000];
        let payload = [&noise[..], &gap, &noise].concat();
        let [short, long] = Window::ALL.map(|window| round_trip(&payload, window).expect("blanks become fewer"));
        assert!(long + 200 < short, "{long} with 4096 bytes, {short} with 512");
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        for window in Window::ALL {
            assert_eq!(round_trip(b"", window), None);
            assert_eq!(round_trip(b"a", window), None);
            assert_eq!(round_trip(b"abcdefgh", window), None);
            let mut state = 1_u64;
            let noise: Vec<u8> = (0..50_000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            assert_eq!(round_trip(&noise, window), None);
        }
    }

    #[test]
    fn many_messages_that_do_not_shrink_leave_a_compressor_as_it_was() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        for window in Window::ALL {
            let digits = round_trip(&[b'7'; 2_000], window);
            for len in [256, 1_024, 4_096].repeat(100) {
                let payload: Vec<u8> = (0..len).map(|_| noise()).collect();
                assert_eq!(round_trip(&payload, window), None);
            }
            assert_eq!(round_trip(&[b'7'; 2_000], window), digits);
        }
    }

    #[test]
    fn each_message_is_compressed_by_itself() {
        let one = deflate(&[b'x'; 500], Window::Bits12, <[u8]>::to_vec);
        deflate(b"something else that is long enough to be compressed compressed", Window::Bits12, |_| ());
        assert_eq!(deflate(&[b'x'; 500], Window::Bits12, <[u8]>::to_vec), one);
    }

    #[test]
    fn clients_share_the_largest_window_that_they_allow() {
        let windows = (9..=15).map(Window::within);
        let expected = [Window::Bits9; 3].into_iter().chain([Window::Bits12; 4]);
        assert!(windows.eq(expected));
    }
}
