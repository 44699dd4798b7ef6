//! What it costs that somebody is behind: subscribers that stall, that come back all at once, and what is kept
//! for them.
//!
//! `cargo bench --bench behind` loads the server in a process of its own on one core from another, checks every
//! message that arrives, prints medians, and ends with status 1 if one of the goals is missed or a message
//! went missing.
//!
//! Options, after `--`: `--quick` (a smoke run of seconds: small, unpinned, no goals), `--write` (puts the tables
//! into `docs/benchmarks.md`), `--only a,b` (of `stalled`, `patterns`, `recovery`, `topics`, `history`), `--rounds N`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod history;
mod patterns;
mod plain;
mod recovery;
mod report;
mod stalled;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod topics;

use std::process::ExitCode;

use report::Measured;
use support::{Result, page, proc};

/// As the command has it: what memory costs depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ended = match args.first().map(String::as_str) {
        Some(plain::OPTION) => args.get(1).map_or_else(|| Err("which answer?".into()), |answer| plain::serve(answer)),
        Some(topics::OPTION) => topics::hold(&args[1..]),
        _ => Options::parse(&args).and_then(|options| run(&options)),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("behind: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    run: support::options::Options,
    only: Option<Vec<String>>,
}

const PARTS: [&str; 5] = ["stalled", "patterns", "recovery", "topics", "history"];

const ROUNDS: usize = 5;

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut only = None;
        let run = support::options::Options::parse(args, (ROUNDS, 2 * ROUNDS), |option, rest| {
            let is_known = option == "--only";
            if is_known {
                let names = rest.next().ok_or("--only wants names")?;
                let names: Vec<String> = names.split(',').map(str::to_owned).collect();
                if let Some(name) = names.iter().find(|name| !PARTS.contains(&name.as_str())) {
                    return Err(format!("unknown part {name}").into());
                }
                only = Some(names);
            }
            Ok(is_known)
        })?;
        if run.write && only.is_some() {
            return Err("only a whole run has a place in docs/benchmarks.md".into());
        }
        Ok(Options { run, only })
    }

    /// What `measure` finds, if that part is wanted.
    fn part<T>(&self, name: &str, measure: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if self.only.as_ref().is_some_and(|only| !only.iter().any(|wanted| wanted == name)) {
            return Ok(None);
        }
        eprintln!("{name}");
        measure().map(Some).map_err(|error| format!("{name}: {error}").into())
    }
}

/// Measures, reports, and says whether all goals were met.
fn run(options: &Options) -> Result<bool> {
    /// Beside those of subscribers: the standard streams, epoll and whatever else.
    const OTHER_DESCRIPTORS: usize = 200;
    proc::raise_descriptors();
    if proc::descriptors() < stalled::Sizes::FULL.crowd + OTHER_DESCRIPTORS {
        return Err(format!("{} descriptors are too few", proc::descriptors()).into());
    }
    let cores = if options.run.quick { None } else { proc::cores() };
    let (quick, rounds) = (options.run.quick, options.run.rounds);
    let sizes = if quick { stalled::Sizes::QUICK } else { stalled::Sizes::FULL };
    let measured = Measured {
        stalled: options.part("stalled", || stalled::measure(&sizes, rounds, cores))?,
        patterns: options.part("patterns", || patterns::measure(quick, rounds, cores))?,
        recovery: options.part("recovery", || recovery::measure(quick, rounds, cores))?,
        topics: options.part("topics", || topics::measure(quick))?,
        history: options.part("history", || history::measure(quick, rounds, cores))?,
    };

    let text = page::circumstances(cores.is_some(), rounds) + &report::tables(&measured);
    let goals = report::goals(&measured);
    println!("{text}");
    if quick {
        println!("A smoke run: nothing is pinned, nothing is judged but that every message arrived or was announced.");
    } else {
        println!("{}", goals.table);
    }
    if options.run.write {
        page::write("behind", &format!("{text}\n{}", goals.table))?;
    }
    Ok(quick || goals.met)
}
