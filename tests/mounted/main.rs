//! The service inside a program of somebody else: on streams that are no sockets, on several runtimes,
//! under a path, and sent away by a call.
//!
//! Most of it happens in memory, with a clock that stands still until nothing else is left to do.

mod client;
mod credentials;
mod drain;
mod events;
mod limits;
mod memory;
mod prefix;
mod runtimes;

use std::time::Duration;

/// How long a test waits for what must come: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
