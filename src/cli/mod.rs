//! The command line: what each subcommand of `fanfare` does with its arguments.
//!
//! Standard output belongs to what was asked for (the address that is served, the events that are
//! followed); everything else goes to standard error. Status 0 is done, 1 is a failure that standard
//! error names, 2 is a command line that cannot be read.

mod args;
mod bench;
mod check;
mod client;
mod event;
mod input;
mod json_line;
mod pub_sub;
mod target;
mod token;

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, Flags};
use crate::server;

use args::{Arguments, Command, ServeArguments};

/// Reads the command line of this process, does what it says, and gives the status to end with.
///
/// Ends the process itself for `--help`, `--version` and a command line that cannot be read.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(arguments.serve),
        Some(Command::Serve(arguments)) => serve(arguments),
        Some(Command::Check(arguments)) => check::check(&arguments),
        Some(Command::Token(arguments)) => token::make(&arguments),
        Some(Command::Bench(arguments)) => to_the_end(bench::run(*arguments)),
        Some(Command::Pub(arguments)) => to_the_end(pub_sub::publish(arguments)),
        Some(Command::Sub(arguments)) => to_the_end(pub_sub::subscribe(arguments)),
    }
}

fn serve(arguments: ServeArguments) -> ExitCode {
    let flags = Flags {
        listen: arguments.listen,
        insecure_open: arguments.insecure_open,
        log: env::var("FANFARE_LOG").ok().filter(|level| !level.is_empty()),
    };
    let config = match Config::load(arguments.config.as_deref(), environment(), &flags) {
        Ok(config) => config,
        Err(errors) => {
            say(errors);
            return ExitCode::FAILURE;
        }
    };
    if let Err(refused) = config.refuse_open() {
        complain(refused);
        return ExitCode::FAILURE;
    }
    spare_memory();
    server::serve(&config, arguments.demo)
}

/// Asks the system for small pages alone. In huge ones, which the allocator would like, what thousands of connections
/// need took a quarter more memory than it does (`cargo bench --bench fanout`), and delivering cost no less.
fn spare_memory() {
    // Where the kernel does not know of it, all works as well, in more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Runs a client command. One thread is enough for one connection.
fn to_the_end(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The variables of this process. What is not Unicode is kept, in part, so that a setting with such
/// a value is refused rather than overlooked.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().map(|(name, text)| {
        let name = name.to_string_lossy().into_owned();
        (name, text.to_string_lossy().into_owned())
    })
}

/// One or more lines to standard error. Nobody can be told when that fails.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn complain(what: impl Display) {
    say(format_args!("fanfare: {what}"));
}
