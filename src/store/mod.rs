//! Histories in a file, so that a restart loses no client's position.
//!
//! The broker works in memory; every few seconds what has changed is written to an embedded database
//! ([redb]), and at the end the rest, with a mark that says so. A server that is started finds the mark and takes
//! it away before anybody can publish. If it is there, topics go on with their epochs and numbers. If it is
//! not, messages were published that nobody knows of any more, and their offsets must not be used
//! again: every topic gets a new epoch, under which it still has the messages that were written. A client that
//! comes back is told, and nothing is lost in silence.
//!
//! What is promised hangs on the mark alone: writing may fail, or stop, at any time. It names the file that it
//! is in, so that a backup which is put back later is not taken for what it was.
//!
//! [redb]: https://www.redb.org

mod block;
mod error;
mod file;
mod overlay;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::sync::atomic::Ordering;

use redb::Database;

use self::file::Home;
use self::write::Progress;
use crate::broker::Broker;

pub use self::error::StoreError;

/// A directory in which a broker's histories and numbering outlast its process.
///
/// Dropped without [`close`](Self::close) it is as after a crash: topics get new epochs the next time, and
/// keep the messages that had been written.
///
/// All of it blocks: in asynchronous code it belongs into a thread of its own, or tokio's `spawn_blocking`.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fanfare::{Broker, Store};
///
/// # let dir = std::env::temp_dir().join(format!("fanfare-doc-{}", std::process::id()));
/// let broker = Broker::new();
/// let store = Store::open(&dir, &broker)?;
/// broker.publish("orders", "one").await?;
/// store.close()?;
///
/// // The next process.
/// let broker = Broker::new();
/// let store = Store::open(&dir, &broker)?;
/// assert!(store.restored().clean);
/// assert_eq!(broker.publish("orders", "two").await?.offset, 2);
/// # store.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Store {
    broker: Broker,
    home: Home,
    /// `None` after a failure: it has to be opened anew.
    database: Option<Database>,
    progress: Progress,
    restored: Restored,
}

/// What a store had in it when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Whether the last process that had it open wrote everything, to this very file and no copy of it. If not,
    /// topics have new epochs.
    pub clean: bool,
    /// Topics that are there again.
    pub topics: usize,
    /// Messages that are there again: those that the broker's settings still retain.
    pub messages: usize,
    /// Topics for which the broker has no room any more.
    pub left_out: usize,
}

impl Store {
    /// Opens the store in `dir`, which is made if need be, and puts what is in it into `broker`. To be done
    /// before anything is published.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. What is in the directory stays as it is, and the broker may have a part of it: it should
    /// not be used.
    pub fn open(dir: impl AsRef<Path>, broker: &Broker) -> Result<Store, StoreError> {
        if broker.registry().topics() > 0 {
            return Err(StoreError::InBusyBroker);
        }
        let home = Home::take(dir.as_ref())?;
        let restored = home.look(|file, clean| read::restore(file, clean, broker))?;
        let database = home.open()?;
        broker.registry().store.bytes.store(home.bytes(), Ordering::Relaxed);
        let progress = Progress::after(restored.clean);
        Ok(Store { broker: broker.clone(), home, database: Some(database), progress, restored })
    }

    /// What was in it when it was opened.
    pub fn restored(&self) -> Restored {
        self.restored
    }

    /// Writes what has changed since the last time. What is published meanwhile is not held up.
    ///
    /// After a failure the broker goes on as before, and the next call tries again.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: most often there is no room on the disk.
    pub fn write(&mut self) -> Result<(), StoreError> {
        let outcome = self.attempt();
        let figures = &self.broker.registry().store;
        figures.bytes.store(self.home.bytes(), Ordering::Relaxed);
        match &outcome {
            Ok(()) => {
                figures.writes.fetch_add(1, Ordering::Relaxed);
                if figures.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("histories are written again");
                }
            }
            Err(error) => {
                figures.failures.fetch_add(1, Ordering::Relaxed);
                if !figures.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "histories are not written, a crash would lose them");
                }
            }
        }
        outcome
    }

    /// Ends publishing, writes everything, and marks the store as written to the end.
    ///
    /// The broker takes no message any more: who publishes is told that it takes no more topics.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). The store is then as after a crash.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.broker.registry().seal();
        self.write()?;
        match self.database.take() {
            Some(database) => self.home.finish(database),
            None => Ok(()),
        }
    }

    fn attempt(&mut self) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.home.open()?,
        };
        // Dropped with everything else if this fails: after an error redb wants to be opened anew.
        let (broker, progress) = (&self.broker, &mut self.progress);
        let database = self.home.attempt(move || write::write(&database, broker, progress).map(|()| database))?;
        self.database = Some(database);
        Ok(())
    }
}
