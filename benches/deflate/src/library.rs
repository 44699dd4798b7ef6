//! The libraries, behind one trait: a message in, its payload on the wire out, and back.
//!
//! A payload is what RFC 7692, 7.2.1 makes of a message: a raw DEFLATE stream, flushed to a byte, without the
//! `00 00 ff ff` at its end. A library that can only finish a stream ends it with a final block and a zero
//! byte instead, as 7.2.3.4 allows.

pub(crate) mod miniz;
pub(crate) mod zlib;

#[cfg(feature = "libdeflate")]
pub(crate) mod libdeflate;
#[cfg(not(feature = "libdeflate"))]
pub(crate) use absent as libdeflate;

#[cfg(feature = "zlib-ng")]
pub(crate) mod zlib_ng;
#[cfg(not(feature = "zlib-ng"))]
pub(crate) use absent as zlib_ng;

#[cfg(not(all(feature = "libdeflate", feature = "zlib-ng")))]
pub(crate) mod absent;

/// What ends a flushed stream, left out on the wire.
pub(crate) const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// A library, set up in one way.
pub(crate) trait Library {
    /// Its name, and where they can be chosen the bits of its window and zlib's "memory level".
    fn name(&self) -> String;

    /// The levels worth a look.
    fn levels(&self) -> &'static [u8];

    fn deflater(&self, level: u8) -> Box<dyn Deflater>;

    /// An inflater with the largest window, which reads every stream.
    fn inflater(&self) -> Box<dyn Inflater>;
}

pub(crate) trait Deflater {
    /// Forgets earlier messages.
    fn reset(&mut self);

    /// Writes the payload of `message` to `out`, which must have room for it, and returns its length.
    fn deflate(&mut self, message: &[u8], out: &mut [u8]) -> usize;
}

pub(crate) trait Inflater {
    /// What has to follow a payload.
    fn tail(&self) -> &'static [u8] {
        TAIL
    }

    /// Forgets earlier messages.
    fn reset(&mut self);

    /// Writes the message to `out`, which must have room for it, and returns its length.
    fn inflate(&mut self, payload_and_tail: &[u8], out: &mut [u8]) -> usize;
}

/// Each library that was built in, with the largest window.
pub(crate) fn each() -> Vec<Box<dyn Library>> {
    let mut each = vec![zlib::library(15, 8), miniz::library()];
    each.extend(libdeflate::library());
    each.extend(zlib_ng::library());
    each
}

/// These, and zlib-rs with the windows that are best among the small ones.
pub(crate) fn all() -> Vec<Box<dyn Library>> {
    let mut all = each();
    all.splice(1..1, [zlib::library(12, 6), zlib::library(9, 5)]);
    all
}

/// The length of a flushed stream, of which `out` holds `written` bytes, without its end.
fn without_tail(out: &[u8], written: usize) -> usize {
    // With no room left the flush may not have been complete.
    assert!(written < out.len(), "room for the payload");
    assert!(out[..written].ends_with(TAIL), "a flushed stream");
    written - TAIL.len()
}
