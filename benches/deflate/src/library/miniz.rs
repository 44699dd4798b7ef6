//! `miniz_oxide`: Rust throughout and no `unsafe`. Its window has 15 bits, always.

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::inflate::stream::{InflateState, MinReset};
use miniz_oxide::{DataFormat, MZFlush, deflate, inflate};

use super::{Deflater, Inflater, Library, without_tail};

pub(crate) fn library() -> Box<dyn Library> {
    Box::new(MinizOxide)
}

struct MinizOxide;

impl Library for MinizOxide {
    fn name(&self) -> String {
        "miniz_oxide".to_owned()
    }

    fn levels(&self) -> &'static [u8] {
        &[1, 2, 3, 6]
    }

    fn deflater(&self, level: u8) -> Box<dyn Deflater> {
        // A negative number of bits stands for a raw stream.
        Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(level.into(), -15, 0)))
    }

    fn inflater(&self) -> Box<dyn Inflater> {
        Box::new(InflateState::new(DataFormat::Raw))
    }
}

impl Deflater for CompressorOxide {
    fn reset(&mut self) {
        CompressorOxide::reset(self);
    }

    fn deflate(&mut self, message: &[u8], out: &mut [u8]) -> usize {
        let done = deflate::stream::deflate(self, message, out, MZFlush::Sync);
        done.status.expect("the stream is usable");
        assert_eq!(done.bytes_consumed, message.len(), "the whole message");
        without_tail(out, done.bytes_written)
    }
}

impl Inflater for InflateState {
    fn reset(&mut self) {
        self.reset_as(MinReset);
    }

    fn inflate(&mut self, payload_and_tail: &[u8], out: &mut [u8]) -> usize {
        let done = inflate::stream::inflate(self, payload_and_tail, out, MZFlush::Sync);
        done.status.expect("a valid stream");
        done.bytes_written
    }
}
