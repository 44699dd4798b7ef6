//! `fanfare bench`: puts load on a server, measures it, and checks every message that comes.
//!
//! The [`plan`] is what was asked for; [`measure`] takes the run from joining to draining; each
//! [`worker`] is a thread with an event loop and its share of the connections; a [`conn`] knows where
//! one connection stands, and a [`dialect`] what is said on it. Its own cost per message is what bounds a load
//! generator, so messages are looked at where the read put them, and nothing is allocated for one.

mod args;
mod chart;
mod conn;
mod context;
mod dialect;
mod expect;
mod frame;
mod handshake;
mod histogram;
mod host;
mod html;
mod inflate;
mod ledger;
mod limits;
mod measure;
mod payload;
mod plan;
mod progress;
mod publisher;
mod report;
mod shared;
mod subscriber;
mod table;
mod tally;
#[cfg(target_os = "linux")]
mod timer;
#[cfg(not(target_os = "linux"))]
#[path = "timer_coarse.rs"]
mod timer;
mod tls;
mod transport;
mod units;
mod worker;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::complain;
use plan::Plan;
use report::Report;

pub(super) use args::BenchArguments;

/// What a shell calls the end by an interrupt.
const INTERRUPTED: u8 = 130;

/// Runs the load, and says what came of it.
pub(super) async fn run(arguments: BenchArguments) -> ExitCode {
    let plan = match Plan::new(&arguments) {
        Ok(plan) => Arc::new(plan),
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = limits::make_room(plan.connections()) {
        complain(error);
        return ExitCode::FAILURE;
    }
    let measured = match measure::measure(plan.clone(), arguments.server_pid).await {
        Ok(measured) => measured,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let report = Report::new(&plan, measured, &arguments.expect);
    let mut status = match (report.interrupted, report.is_good()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&report).expect("a report has string keys only") + "\n",
        false => table::text(&report),
    };
    // Whoever closed standard output does not want to read this; the status says it as well.
    let _ = io::stdout().write_all(text.as_bytes());
    if let Some(path) = &arguments.html
        && let Err(error) = fs::write(path, html::page(&report))
    {
        complain(format_args!("{}: {error}", path.display()));
        status = ExitCode::FAILURE;
    }
    if let Some(reason) = &report.reason {
        complain(reason);
    }
    if report.checks.wrong() > 0 {
        complain("the server sent what nobody published there");
    }
    for held in report.expectations.iter().filter(|held| !held.holds) {
        complain(format_args!("{} did not hold", held.limit));
    }
    status
}
