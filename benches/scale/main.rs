//! What a server holds, and how it uses two processors: as many idle connections as one process may have descriptors
//! for, without limits and with all of them, with a subscription more and more; and one server on one processor and
//! on two.
//!
//! `cargo bench --bench scale` loads the server in a process of its own with `fanfare bench`, which checks every
//! message, prints medians, and ends with status 1 if one of the goals is missed or something went wrong.
//!
//! Options, after `--`: `--quick` (a smoke run of seconds: small, unpinned, no goals), `--write` (puts the tables
//! into `docs/benchmarks.md`), `--rounds N`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod case;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the benches that put a load of their own on fanfare use the rest")]
mod support;
#[path = "../support/tool.rs"]
mod tool;

use std::process::ExitCode;

use case::{Case, Sample, Sizes};
use support::figures::{Spread, plain, table};
use support::goals::{Goals, Limit};
use support::options::Options;
use support::{Result, page, proc};

const ROUNDS: usize = 3;
const ROUNDS_MAX: usize = 9;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::parse(&args, (ROUNDS, ROUNDS_MAX), |_, _| Ok(false));
    match options.and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All rounds of each case.
type Record = Vec<(Case, Vec<Sample>)>;

fn run(options: &Options) -> Result<bool> {
    proc::raise_descriptors();
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full() };
    let cores = if options.quick { None } else { proc::cores() };
    let mut record: Record = Case::ALL.into_iter().map(|case| (case, Vec::new())).collect();
    for round in 0..options.rounds {
        for (case, samples) in &mut record {
            let sample = case.run(&sizes, cores).map_err(|error| format!("{}: {error}", case.name()))?;
            eprintln!("round {} of {}: {}: {sample}", round + 1, options.rounds, case.name());
            samples.push(sample);
        }
    }
    let tables = tables(&record, &sizes, options.rounds, cores.is_some());
    let goals = goals(&record, &sizes);
    println!("{tables}");
    if options.quick {
        println!("A smoke run: nothing is pinned, nothing is judged but that every message arrived.");
        return Ok(true);
    }
    println!("{}", goals.table);
    if options.write {
        page::write("scale", &format!("{tables}\n{}", goals.table))?;
    }
    Ok(goals.met)
}

fn tables(record: &Record, sizes: &Sizes, rounds: usize, pinned: bool) -> String {
    let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let show = |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), Spread::show);
    let mut idle = vec![head(&["idle connections", "resident bytes of each", "CPU µs per connect and subscribe"])];
    let mut busy = vec![head(&["processors", "deliveries/s", "busy", "of the load", "deliveries/s and processor"])];
    for (case, samples) in record {
        let figure = |figure: fn(&Sample) -> Option<f64>| Spread::of(samples.iter().filter_map(figure).collect());
        let name = case.name().to_owned();
        if case.is_idle() {
            idle.push(vec![name, show(figure(|sample| sample.bytes)), show(figure(|sample| sample.join_micros))]);
        } else {
            let figures: [fn(&Sample) -> Option<f64>; 4] =
                [|s| s.delivered, |s| s.busy, |s| s.load_busy, Sample::delivered_by_processor];
            busy.push([vec![name], figures.into_iter().map(|one| show(figure(one))).collect()].concat());
        }
    }
    format!(
        "{}\n{} connections of one process to another. So many take the client's kernel long to find ports for: the server \
         sleeps before each of them, and wakes at a cost.\n\n{}\n{} topics with 5 subscribers each and 4 publishers at full speed, 256 messages of each on \
         their way, so that nobody waits for them. With two processors the load is on the same two, and what it takes of them is deducted.\n\n{}",
        page::circumstances(pinned, rounds),
        plain(sizes.idle as f64),
        table(&idle),
        plain(sizes.topics as f64),
        table(&busy)
    )
}

fn goals(record: &Record, sizes: &Sizes) -> Goals {
    let median = |wanted: Case, figure: fn(&Sample) -> Option<f64>| {
        let (_, samples) = record.iter().find(|(case, _)| *case == wanted)?;
        Some(Spread::of(samples.iter().filter_map(figure).collect())?.median)
    };
    let bytes = |case| median(case, |sample| sample.bytes);
    let further = bytes(Case::Following).zip(bytes(Case::Idle));
    let further = further.map(|(all, one)| (all - one) / (sizes.follow - 1) as f64);
    let scales = median(Case::TwoCores, Sample::delivered_by_processor);
    let scales = scales.zip(median(Case::OneCore, Sample::delivered_by_processor)).map(|(two, one)| 2.0 * two / one);
    Goals::of([
        ("resident bytes per idle connection, exempt from limits", Limit::AtMost(1_500.0), bytes(Case::Idle)),
        ("with all limits, keep-alive and a token", Limit::AtMost(1_900.0), bytes(Case::Guarded)),
        ("each further subscription", Limit::AtMost(150.0), further),
        ("two processors / one, deliveries a second", Limit::AtLeast(1.6), scales),
    ])
}
