//! The server's side of RFC 6455 and RFC 7692, usable alone: handshake, incoming messages, outgoing
//! frames, compression.
//!
//! - [`check`] decides whether a request is a WebSocket handshake, and what to answer.
//! - [`Reader`] reads messages from the upgraded stream. It stands on fastwebsockets, behind a
//!   gate that holds the peer to the letter of the standard and to [`ReadLimits`], and that lets
//!   nothing be reserved because a peer announced it.
//! - [`Deflate::negotiate`] agrees on permessage-deflate, [`Reader::inflating`] reads compressed
//!   messages, [`push_deflated`] makes them.
//! - [`push`], [`push_close`] and [`head`] make outgoing frames as finished bytes.
//!
//! Nothing here writes to a socket or answers by itself: pongs and the closing handshake are up to
//! the caller, who alone knows what else waits to be written.

mod close;
mod deflate;
mod extension;
mod frame;
mod gate;
mod handshake;
mod header;
mod inflate;
mod reader;
mod text;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(any(test, fuzzing))]
mod mock;
#[cfg(any(test, fuzzing))]
mod naive;

#[cfg(test)]
mod tests;

/// The gate alone, for the bench that tells what it costs.
#[doc(hidden)]
pub fn gated<R: tokio::io::AsyncRead + Unpin>(stream: R, limits: ReadLimits) -> impl tokio::io::AsyncRead + Unpin {
    gate::Gate::new(stream, limits, None)
}

pub use close::CloseCode;
pub(crate) use deflate::deflate;
pub use deflate::{Window, push_deflated};
pub use extension::{Deflate, DeflateOptions};
pub use frame::{CONTROL_PAYLOAD_BYTES_MAX, Head, Opcode, head, push, push_close};
pub use handshake::{Accept, HandshakeError, check};
#[cfg(feature = "server")]
pub(crate) use inflate::inflate_alone;
pub use reader::{Incoming, ReadError, ReadLimits, Reader};
pub use text::Utf8Bytes;
