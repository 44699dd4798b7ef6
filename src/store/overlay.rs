//! A file that is read and never written: what is written stays in memory.
//!
//! redb repairs what it opens after a crash. A file that turns out to be beyond repair has then been changed,
//! and is worth less to whoever wants to look into it. So it is first opened like this.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// 0 <= from_file <= length of the file: what lies behind was cut off once, and is zero.
    from_file: u64,
    /// Pages that are not as in the file.
    pages: HashMap<u64, Box<[u8; PAGE_BYTES as usize]>>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Overlay { file, written: Mutex::new(Written { len, from_file: len, pages: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` with the file's bytes from `offset` on, and zeros behind them.
    fn read_file(&self, written: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = written.from_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_file, behind) = out.split_at_mut(there);
        behind.fill(0);
        self.file.read_exact_at(from_file, offset)
    }
}

/// The parts of pages that a range of bytes covers: the page, and from where to where in it.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = offset + len as u64;
    (offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).map(move |page| {
        let base = page * PAGE_BYTES;
        let from = offset.saturating_sub(base) as usize;
        (page, from..(end - base).min(PAGE_BYTES) as usize)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(&written, offset, out)?;
        if written.pages.is_empty() {
            return Ok(());
        }
        let mut filled = 0;
        for (page, part) in parts(offset, out.len()) {
            let to = &mut out[filled..filled + part.len()];
            filled += part.len();
            if let Some(bytes) = written.pages.get(&page) {
                to.copy_from_slice(&bytes[part]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.lock();
        if len < written.len {
            written.from_file = written.from_file.min(len);
            written.pages.retain(|page, _| page * PAGE_BYTES < len);
            if let Some(bytes) = written.pages.get_mut(&(len / PAGE_BYTES)) {
                bytes[(len % PAGE_BYTES) as usize..].fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.lock();
        let mut taken = 0;
        for (page, part) in parts(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                let mut bytes = Box::new([0; PAGE_BYTES as usize]);
                self.read_file(&written, page * PAGE_BYTES, &mut *bytes)?;
                written.pages.insert(page, bytes);
            }
            let bytes = written.pages.get_mut(&page).expect("it was put there");
            let from = &data[taken..taken + part.len()];
            taken += part.len();
            bytes[part].copy_from_slice(from);
        }
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }
}
