//! The real `fanfare` command, run for one test on a port of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

#[path = "command.rs"]
mod command;

pub(crate) use command::command;

/// A running server. It is killed when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    address: SocketAddr,
    /// Kept open: a server whose standard output is gone has nobody to announce itself to.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// A server without any configuration.
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// A server with settings, such as `("limits.header_ms", "200")`.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Server {
        Server::run(command(settings))
    }

    /// Whatever [`command`] gave, with arguments and surroundings of the test's own.
    pub(crate) fn run(mut command: Command) -> Server {
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the fanfare command starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("standard output can be read");
        let address = line.trim_end().strip_prefix("http://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("not an address: {line:?}"));
        Server { child, address, _stdout: stdout }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
