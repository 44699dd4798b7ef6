//! Tables in Markdown, and under which circumstances they came about.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::measure::Effort;

/// Nanoseconds as microseconds, with three digits that count.
pub(crate) fn micros(nanoseconds: f64) -> String {
    digits(nanoseconds / 1_000.0)
}

pub(crate) fn digits(value: f64) -> String {
    let places = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

pub(crate) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

pub(crate) fn kilobytes(bytes: usize) -> String {
    digits(bytes as f64 / 1_000.0)
}

/// Markdown, with columns aligned for whoever reads it in a terminal; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text += "|\n";
        if nth == 0 {
            for width in &widths {
                let _ = write!(text, "| {} ", "-".repeat(*width));
            }
            text += "|\n";
        }
    }
    text
}

/// Day, machine and compiler.
pub(crate) fn circumstances(effort: Effort) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{date}: {count} × {model}; {rustc}; medians of {rounds} batches in turns, time of the thread.",
        date = said("date", &["-u", "+%F"]),
        rustc = said("rustc", &["--version"]),
        rounds = effort.rounds,
    )
}

fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts `tables` between the marks in `docs/benchmarks.md`.
pub(crate) fn write(tables: &str) -> Result<()> {
    const BEGIN: &str = "<!-- deflate: begin (written by benches/deflate with `--write`) -->";
    const END: &str = "<!-- deflate: end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) = page.split_once(BEGIN).ok_or("no begin mark in the page")?;
    let (_, after) = rest.split_once(END).ok_or("no end mark in the page")?;
    fs::write(&path, format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))?;
    Ok(())
}
