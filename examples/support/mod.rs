//! Where the examples listen. The rest is how they are checked, which nobody needs to understand them.

mod check;

use std::env;
use std::error::Error;
use std::process;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Listens at the address that is given as an argument, or at 127.0.0.1:3000.
///
/// With `--check` instead this process starts the example once more, is its client for a moment,
/// and ends here.
pub(crate) async fn listen() -> Result<TcpListener, Box<dyn Error>> {
    if env::args().any(|argument| argument == "--check") {
        check::run().await?;
        process::exit(0);
    }
    // From here on an interrupt ends nothing by itself: the example hears it, and ends in order.
    let _ = signal(SignalKind::interrupt())?;
    let address = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    Ok(TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?)
}
