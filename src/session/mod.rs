//! One connection: commands in, replies out.
//!
//! [`machine`] decides what a frame asks for and what is answered; it does no I/O and waits for
//! nothing. [`drive`] reads the socket, carries the steps out in order, and ends the connection. All
//! writing is the shard's.

mod drive;
mod machine;
mod resume;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use drive::{Admission, Refusal, run};
pub(crate) use machine::SessionOptions;
pub(crate) use resume::{Connected, Resumables};
pub(crate) use stream::Stream;
