//! Fan-out: whose bytes go out when.
//!
//! A shard serves the connections of one core. It takes what is new in its topics, joins the finished
//! frames into one stretch of bytes, and writes it to each subscriber whose socket takes writes, with
//! one call each. A socket that would block gets a cursor of its own and catches up from the ring.
//!
//! What decides ([`shard`](Shard), sans I/O but for `try_write`) is apart from what runs it
//! ([`drive`]): a shard is turned by hand in tests, with a clock and sockets of theirs.

mod backlogs;
mod catch_up;
mod conn;
mod departures;
mod drive;
mod ends;
mod follow;
mod forms;
pub(crate) mod headcount;
mod keep_alive;
mod leases;
mod link;
mod mail;
mod newest;
mod options;
mod pace;
mod pass;
mod presence;
mod shard;
mod slots;
mod stalled;
mod stats;
mod survey;
#[cfg(test)]
mod tests;
mod transport;
pub(crate) mod turns;

pub(crate) use departures::Keepsake;
pub(crate) use drive::Pool;
pub(crate) use leases::Lease;
pub(crate) use link::Link;
pub(crate) use mail::{Asker, Goodbye, HandOver, Mailbox, Start, Terms, What};
pub(crate) use options::ShardOptions;
pub(crate) use stats::Totals;
pub(crate) use survey::Surveyed;
pub(crate) use transport::{Pipe, Transport};
