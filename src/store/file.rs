//! The file itself: where it is, whose it is, and the tables in it.
//!
//! A lock file beside it says that a process is at it, for as long as that lives. A new file is made under
//! another name and renamed when it is whole, so that one that is short was cut short by somebody else.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, TableDefinition};

use super::error::StoreError;
use super::overlay::Overlay;

/// What these tables hold. It rises with every change that an older version would misread.
const FORMAT: u64 = 1;

/// Memory for pages, whatever the file's size: what is written goes out when it is full.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

const FILE: &str = "history.redb";
const NEW_FILE: &str = "history.redb.new";
const LOCK: &str = "lock";

/// Facts about the file.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const ABOUT_FORMAT: &str = "format";
/// There from the end of a process that wrote everything until the begin of the next: the file's [`identity`].
const ABOUT_CLEAN: &str = "clean";

/// A topic's epoch, the place of its newest message, and when it was last published to or left.
pub(super) const TOPICS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("topics");
/// [Blocks](super::block) of messages, by topic and the place of the first.
pub(super) const MESSAGES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("messages");
/// Publishes that may be repeated, in their order; after a crash some may be missing between others.
pub(super) const MARKS: TableDefinition<'_, u64, MarkRow> = TableDefinition::new("marks");

/// Name, time, and the epoch and place that a publish came to.
pub(super) type MarkRow = (&'static str, u64, u64, u64);

/// What is wrong with a file, before it is said which.
#[derive(Debug)]
pub(super) enum Fault {
    Redb(redb::Error),
    Newer(u64),
}

impl Fault {
    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Fault::Redb(redb::Error::Corrupted(why.into()))
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Redb(error.into())
    }
}

/// A directory that belongs to this process.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

impl Home {
    /// Takes possession of `dir`, and makes it and an empty file in it if there is none.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let refused = |path: &Path, error| StoreError::Io { path: path.to_owned(), error };
        // What was published is for those who may read it.
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| refused(dir, error))?;
        let lock_path = dir.join(LOCK);
        let lock = private(OpenOptions::new().create(true)).open(&lock_path);
        let lock = lock.map_err(|error| refused(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: lock_path }),
            Err(TryLockError::Error(error)) => return Err(refused(&lock_path, error)),
        }
        let home = Home { path: dir.join(FILE), _lock: lock };
        if !home.path.try_exists().map_err(|error| refused(&home.path, error))? {
            home.attempt(|| make(dir, &home.path))?;
        }
        Ok(home)
    }

    /// Has `read` look at what is in the file, and tells it whether everything was written to it at its last
    /// end. Whatever is found, the file stays as it is.
    pub(super) fn look<T>(
        &self,
        read: impl FnOnce(&ReadTransaction, bool) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.attempt(|| {
            let file = File::open(&self.path)?;
            let found = file.metadata()?;
            if found.len() == 0 {
                return Err(Fault::damaged("it is empty"));
            }
            let identity = identity(&found);
            let repaired = Arc::new(AtomicBool::new(false));
            let said = Arc::clone(&repaired);
            let mut builder = builder();
            builder.set_repair_callback(move |_| said.store(true, Ordering::Relaxed));
            let mut database = builder.create_with_backend(Overlay::new(file)?)?;
            let repaired = repaired.load(Ordering::Relaxed);
            // A repair has looked at everything already.
            if !repaired && !database.check_integrity()? {
                return Err(Fault::damaged("checksums do not match"));
            }
            let transaction = database.begin_read()?;
            let about = transaction.open_table(ABOUT)?;
            match about.get(ABOUT_FORMAT)?.map(|format| format.value()) {
                Some(FORMAT) => {}
                Some(newer) if newer > FORMAT => return Err(Fault::Newer(newer)),
                _ => return Err(Fault::damaged("it does not say its format")),
            }
            let mark = about.get(ABOUT_CLEAN)?.map(|mark| mark.value());
            let clean = mark == Some(identity) && !repaired;
            read(&transaction, clean)
        })
    }

    /// Opens the file for writing. From now on, and for good, it was not written to the end.
    pub(super) fn open(&self) -> Result<Database, StoreError> {
        self.attempt(|| {
            let database = builder().open(&self.path)?;
            mark_clean(&database, None)?;
            Ok(database)
        })
    }

    /// Says for good that everything has been written, and closes the file.
    pub(super) fn finish(&self, database: Database) -> Result<(), StoreError> {
        self.attempt(move || mark_clean(&database, Some(identity(&fs::metadata(&self.path)?))))
    }

    /// Does something with the file; what goes wrong is said of it.
    pub(super) fn attempt<T>(&self, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
        // redb takes some things for granted that a damaged file does not keep. What a panic leaves behind is a
        // database, which is closed then and not used any more.
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Fault::damaged("reading it failed")));
        let path = || self.path.clone();
        done.map_err(|fault| match fault {
            Fault::Newer(found) => StoreError::Newer { path: path(), found, known: FORMAT },
            Fault::Redb(redb::Error::DatabaseAlreadyOpen) => StoreError::InUse { path: path() },
            Fault::Redb(redb::Error::Io(error)) if !is_about_content(&error) => StoreError::Io { path: path(), error },
            Fault::Redb(redb::Error::Corrupted(why)) => StoreError::Damaged { path: path(), why },
            Fault::Redb(error) => StoreError::Damaged { path: path(), why: error.to_string() },
        })
    }

    /// The file's length; 0 if it cannot be told.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }
}

fn make(dir: &Path, path: &Path) -> Result<(), Fault> {
    let new = dir.join(NEW_FILE);
    let file = private(OpenOptions::new().create(true).truncate(true)).open(&new)?;
    let identity = identity(&file.metadata()?);
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert(ABOUT_FORMAT, FORMAT)?;
        about.insert(ABOUT_CLEAN, identity)?;
        transaction.open_table(TOPICS)?;
        transaction.open_table(MESSAGES)?;
        transaction.open_table(MARKS)?;
    }
    transaction.commit()?;
    drop(database);
    fs::rename(&new, path)?;
    // The name has to last as well.
    Ok(File::open(dir)?.sync_all()?)
}

/// Tells a file from its copies, as far as the system can. A copy that was put back after the original had
/// gone on must not go on as well: it would use offsets twice.
fn identity(file: &Metadata) -> u64 {
    let born = file.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    // The number of a file that was removed is used again; the time of its birth, where it is known, is not.
    file.ino().rotate_left(32) ^ born.map_or(0, |born| born.as_nanos() as u64)
}

fn mark_clean(database: &Database, identity: Option<u64>) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        match identity {
            Some(identity) => about.insert(ABOUT_CLEAN, identity)?,
            None => about.remove(ABOUT_CLEAN)?,
        };
    }
    Ok(transaction.commit()?)
}

/// Whether an error of input or output says that the file is not what it should be.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.read(true).write(true).mode(0o600)
}
