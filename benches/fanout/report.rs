//! The tables: what was measured, what was asked for, and whether it was met.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, path::Path};

use crate::record::{Record, Spread};
use crate::scenario::{Sample, Scenario};
use crate::server::Kind;
use crate::{Result, proc};

/// A heading and the figure below it.
type Column = (&'static str, fn(&Sample) -> Option<f64>);

/// A figure of one server that must not be above its limit, or must not be below it.
struct Goal {
    what: &'static str,
    limit: Limit,
    figure: Figure,
}

enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

enum Figure {
    Own(fn(&Sample) -> f64),
    /// How many times the median of the second that of the first is.
    Ratio(Kind, Kind, fn(&Sample) -> f64),
}

const GOALS: [Goal; 8] = [
    Goal {
        what: "full speed: CPU seconds per million deliveries",
        limit: Limit::AtMost(0.30),
        figure: Figure::Own(full_total),
    },
    Goal {
        what: "of them in user space",
        limit: Limit::AtMost(0.05),
        figure: Figure::Own(|sample| sample.full.cost.user),
    },
    Goal {
        what: "50 messages a second: µs of user time per delivery",
        limit: Limit::AtMost(0.8),
        figure: Figure::Own(|sample| sample.paced.cost.user),
    },
    Goal {
        what: "resident bytes per idle connection",
        limit: Limit::AtMost(2_500.0),
        figure: Figure::Own(|sample| sample.idle.bytes),
    },
    Goal {
        what: "full speed: naive / fanfare, CPU per delivery",
        limit: Limit::AtLeast(5.0),
        figure: Figure::Ratio(Kind::Naive, Kind::Fanfare, full_total),
    },
    Goal {
        what: "full speed: compressed / plain, 1 KiB, CPU per delivery",
        limit: Limit::AtMost(1.3),
        figure: Figure::Ratio(Kind::Deflated, Kind::Kilobyte, full_total),
    },
    Goal {
        what: "50 messages a second: compressed / plain, 1 KiB, CPU per delivery",
        limit: Limit::AtMost(1.3),
        figure: Figure::Ratio(Kind::Deflated, Kind::Kilobyte, |sample| {
            sample.paced.cost.user + sample.paced.cost.system
        }),
    },
    Goal {
        what: "idle: compression agreed / not, resident bytes per connection",
        limit: Limit::AtMost(1.1),
        figure: Figure::Ratio(Kind::Deflated, Kind::Kilobyte, |sample| sample.idle.bytes),
    },
];

fn full_total(sample: &Sample) -> f64 {
    sample.full.cost.user + sample.full.cost.system
}

/// The goals beside what was measured.
pub(crate) struct Goals {
    pub(crate) table: String,
    /// Whether none of those that were measured was missed.
    pub(crate) met: bool,
}

pub(crate) fn goals(record: &Record) -> Goals {
    let mut rows = vec![row(["goal for fanfare", "limit", "measured", ""])];
    let mut met = true;
    for goal in &GOALS {
        let measured = goal.measure(record);
        let (limit, holds) = match goal.limit {
            Limit::AtMost(limit) => (format!("≤ {limit}"), measured.map(|value| value <= limit)),
            Limit::AtLeast(limit) => (format!("≥ {limit}"), measured.map(|value| value >= limit)),
        };
        met &= holds.unwrap_or(true);
        let verdict = match holds {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let measured = measured.map_or_else(|| "–".to_owned(), plain);
        rows.push(row([goal.what, &limit, &measured, verdict]));
    }
    Goals { table: table(&rows), met }
}

impl Goal {
    fn measure(&self, record: &Record) -> Option<f64> {
        let median = |kind, figure: fn(&Sample) -> f64| {
            let spread = record.spread(kind, |sample| Some(figure(sample)));
            spread.map(|spread| spread.median)
        };
        match self.figure {
            Figure::Own(figure) => median(Kind::Fanfare, figure),
            Figure::Ratio(of, to, figure) => Some(median(of, figure)? / median(to, figure)?),
        }
    }
}

/// All figures, and under which circumstances they came about.
pub(crate) fn tables(record: &Record, scenario: &Scenario, pinned: bool) -> String {
    let rounds = record.rounds();
    let pinned = if pinned { "server pinned to one core, load to another" } else { "nothing pinned" };
    let mut text = format!(
        "{date}: {machine}; {rustc}; fanfare {version}; {pinned}; medians of {rounds} interleaved \
         rounds (least – most).\n\n",
        date = date(),
        machine = proc::machine(),
        rustc = rustc(),
        version = env!("CARGO_PKG_VERSION"),
    );

    let _ = writeln!(
        text,
        "Full speed: {} subscribers of one topic, {} bytes of data where nothing else is said, one publisher with 64 \
         outstanding\n",
        scenario.subscribers,
        Kind::Fanfare.traffic().data_bytes
    );
    let columns: [Column; 7] = [
        ("CPU s per million deliveries", |s| Some(full_total(s))),
        ("user", |s| Some(s.full.cost.user)),
        ("system", |s| Some(s.full.cost.system)),
        ("deliveries/s", |s| Some(s.full.per_second)),
        ("messages per write", |s| s.full.per_write),
        ("bytes per message", |s| Some(s.full.wire_bytes)),
        ("server busy", |s| Some(s.full.busy)),
    ];
    text += &figures(record, &columns);

    let _ = writeln!(
        text,
        "\n{} messages a second, the same subscribers; latency from the time a message was due until a \
         subscriber had it\n",
        scenario.per_second
    );
    let columns: [Column; 5] = [
        ("CPU µs per delivery", |s| Some(s.paced.cost.user + s.paced.cost.system)),
        ("user", |s| Some(s.paced.cost.user)),
        ("system", |s| Some(s.paced.cost.system)),
        ("p50 ms", |s| Some(s.paced.p50)),
        ("p99 ms", |s| Some(s.paced.p99)),
    ];
    text += &figures(record, &columns);

    let _ = writeln!(text, "\nIdle: {} subscribed connections\n", scenario.idle);
    let columns: [Column; 2] = [
        ("resident bytes per connection", |s| Some(s.idle.bytes)),
        ("CPU µs per connect and subscribe", |s| Some(s.idle.connect)),
    ];
    text += &figures(record, &columns);

    let _ = write!(text, "\nMissing / announced by a `gap`:");
    for kind in record.servers() {
        let (missing, skipped) = (record.missing(kind), record.skipped(kind));
        let _ = write!(text, " {} {missing} / {skipped};", kind.name());
    }
    text.pop();
    text.push_str(".\n");
    text
}

fn figures(record: &Record, columns: &[Column]) -> String {
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    let mut rows = vec![std::iter::once("server".to_owned()).chain(names).collect()];
    for kind in record.servers() {
        let mut row = vec![kind.name().to_owned()];
        for (_, figure) in columns {
            let spread = record.spread(kind, figure);
            row.push(spread.map_or_else(|| "–".to_owned(), Spread::show));
        }
        rows.push(row);
    }
    table(&rows)
}

impl Spread {
    fn show(self) -> String {
        let (median, least, most) = (plain(self.median), plain(self.least), plain(self.most));
        if least == most {
            return median;
        }
        format!("{median} ({least} – {most})")
    }
}

/// Three digits that count, and thousands apart.
fn plain(value: f64) -> String {
    let places = match value.abs() {
        0.0..0.1 => 3,
        0.1..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    if places > 0 {
        return text;
    }
    let first = text.len() % 3;
    let mut grouped = text[..first].to_owned();
    for at in (first..text.len()).step_by(3) {
        if !grouped.is_empty() {
            grouped.push(',');
        }
        grouped += &text[at..at + 3];
    }
    grouped
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Markdown, with columns aligned for whoever reads it in a terminal.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0).max(3)
        })
        .collect();
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

/// Puts `tables` between the marks in `docs/benchmarks.md`, or a new page around them.
pub(crate) fn write(tables: &str) -> Result<()> {
    const BEGIN: &str = "<!-- fanout: begin (written by `cargo bench --bench fanout -- --write`) -->";
    const END: &str = "<!-- fanout: end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let page = match fs::read_to_string(&path) {
        Ok(page) => page,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("# Benchmarks\n\n## Fan-out\n\n{BEGIN}\n{END}\n")
        }
        Err(error) => return Err(error.into()),
    };
    let (before, rest) = page.split_once(BEGIN).ok_or("no begin mark in the page")?;
    let (_, after) = rest.split_once(END).ok_or("no end mark in the page")?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))?;
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
