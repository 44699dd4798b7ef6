//! File descriptors: as many as the system allows, and one in reserve.
//!
//! A broker that spins on a full table is the classic outage: `accept` fails at once and the connection
//! stays in the queue. The reserve lets it be taken, refused politely and closed.

use std::fs::File;
use std::sync::Mutex;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says so if that is too few.
pub(super) fn raise(connections_max: usize) {
    /// Listeners, epoll instances, logs, the reserve.
    const OTHERS: u64 = 64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, ?maximum, "the limit of file descriptors could not be raised");
    }
    let wanted = connections_max as u64 + OTHERS;
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < wanted
    {
        let possible = limit.saturating_sub(OTHERS);
        tracing::info!(
            limit,
            "file descriptors allow about {possible} connections of the {connections_max} configured"
        );
    }
}

/// A descriptor that is given up for a moment when there is no other.
#[derive(Debug)]
pub(super) struct Reserve(Mutex<Option<File>>);

impl Reserve {
    pub(super) fn new() -> Self {
        Reserve(Mutex::new(open()))
    }

    /// Runs `refuse` with one descriptor to spare.
    pub(super) fn spend(&self, refuse: impl FnOnce()) {
        // One core at a time; the others back off.
        let Ok(mut reserve) = self.0.try_lock() else { return };
        *reserve = None;
        refuse();
        *reserve = open();
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
