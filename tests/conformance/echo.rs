//! The example `echo`, run for one test on a port of its own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

/// A running server. It is killed when this is dropped.
pub(crate) struct Echo {
    child: Child,
    address: SocketAddr,
    /// Kept open for whatever else the server says.
    _stdout: BufReader<ChildStdout>,
}

impl Echo {
    pub(crate) fn start() -> Echo {
        Echo::with(&[])
    }

    /// A server that is given these flags.
    pub(crate) fn with(flags: &[&str]) -> Echo {
        let mut command = Command::new(&*PROGRAM);
        command.arg("127.0.0.1:0").args(flags).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the example starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("standard output can be read");
        let address = line.trim_end().strip_prefix("ws://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("not an address: {line:?}"));
        Echo { child, address, _stdout: stdout }
    }

    /// The most memory that the server has had so far, where the system tells.
    pub(crate) fn memory_peak_bytes(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kib| kib * 1024)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Built as this test itself was: examples are only built unasked when all tests are.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let this = env::current_exe().expect("a test knows where it is");
    let profile = this.ancestors().nth(2).expect("it lies in deps/ of a profile's directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--example", "echo", "--target-dir"]);
    cargo.arg(profile.parent().expect("a profile has a directory of its own"));
    if !cfg!(feature = "server") {
        cargo.arg("--no-default-features");
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join("examples").join("echo").with_extension(env::consts::EXE_EXTENSION)
});
