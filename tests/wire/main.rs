//! The outside contract, held to the real server by clients over real sockets.
//!
//! Each file is a behaviour. They are one program, so that it is linked once and the clients that they
//! share are seen whole.

#![cfg(feature = "server")]

mod bad_data;
mod bad_input;
mod client;
mod commands;
mod compression;
mod connections;
mod credentials;
mod data;
mod delivery;
mod descriptors;
mod durability;
mod events;
mod figures;
#[path = "../support/frames.rs"]
mod frames;
mod framing;
mod handshake;
mod http;
mod http_api;
mod lifecycle;
mod limits;
mod listeners;
mod origin;
mod presence;
mod raw;
mod recovery;
mod retention;
#[path = "../support/server.rs"]
mod server;
mod slow;
#[path = "../support/tokens.rs"]
mod tokens;
mod vanished;

use std::time::Duration;

/// How long a test waits for what must come: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
