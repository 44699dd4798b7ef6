//! The real server, talked to by clients that nobody here wrote: Python's `websockets` and npm's `ws`.
//!
//! What they need is installed below `target/` the first time, from the registries that pip and npm are
//! set up for. Where Python or Node are missing these tests fail: a client that is not run proves nothing.

#![cfg(feature = "server")]

#[path = "support/server.rs"]
mod server;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use server::Server;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

#[test]
fn python_sees_what_the_contract_promises() {
    let sources = Path::new(CLIENTS).join("python");
    let home = home("foreign-python");
    let python = home.join("venv/bin/python");
    let requirements = sources.join("requirements.txt");
    install(&home, &[&requirements], || {
        run("python3", &[OsStr::new("-m"), OsStr::new("venv"), home.join("venv").as_os_str()], &home);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"].map(OsStr::new);
        run(&python, &[&pip[..], &[requirements.as_os_str()]].concat(), &home);
    });
    talk(&python, &sources.join("client.py"), &home);
}

#[test]
fn node_sees_what_the_contract_promises() {
    let sources = Path::new(CLIENTS).join("node");
    let home = home("foreign-node");
    let [package, lock] = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    install(&home, &[&package, &lock], || {
        fs::copy(&package, home.join("package.json")).expect("a package can be copied");
        fs::copy(&lock, home.join("package-lock.json")).expect("a lock file can be copied");
        run("npm", &["ci", "--no-audit", "--no-fund"].map(OsStr::new), &home);
    });
    // Beside its modules: that is where Node looks for them.
    let script = home.join("client.mjs");
    fs::copy(sources.join("client.mjs"), &script).expect("a script can be copied");
    talk("node", &script, &home);
}

fn home(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Installs unless it has been done, to its end, from the same lists.
fn install(home: &Path, lists: &[&Path], install: impl FnOnce()) {
    let stamp = home.join("installed");
    let wanted: String = lists.iter().map(|list| fs::read_to_string(list).expect("a list of packages")).collect();
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return;
    }
    // What was begun and not finished; nothing the first time.
    let _ = fs::remove_dir_all(home);
    fs::create_dir_all(home).expect("a directory below target/");
    install();
    fs::write(&stamp, wanted).expect("a file below target/");
}

fn talk(program: impl AsRef<OsStr>, script: &Path, home: &Path) {
    let server = Server::start();
    let url = format!("ws://{}/ws", server.address());
    run(program, &[script.as_os_str(), OsStr::new(&url)], home);
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr], home: &Path) {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(home).output();
    let output =
        output.unwrap_or_else(|error| panic!("{} cannot be run, and this test needs it: {error}", program.display()));
    let [said, complained] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{} {arguments:?}: {}\n{said}{complained}", program.display(), output.status);
}
