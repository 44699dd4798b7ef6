//! zlib-ng, in C, through flate2, which fixes the memory level at 8.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{Deflater, Inflater, Library, without_tail};

pub(crate) fn library() -> Option<Box<dyn Library>> {
    Some(Box::new(ZlibNg))
}

struct ZlibNg;

impl Library for ZlibNg {
    fn name(&self) -> String {
        "zlib-ng 15/8".to_owned()
    }

    fn levels(&self) -> &'static [u8] {
        &[1, 2, 3, 6]
    }

    fn deflater(&self, level: u8) -> Box<dyn Deflater> {
        Box::new(Compress::new_with_window_bits(Compression::new(level.into()), false, 15))
    }

    fn inflater(&self) -> Box<dyn Inflater> {
        Box::new(Decompress::new(false))
    }
}

impl Deflater for Compress {
    fn reset(&mut self) {
        Compress::reset(self);
    }

    fn deflate(&mut self, message: &[u8], out: &mut [u8]) -> usize {
        let (read, written) = (self.total_in(), self.total_out());
        self.compress(message, out, FlushCompress::Sync).expect("the stream is usable");
        assert_eq!(self.total_in() - read, message.len() as u64, "the whole message");
        without_tail(out, (self.total_out() - written) as usize)
    }
}

impl Inflater for Decompress {
    fn reset(&mut self) {
        Decompress::reset(self, false);
    }

    fn inflate(&mut self, payload_and_tail: &[u8], out: &mut [u8]) -> usize {
        let written = self.total_out();
        self.decompress(payload_and_tail, out, FlushDecompress::Sync).expect("a valid stream");
        (self.total_out() - written) as usize
    }
}
