//! The tables: what was measured, what was asked for, and whether it was met.

use std::fmt::Write as _;

use crate::record::Record;
use crate::scenario::{Sample, Scenario};
use crate::server::Kind;
use crate::support::figures::{Spread, table};
use crate::support::goals::{Goals, Limit};
use crate::support::page;

/// A heading and the figure below it.
type Column = (&'static str, fn(&Sample) -> Option<f64>);

/// A figure of one server that must not be above its limit, or must not be below it.
struct Goal {
    what: &'static str,
    limit: Limit,
    figure: Figure,
}

enum Figure {
    Own(fn(&Sample) -> f64),
    /// How many times the median of the second that of the first is.
    Ratio(Kind, Kind, fn(&Sample) -> f64),
}

const GOALS: [Goal; 10] = [
    Goal {
        what: "full speed: fanfare / floor, CPU per delivery",
        limit: Limit::AtMost(1.1),
        figure: Figure::Ratio(Kind::Fanfare, Kind::Floor, full_total),
    },
    Goal {
        what: "full speed: CPU seconds in user space per million deliveries",
        limit: Limit::AtMost(0.02),
        figure: Figure::Own(|sample| sample.full.cost.user),
    },
    Goal {
        what: "50 messages a second: fanfare / floor, CPU per delivery",
        limit: Limit::AtMost(1.1),
        figure: Figure::Ratio(Kind::Fanfare, Kind::Floor, paced_total),
    },
    Goal {
        what: "50 messages a second: fanfare / floor, 99th percentile",
        limit: Limit::AtMost(1.2),
        figure: Figure::Ratio(Kind::Fanfare, Kind::Floor, |sample| sample.paced.p99),
    },
    Goal {
        what: "50 messages a second: µs of user time per delivery",
        limit: Limit::AtMost(0.8),
        figure: Figure::Own(|sample| sample.paced.cost.user),
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
        figure: Figure::Ratio(Kind::Deflated, Kind::Kilobyte, paced_total),
    },
    Goal {
        what: "CPU µs per connect and subscribe",
        limit: Limit::AtMost(45.0),
        figure: Figure::Own(|sample| sample.idle.connect),
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

fn paced_total(sample: &Sample) -> f64 {
    sample.paced.cost.user + sample.paced.cost.system
}

pub(crate) fn goals(record: &Record) -> Goals {
    Goals::of(GOALS.iter().map(|goal| (goal.what, goal.limit, goal.measure(record))))
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
    let mut text = page::circumstances(pinned, record.rounds()) + "\n";
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
        ("CPU µs per delivery", |s| Some(paced_total(s))),
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
