//! What a delivery costs: fanfare beside the broker everybody writes and beside the floor.
//!
//! `cargo bench --bench fanout` starts each server in a process of its own on one core, loads it from
//! another, and does so in turns, so that whatever else the machine does meets all of them alike. It
//! checks every message that arrives, prints medians, and ends with status 1 if one of the goals is
//! missed or a message went missing.
//!
//! Options, after `--`: `--quick` (a smoke run of seconds: small, unpinned, no goals), `--write` (puts
//! the tables into `docs/benchmarks.md`), `--only a,b` (of `fanfare`, `kilobyte`, `deflated`, `naive`, `floor`), `--rounds N`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod floor;
mod naive;
mod record;
mod report;
mod scenario;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use record::Record;
use scenario::Scenario;
use server::Kind;
use support::{Result, page, proc};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ended = match args.first().map(String::as_str) {
        Some("--serve-naive") => naive::serve(),
        Some("--serve-floor") => floor::serve(),
        _ => Options::parse(&args).and_then(|options| compare(&options)),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    run: support::options::Options,
    servers: Vec<Kind>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let mut servers = Kind::ALL.to_vec();
        let run = support::options::Options::parse(args, (ROUNDS, ROUNDS_MAX), |option, rest| {
            let is_known = option == "--only";
            if is_known {
                let names = rest.next().ok_or("--only wants names")?;
                servers = names.split(',').map(Kind::parse).collect::<Result<Vec<Kind>>>()?;
            }
            Ok(is_known)
        })?;
        Ok(Options { run, servers })
    }
}

const ROUNDS: usize = 5;

/// Keeps a run below the six minutes that it may take.
const ROUNDS_MAX: usize = 7;

/// Runs every server in every round and says whether all held what is asked of them.
fn compare(options: &Options) -> Result<bool> {
    proc::raise_descriptors();
    let scenario = if options.run.quick { Scenario::quick() } else { Scenario::full() };
    let cores = if options.run.quick { None } else { proc::cores() };
    let mut record = Record::default();
    for round in 0..options.run.rounds {
        for turn in 0..options.servers.len() {
            // Nobody always runs first, or always after the same one.
            let kind = options.servers[(turn + round) % options.servers.len()];
            eprintln!("round {} of {}: {}", round + 1, options.run.rounds, kind.name());
            let sample = scenario.run(kind, cores).map_err(|error| format!("{}: {error}", kind.name()))?;
            record.add(kind, sample);
        }
    }

    let tables = report::tables(&record, &scenario, cores.is_some());
    let goals = report::goals(&record);
    println!("{tables}");
    if options.run.quick {
        println!("A smoke run: nothing is pinned, nothing is judged but that every message arrived.");
    } else {
        println!("{}", goals.table);
    }
    if options.run.write {
        page::write("fanout", &format!("{tables}\n{}", goals.table))?;
    }
    for kind in &options.servers {
        let missing = record.missing(*kind);
        if missing > 0 {
            println!("{}: {missing} messages went missing", kind.name());
        }
    }
    let whole = Kind::ALL.into_iter().all(|kind| kind == Kind::Naive || record.missing(kind) == 0);
    Ok(whole && (options.run.quick || goals.met))
}
