//! Each example serves, does for a client what its words promise, and ends well when it is interrupted.

use std::path::Path;
use std::process::Command;

/// Runs `examples/NAME.rs` with `--check`, as this test itself was built.
fn check(name: &str) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the directory lies in the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--example", name]);
    cargo.arg("--target-dir").arg(target);
    if !cfg!(feature = "server") {
        cargo.arg("--no-default-features");
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.args(["--", "--check"]).output().expect("cargo can be run");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{said}\n{complained}", output.status);
}

#[test]
fn embed_publishes_and_subscribes() {
    check("embed");
}

#[test]
fn axum_mount_publishes_what_is_posted_to_the_app() {
    check("axum_mount");
}

#[test]
fn chat_remembers_what_was_said() {
    check("chat");
}

#[test]
fn echo_sends_messages_back_and_closes_properly() {
    check("echo");
}

#[cfg(feature = "server")]
#[test]
fn host_metrics_publishes_every_group_of_figures() {
    check("host_metrics");
}
