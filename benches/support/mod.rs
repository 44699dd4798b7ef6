//! What the benches share that measure a server in a process of its own.

pub(crate) mod figures;
pub(crate) mod goals;
mod inflate;
pub(crate) mod load;
pub(crate) mod measure;
pub(crate) mod options;
pub(crate) mod page;
pub(crate) mod proc;
pub(crate) mod server;
pub(crate) mod traffic;
pub(crate) mod wire;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
