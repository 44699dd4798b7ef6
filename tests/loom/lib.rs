//! The parts of fanfare that have no locks, for loom: `cargo test --manifest-path tests/loom/Cargo.toml`.
#![allow(dead_code, unused_imports, reason = "what only the rest of fanfare uses is not used here")]

#[path = "../../src/ring/mod.rs"]
mod ring;
#[path = "../../src/sync/mod.rs"]
mod sync;
