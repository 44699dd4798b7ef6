//! libdeflate, in C: it knows whole streams only, so no message can refer to an earlier one.

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::{Deflater, Inflater, Library};

pub(crate) fn library() -> Option<Box<dyn Library>> {
    Some(Box::new(Libdeflate))
}

struct Libdeflate;

impl Library for Libdeflate {
    fn name(&self) -> String {
        "libdeflate".to_owned()
    }

    fn levels(&self) -> &'static [u8] {
        &[1, 2, 3, 6]
    }

    fn deflater(&self, level: u8) -> Box<dyn Deflater> {
        Box::new(Compressor::new(CompressionLvl::new(level.into()).expect("a level that it has")))
    }

    fn inflater(&self) -> Box<dyn Inflater> {
        Box::new(Decompressor::new())
    }
}

impl Deflater for Compressor {
    fn reset(&mut self) {}

    fn deflate(&mut self, message: &[u8], out: &mut [u8]) -> usize {
        let written = self.deflate_compress(message, out).expect("room for the payload");
        // RFC 7692, 7.2.3.4: behind a final block comes the header of an empty stored one.
        out[written] = 0;
        written + 1
    }
}

impl Inflater for Decompressor {
    /// A flushed stream, and an empty stored block that is final.
    fn tail(&self) -> &'static [u8] {
        &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff]
    }

    fn reset(&mut self) {}

    fn inflate(&mut self, payload_and_tail: &[u8], out: &mut [u8]) -> usize {
        self.deflate_decompress(payload_and_tail, out).expect("a valid stream")
    }
}
