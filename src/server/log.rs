//! Logs: for people on a terminal, as JSON for machines, always on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

pub(super) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|error| {
        // The configuration has been checked; a filter can be wrong in more ways.
        let fallback = EnvFilter::new("info");
        #[allow(clippy::print_stderr, reason = "there is no log yet")]
        {
            eprintln!("fanfare: log.level {:?} is not a filter ({error}), using info", log.level);
        }
        fallback
    });
    let on_terminal = io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(on_terminal);
    // Fails when the process has a subscriber already, whose logs these then are.
    let _ = match log.format {
        LogFormat::Json => subscriber.json().try_init(),
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Auto if on_terminal => subscriber.compact().with_target(false).try_init(),
        LogFormat::Auto => subscriber.try_init(),
    };
}
