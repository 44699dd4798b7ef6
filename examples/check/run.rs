//! Running an example and what verifies it side by side.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// How long a check may take: far beyond what even a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the example was started to be checked.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().any(|argument| argument == "--check")
}

/// Serves on a free port until `verify` is through.
pub(crate) async fn run(
    serve: impl AsyncFnOnce(TcpListener) -> Outcome,
    verify: impl AsyncFnOnce(SocketAddr) -> Outcome,
) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    tokio::select! {
        served = serve(listener) => served.and(Err("served no longer".into())),
        verified = tokio::time::timeout(PATIENCE, verify(at)) => verified?,
    }
}
