//! What a delivery costs: fanfare beside other brokers, beside what people write themselves, and beside the floor.
//!
//! `cargo bench --bench peers` starts each server in a process of its own on one core and loads it from another with
//! `fanfare bench`, which speaks the protocol of each. Servers take turns in every scenario, so that whatever else the
//! machine does meets all of them alike. Every message that arrives is checked. It prints medians, and ends
//! with status 1 if a run failed, or fanfare lost anything.
//!
//! `scripts/peers` installs the others' servers, and then runs this with `--write`. Options, after `--`: `--quick` (a
//! smoke run of seconds: small, unpinned, of what needs no installation but npm's), `--write` (puts tables and
//! charts into `docs`), `--only a,b` (servers), `--scenarios a,b`, `--rounds N`, `--list` (the names of both).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod broadcast;
mod chart;
#[path = "../fanout/floor.rs"]
mod floor;
#[path = "../fanout/naive.rs"]
mod naive;
mod peer;
mod record;
mod report;
mod run;
mod scenario;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the benches that put a load of their own on fanfare use the rest")]
mod support;
#[path = "../support/tool.rs"]
mod tool;

use std::process::ExitCode;

use peer::Peer;
use record::Record;
use scenario::Scenario;
use support::{Result, page, proc};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ended = match args.first().map(String::as_str) {
        Some("--serve-naive") => naive::serve(),
        Some("--serve-floor") => floor::serve(),
        Some("--serve-broadcast") => broadcast::serve(),
        _ => Options::parse(&args).and_then(|options| compare(&options)),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    run: support::options::Options,
    list: bool,
    peers: Vec<Peer>,
    scenarios: Vec<Scenario>,
}

const ROUNDS: usize = 3;
const ROUNDS_MAX: usize = 9;

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let (mut list, mut only, mut wanted) = (false, None, None);
        let run = support::options::Options::parse(args, (ROUNDS, ROUNDS_MAX), |option, rest| {
            match option {
                "--list" => list = true,
                "--only" => only = Some(rest.next().ok_or("--only wants names")?.clone()),
                "--scenarios" => wanted = Some(rest.next().ok_or("--scenarios wants names")?.clone()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if run.write && (only.is_some() || wanted.is_some()) {
            return Err("only a whole run has a place in docs/benchmarks.md".into());
        }
        let peers = match only {
            Some(names) => names.split(',').map(Peer::parse).collect::<Result<Vec<Peer>>>()?,
            None if run.quick => Peer::ALL.into_iter().filter(|peer| peer.is_quick()).collect(),
            None => Peer::ALL.to_vec(),
        };
        let mut scenarios = if run.quick { scenario::quick() } else { scenario::full() };
        if let Some(names) = wanted {
            let names: Vec<&str> = names.split(',').collect();
            if let Some(unknown) = names.iter().find(|name| scenarios.iter().all(|known| known.key != **name)) {
                return Err(format!("unknown scenario {unknown}").into());
            }
            scenarios.retain(|scenario| names.contains(&scenario.key));
        }
        Ok(Options { run, list, peers, scenarios })
    }
}

/// Runs every scenario with every server in every round, and says whether all went through.
fn compare(options: &Options) -> Result<bool> {
    if options.list {
        let peers: Vec<&str> = options.peers.iter().map(|peer| peer.option()).collect();
        let scenarios: Vec<&str> = options.scenarios.iter().map(|scenario| scenario.key).collect();
        println!("servers: {}\nscenarios: {}", peers.join(" "), scenarios.join(" "));
        return Ok(true);
    }
    proc::raise_descriptors();
    let cores = if options.run.quick { None } else { proc::cores() };
    let began_under = load_average();
    let text = |record: &Record| {
        report::text(record, &options.peers, &options.scenarios, cores.is_some(), began_under.as_deref())
    };
    let mut record = Record::default();
    for round in 0..options.run.rounds {
        for scenario in &options.scenarios {
            for turn in 0..options.peers.len() {
                // Nobody always runs first, or always after the same one.
                let peer = options.peers[(turn + round) % options.peers.len()];
                if peer.cannot(scenario).is_some() {
                    continue;
                }
                let sample = run::run(peer, scenario, cores);
                let sample = sample.map_err(|error| format!("{}, {}: {error}", peer.name(), scenario.key))?;
                eprintln!("round {} of {}: {}", round + 1, options.run.rounds, sample.line(peer, scenario));
                record.add(peer, scenario, sample);
            }
        }
        // Whoever has no time for the other rounds keeps this one.
        if options.run.write {
            chart::write(&record, &options.peers, &options.scenarios)?;
            page::write("peers", &text(&record))?;
        }
    }
    println!("{}", text(&record));
    if options.run.quick {
        println!("A smoke run: nothing is pinned, nothing is judged but that every message arrived.");
    }
    let failures = record.failures(&options.peers, &options.scenarios);
    for failure in &failures {
        println!("{failure}");
    }
    Ok(failures.is_empty())
}

/// How many threads have wanted a processor in the last minute, on average.
fn load_average() -> Option<String> {
    let averages = std::fs::read_to_string("/proc/loadavg").ok()?;
    averages.split_ascii_whitespace().next().map(str::to_owned)
}
