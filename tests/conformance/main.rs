//! RFC 6455 and RFC 7692, section by section, held to `examples/echo.rs`: the WebSocket layer alone.
//!
//! Each test is named after the section that it checks; `docs/websocket.md` has the table. Violations are
//! plain bytes from here. Compression is tried by two clients that nobody here wrote, and where its bits
//! matter by an inflater that is slow and obvious.

mod blocks;
mod clients;
mod closing;
mod control;
mod deflate;
mod echo;
#[path = "../support/foreign.rs"]
mod foreign;
mod fragmentation;
#[path = "../support/frames.rs"]
mod frames;
mod framing;
mod handshake;
mod limits;
mod negotiation;
mod peer;
mod text;

use std::time::Duration;

/// How long a test waits for what must come: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
