//! File descriptors: as many as the system allows, and one in reserve.
//!
//! A broker that spins on a full table is the classic outage: `accept` fails at once and the connection
//! stays in the queue. The reserve lets it be taken, refused politely and closed.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

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

    /// Sees to it that there is one again; false if none can be had. Another core may have taken the
    /// descriptor while it was given up: unless it gives the connection it has just accepted for it,
    /// nobody who comes later could be refused, and they would wait in the queue without an answer.
    pub(super) fn restore(&self) -> bool {
        // What it guards is whole after every statement, so a panic elsewhere does not spoil it.
        let mut reserve = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reserve.is_none() {
            *reserve = open();
        }
        reserve.is_some()
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
