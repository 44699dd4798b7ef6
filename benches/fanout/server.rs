//! The servers under test, each a process of its own that ends with the value that stands for it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::proc::{self, Cores};
use crate::wire::Traffic;
use crate::{Result, naive};

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Fanfare,
    /// The same with messages of a kilobyte,
    Kilobyte,
    /// and these compressed.
    Deflated,
    /// The broker everybody writes.
    Naive,
    /// The same bytes to the same sockets, and no broker.
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Fanfare, Kind::Kilobyte, Kind::Deflated, Kind::Naive, Kind::Floor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Fanfare => "fanfare",
            Kind::Kilobyte => "fanfare, 1 KiB",
            Kind::Deflated => "fanfare, 1 KiB compressed",
            Kind::Naive => "naive",
            Kind::Floor => "floor",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Kind> {
        let named = Kind::ALL.into_iter().find(|kind| kind.option() == name);
        named.ok_or_else(|| format!("unknown server {name}").into())
    }

    /// What `--only` calls it.
    fn option(self) -> &'static str {
        match self {
            Kind::Fanfare => "fanfare",
            Kind::Kilobyte => "kilobyte",
            Kind::Deflated => "deflated",
            Kind::Naive => "naive",
            Kind::Floor => "floor",
        }
    }

    /// What is sent to it.
    pub(crate) fn traffic(self) -> Traffic {
        match self {
            Kind::Fanfare | Kind::Naive | Kind::Floor => Traffic { data_bytes: 128, deflate: false },
            Kind::Kilobyte => Traffic { data_bytes: 1024, deflate: false },
            Kind::Deflated => Traffic { data_bytes: 1024, deflate: true },
        }
    }

    fn command(self) -> Result<Command> {
        let command = match self {
            Kind::Fanfare | Kind::Kilobyte | Kind::Deflated => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
                command.args(["serve", "--listen", "127.0.0.1:0"]);
                command
            }
            Kind::Naive | Kind::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(format!("--serve-{}", self.option()));
                command
            }
        };
        Ok(command)
    }
}

/// A running server. Dropping it ends its process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(kind: Kind, cores: Option<Cores>) -> Result<Server> {
        let mut command = kind.command()?;
        // Whatever the caller has set for a server of their own is none of this one's business.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        command.env("FANFARE_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        // A child is born on its parent's processor, so that it counts its threads by it.
        if let Some(cores) = cores {
            proc::pin(cores.server)?;
        }
        let mut child = command.spawn()?;
        if let Some(cores) = cores {
            proc::pin(cores.load)?;
        }
        match first_line(&mut child) {
            Ok(address) => Ok(Server { child, address }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Either fails only if the process has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn first_line(child: &mut Child) -> Result<SocketAddr> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let stdout = child.stdout.take().ok_or("the server has no output")?;
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        if let Some(Ok(line)) = lines.next() {
            // Nobody listens any more if it came too late.
            let _ = said.send(line);
        }
        // Read on, so that a server that says more does not meet a closed pipe.
        lines.for_each(drop);
    });
    let line = heard.recv_timeout(PATIENCE).map_err(|_| "it never said where it listens")?;
    let address = line.trim().strip_prefix(naive::SCHEME);
    Ok(address.ok_or("it listens at no http address")?.parse()?)
}
