//! Which library deflates fanfare's messages, at which level and with which window.
//!
//! `cargo run --release --manifest-path benches/deflate/Cargo.toml` measures the libraries in turns, message
//! by message as permessage-deflate without context takeover does (RFC 7692), checks that each payload
//! inflates with another library, and prints tables. zlib-ng needs cmake and `--features zlib-ng`.
//!
//! Options, after `--`: `--quick` (a moment's run: one batch of each), `--write` (puts the tables into
//! `docs/benchmarks.md`), `--only a,b` (of `instances`, `deflate`, `windows`, `sizes`, `inflate`, `takeover`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod library;
mod measure;
mod messages;
mod report;
mod stream;
mod tables;

use std::process::ExitCode;
use std::time::Duration;

use measure::Effort;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deflate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut quick = false;
    let mut write = false;
    let mut chosen: Vec<&tables::Table> = tables::ALL.iter().collect();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--write" => write = true,
            "--only" => {
                let names = args.next().ok_or("--only needs names of tables")?;
                let named = |name: &str| tables::ALL.iter().find(|table| table.name == name);
                chosen = names
                    .split(',')
                    .map(|name| named(name).ok_or("no such table"))
                    .collect::<std::result::Result<_, _>>()?;
            }
            _ => return Err(format!("{arg} is not one of --quick, --write, --only").into()),
        }
    }
    let effort = if quick {
        Effort { messages: 4, rounds: 1, batch: Duration::ZERO }
    } else {
        Effort { messages: 64, rounds: 15, batch: Duration::from_millis(1) }
    };
    let mut text = format!("{}\n", report::circumstances(effort));
    println!("{text}");
    for table in chosen {
        let part = format!("{}\n\n{}", table.title, (table.measure)(effort));
        println!("{part}");
        text.push('\n');
        text += &part;
    }
    if write {
        report::write(&text)?;
    }
    Ok(())
}
