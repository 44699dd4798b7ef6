//! One HTTP service with everything on it: WebSocket upgrade, API, probes, metrics and the page.
//!
//! It mounts in hyper and in anything that takes a tower service, and needs nothing of its host but a
//! tokio runtime.

mod api;
mod arrival;
mod attended;
mod connections;
mod credentials;
mod deflate;
mod events;
mod limits;
mod metrics;
mod options;
mod origin;
mod page;
mod reply;
mod service;
mod stats;
mod upgrade;

#[cfg(feature = "server")]
pub(crate) use attended::{Attendance, Attended, Readable};
pub use options::ServiceBuilder;
pub use reply::Body;
pub use service::Service;
