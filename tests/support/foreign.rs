//! Clients that nobody here wrote: Python's `websockets`, npm's `ws` and `eventsource`, run by the scripts in
//! `tests/clients/`.
//!
//! What they need is installed below `target/` the first time, from the registries that pip and npm are
//! set up for. Where Python or Node are missing the tests fail: a client that is not run proves nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// Runs `tests/clients/python/SCRIPT`.
pub(crate) fn python(script: &str, arguments: &[&str]) {
    let sources = Path::new(CLIENTS).join("python");
    let home = home("foreign-python");
    let python = home.join("venv/bin/python");
    let requirements = sources.join("requirements.txt");
    let locked = install(&home, &[&requirements], || {
        run("python3", &[OsStr::new("-m"), OsStr::new("venv"), home.join("venv").as_os_str()], &home);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"].map(OsStr::new);
        run(&python, &[&pip[..], &[requirements.as_os_str()]].concat(), &home);
    });
    drop(locked);
    talk(&python, &sources.join(script), arguments, &home);
}

/// Runs `tests/clients/node/SCRIPT`.
pub(crate) fn node(script: &str, arguments: &[&str]) {
    let sources = Path::new(CLIENTS).join("node");
    let home = home("foreign-node");
    let [package, lock] = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let locked = install(&home, &[&package, &lock], || {
        fs::copy(&package, home.join("package.json")).expect("a package can be copied");
        fs::copy(&lock, home.join("package-lock.json")).expect("a lock file can be copied");
        run("npm", &["ci", "--no-audit", "--no-fund"].map(OsStr::new), &home);
    });
    // Beside its modules: that is where Node looks for them. Not again while another test may read it.
    let (script, copy) = (sources.join(script), home.join(script));
    let source = fs::read(&script).expect("a script can be read");
    if fs::read(&copy).ok().as_ref() != Some(&source) {
        fs::write(&copy, source).expect("a script can be copied");
    }
    drop(locked);
    talk("node", &copy, arguments, &home);
}

fn home(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Installs unless it has been done, to its end, from the same lists. One test at a time: others wait
/// until what this returns is dropped, and find everything installed.
fn install(home: &Path, lists: &[&Path], install: impl FnOnce()) -> File {
    let lock = File::create(home.with_extension("lock")).expect("a file below target/");
    lock.lock().expect("a file can be locked");
    let stamp = home.join("installed");
    let wanted: String = lists.iter().map(|list| fs::read_to_string(list).expect("a list of packages")).collect();
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return lock;
    }
    // What was begun and not finished; nothing the first time.
    let _ = fs::remove_dir_all(home);
    fs::create_dir_all(home).expect("a directory below target/");
    install();
    fs::write(&stamp, wanted).expect("a file below target/");
    lock
}

fn talk(program: impl AsRef<OsStr>, script: &Path, arguments: &[&str], home: &Path) {
    let arguments: Vec<&OsStr> = [script.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)).collect();
    run(program, &arguments, home);
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr], home: &Path) {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(home).output();
    let output =
        output.unwrap_or_else(|error| panic!("{} cannot be run, and this test needs it: {error}", program.display()));
    let [said, complained] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{} {arguments:?}: {}\n{said}{complained}", program.display(), output.status);
}
