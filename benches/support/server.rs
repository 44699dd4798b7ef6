//! The servers under test, each a process of its own that ends with the value that stands for it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::Result;
use super::proc::{self, Cores};

/// What stands before the address that a server prints once it listens.
pub(crate) const SCHEME: &str = "http://";

/// The server of this repository, at a port of its own.
pub(crate) fn fanfare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command
}

/// This program, as another server.
pub(crate) fn own(option: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(option);
    Ok(command)
}

/// A running server. Dropping it ends its process.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    ///
    /// `settings` are those of the environment, as `FANFARE_HISTORY__ENTRIES`.
    pub(crate) fn start(mut command: Command, settings: &[(&str, &str)], cores: Option<Cores>) -> Result<Server> {
        // Whatever the caller has set for a server of their own is none of this one's business.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        command.envs(settings.iter().copied());
        command.env("FANFARE_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(&mut command, cores)?;
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

/// How long a server may take to listen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it on the server's processor.
pub(crate) fn spawn(command: &mut Command, cores: Option<Cores>) -> Result<Child> {
    // A child is born on its parent's processor, so that it counts its threads by it.
    if let Some(cores) = cores {
        proc::pin(cores.server)?;
    }
    let child = command.spawn();
    if let Some(cores) = cores {
        proc::pin(cores.load)?;
    }
    child.map_err(|error| format!("{}: {error}", command.get_program().display()).into())
}

fn end(child: &mut Child) {
    // Some servers work in processes of their own, which nobody else would end.
    let workers = proc::children(child.id());
    // All of this fails only where a process has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    for worker in workers {
        let _ = kill_process(worker, Signal::KILL);
    }
}

fn first_line(child: &mut Child) -> Result<SocketAddr> {
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
    let address = line.trim().split_once("://");
    let (_, address) = address.ok_or_else(|| format!("it says no address but {line}"))?;
    Ok(address.parse()?)
}
