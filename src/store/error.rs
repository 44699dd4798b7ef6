//! Why a store cannot be used, and what to do.

use std::io;
use std::path::PathBuf;

/// Why a [`Store`](super::Store) cannot be opened or written. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refuses: no room, no permission, no such directory. The operator's to mend.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// Another process has the store open, or this one has, a second time.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// A newer version of fanfare wrote it.
    #[error(
        "{} has format {found}, and this version knows no later one than {known}: start the version that wrote it, \
         or move the file away to begin with empty histories",
        path.display()
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The latest that is known here.
        known: u64,
    },
    /// It is truncated or altered, or no store at all.
    #[error(
        "{} is damaged ({why}): put a backup in its place, or move the file away to begin with empty histories",
        path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The broker has topics already. The caller's fault: a store is opened before anything is published.
    #[error("a store can only be opened for a broker that has no topics yet")]
    InBusyBroker,
}
