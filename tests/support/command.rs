//! How tests run the real `fanfare` command.

use std::process::{Command, Stdio};

/// `fanfare serve` with settings from the environment, and none that the test itself runs under.
pub(crate) fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
        command.env_remove(name);
    }
    for (key, value) in settings {
        command.env(format!("FANFARE_{}", key.replace('.', "__").to_uppercase()), value);
    }
    command.env("FANFARE_LOG", "error").arg("serve").stdin(Stdio::null());
    command
}
