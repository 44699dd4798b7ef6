//! The page that benches write their tables into, and under which circumstances they came about.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Result, proc};

/// When, where and of what.
pub(crate) fn circumstances(pinned: bool, rounds: usize) -> String {
    let pinned = if pinned { "server pinned to one core, load to another" } else { "nothing pinned" };
    format!(
        "{date}: {machine}; {rustc}; fanfare {version}; {pinned}; medians of {rounds} interleaved \
         rounds (least – most).\n",
        date = date(),
        machine = proc::machine(),
        rustc = rustc(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Puts `tables` between the marks of that bench in `docs/benchmarks.md`.
pub(crate) fn write(bench: &str, tables: &str) -> Result<()> {
    let begin = format!("<!-- {bench}: begin (written by `cargo bench --bench {bench} -- --write`) -->");
    let end = format!("<!-- {bench}: end -->");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) = page.split_once(&begin).ok_or("no begin mark in the page")?;
    let (_, after) = rest.split_once(&end).ok_or("no end mark in the page")?;
    fs::write(&path, format!("{before}{begin}\n\n{tables}\n{end}{after}"))?;
    Ok(())
}

fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown rustc".to_owned())
}

/// Today, in UTC.
fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    // Years that begin in March, so that the leap day is the last of its year, and eras of 400 of them
    // (Howard Hinnant, "chrono-compatible low-level date algorithms"). 1970-01-01 is day 719,468.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
