//! zlib-rs, without flate2 before it, which would fix the memory level at 8.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush};

use super::{Deflater, Inflater, Library, without_tail};

pub(crate) fn library(window_bits: u8, mem_level: u8) -> Box<dyn Library> {
    Box::new(ZlibRs { window_bits, mem_level })
}

struct ZlibRs {
    window_bits: u8,
    mem_level: u8,
}

impl Library for ZlibRs {
    fn name(&self) -> String {
        format!("zlib-rs {}/{}", self.window_bits, self.mem_level)
    }

    fn levels(&self) -> &'static [u8] {
        &[1, 2, 3, 4, 6, 9]
    }

    fn deflater(&self, level: u8) -> Box<dyn Deflater> {
        let mut config = DeflateConfig::new(level.into());
        // Negative for a raw stream, without zlib's header and checksum.
        config.window_bits = -i32::from(self.window_bits);
        config.mem_level = self.mem_level.into();
        Box::new(Deflate::new_with_config(config))
    }

    fn inflater(&self) -> Box<dyn Inflater> {
        Box::new(Inflate::new(false, 15))
    }
}

impl Deflater for Deflate {
    fn reset(&mut self) {
        Deflate::reset(self);
    }

    fn deflate(&mut self, message: &[u8], out: &mut [u8]) -> usize {
        let (read, written) = (self.total_in(), self.total_out());
        self.compress(message, out, DeflateFlush::SyncFlush).expect("the stream is usable");
        assert_eq!(self.total_in() - read, message.len() as u64, "the whole message");
        without_tail(out, (self.total_out() - written) as usize)
    }
}

impl Inflater for Inflate {
    fn reset(&mut self) {
        Inflate::reset(self, false);
    }

    fn inflate(&mut self, payload_and_tail: &[u8], out: &mut [u8]) -> usize {
        let written = self.total_out();
        self.decompress(payload_and_tail, out, InflateFlush::SyncFlush).expect("a valid stream");
        (self.total_out() - written) as usize
    }
}
