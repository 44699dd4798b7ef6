//! The thread that writes histories to the disk, every so often and at the end.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::StartError;
use crate::broker::Broker;
use crate::config::History;
use crate::store::Store;

/// The thread. Dropped, it writes everything and is waited for.
#[derive(Debug)]
pub(super) struct Writer {
    /// Both are there until the end.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// Write now.
    Write,
    /// End publishing, write everything, and say so.
    End(oneshot::Sender<()>),
}

impl Writer {
    /// Opens the store, if there is to be one, and begins to write to it.
    pub(super) fn start(config: &History, broker: &Broker) -> Result<Option<Self>, StartError> {
        if config.data_dir.is_empty() {
            return Ok(None);
        }
        let store = Store::open(&config.data_dir, broker)?;
        let restored = store.restored();
        tracing::info!(topics = restored.topics, messages = restored.messages, "histories are read");
        if !restored.clean {
            tracing::warn!(
                "the last server did not end in order, or this is a copy of its file: topics begin anew with what it had written"
            );
        }
        if restored.left_out > 0 {
            tracing::warn!(topics = restored.left_out, "topics are left out, as there may not be so many");
        }
        let (orders, received) = mpsc::channel();
        let every = Duration::from_millis(config.sync_ms);
        let thread = thread::Builder::new().name("fanfare-store".to_owned());
        let thread = thread.spawn(move || write(store, every, &received)).map_err(StartError::Thread)?;
        Ok(Some(Writer { orders: Some(orders), thread: Some(thread) }))
    }

    /// Has it write now, so that there is less to do at the end.
    pub(super) fn write(&self) {
        self.order(Order::Write);
    }

    /// Ends publishing, writes everything and returns when that is done.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the thread goes on for as long as the process does.
    pub(super) async fn finish(mut self) {
        let (done, is_done) = oneshot::channel();
        self.order(Order::End(done));
        self.thread = None;
        // An error says that the thread has panicked, of which it has told itself.
        let _ = is_done.await;
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // It listens until it is told to end, or panics.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // As above.
            let _ = thread.join();
        }
    }
}

fn write(mut store: Store, every: Duration, orders: &Receiver<Order>) {
    loop {
        match orders.recv_timeout(every) {
            // It says itself when it begins to fail, and is tried again.
            Ok(Order::Write) | Err(RecvTimeoutError::Timeout) => drop(store.write()),
            Ok(Order::End(done)) => {
                close(store);
                // After yet another signal nobody waits.
                let _ = done.send(());
                return;
            }
            Err(RecvTimeoutError::Disconnected) => return close(store),
        }
    }
}

fn close(store: Store) {
    if let Err(error) = store.close() {
        tracing::error!(%error, "not everything was written: topics will begin anew");
    }
}
