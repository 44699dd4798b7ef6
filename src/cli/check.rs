//! `fanfare check`: would `serve` start with this configuration?

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::{Config, Flags};
use crate::server::credentials::authenticator;

use super::args::CheckArguments;
use super::{environment, say};

/// Prints each problem on a line of standard error, or that there is none.
pub(crate) fn check(arguments: &CheckArguments) -> ExitCode {
    let path = arguments.config.display();
    let flags = Flags { insecure_open: arguments.insecure_open, ..Flags::default() };
    let config = match Config::load(Some(&arguments.config), environment(), &flags) {
        Ok(config) => config,
        Err(errors) => {
            say(errors);
            return ExitCode::FAILURE;
        }
    };
    if let Err(refused) = config.refuse_open() {
        say(format_args!("{path}: server.listen: {refused}"));
        return ExitCode::FAILURE;
    }
    if let Err(unusable) = authenticator(&config) {
        say(format_args!("{path}: {unusable}"));
        return ExitCode::FAILURE;
    }
    // Whoever closed standard output does not want to read this; the status says it as well.
    let _ = writeln!(io::stdout(), "{path}: ok");
    ExitCode::SUCCESS
}
