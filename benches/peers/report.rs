//! The tables, and under which circumstances their figures came about.

use std::fmt::Write as _;

use crate::chart;
use crate::peer::Peer;
use crate::record::Record;
use crate::run::Sample;
use crate::scenario::{Pace, Scenario};
use crate::support::figures::{Spread, table};
use crate::support::page;

/// A heading and the figure below it.
type Column = (&'static str, fn(&Sample) -> Option<f64>);

const DELIVERIES: [Column; 9] = [
    ("CPU s per million deliveries", |sample| sample.cpu),
    ("user", |sample| sample.user),
    ("system", Sample::system),
    ("deliveries/s", |sample| sample.delivered_per_second),
    ("p50 ms", |sample| sample.p50),
    ("p99 ms", |sample| sample.p99),
    ("p99.9 ms", |sample| sample.p999),
    ("server busy", |sample| sample.busy),
    ("load busy", |sample| sample.load_busy),
];

const CONNECTIONS: [Column; 3] = [
    ("resident bytes per connection", |sample| sample.bytes),
    ("CPU µs per connect and subscribe", |sample| sample.join_cpu),
    ("connects/s", |sample| sample.joined_per_second),
];

/// All figures; `load` is what else the machine had to do when it began.
pub(crate) fn text(
    record: &Record,
    peers: &[Peer],
    scenarios: &[Scenario],
    pinned: bool,
    load: Option<&str>,
) -> String {
    let mut text = page::circumstances(pinned, record.rounds());
    if let Some(load) = load {
        let _ = writeln!(
            text,
            "The machine's load average before: {load}; where it is 1 or more, others had the cores as well."
        );
    }
    text.push('\n');
    for peer in peers {
        let _ = writeln!(text, "- {}", peer.version());
    }
    text.push('\n');
    for chart in chart::CHARTS {
        let _ = writeln!(text, "![{}]({})\n", chart.title, chart.file);
    }
    for scenario in scenarios {
        let _ = writeln!(text, "**{}**\n", scenario.title);
        text += &figures(record, peers, scenario);
        text.push('\n');
    }
    text
}

fn figures(record: &Record, peers: &[Peer], scenario: &Scenario) -> String {
    let columns: &[Column] = if scenario.pace == Pace::Idle { &CONNECTIONS } else { &DELIVERIES };
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    let mut rows = vec![std::iter::once("server".to_owned()).chain(names).chain(["missing".to_owned()]).collect()];
    let mut notes = String::new();
    for peer in peers {
        let samples = record.of(*peer, scenario);
        if let Some(reason) = peer.cannot(scenario) {
            let _ = writeln!(notes, "- {} {reason}.", peer.name());
            continue;
        }
        for reason in samples.iter().filter_map(|sample| sample.failed.as_ref()) {
            let _ = writeln!(notes, "- {} failed: {reason}.", peer.name());
        }
        let mut row = vec![peer.name().to_owned()];
        for (_, figure) in columns {
            row.push(record.spread(*peer, scenario, figure).map_or_else(|| "–".to_owned(), Spread::show));
        }
        row.push(missing(samples));
        rows.push(row);
    }
    let notes = if notes.is_empty() { notes } else { format!("\nNot in the table:\n\n{notes}") };
    table(&rows) + &notes
}

/// What did not come as it should, of all rounds together.
fn missing(samples: &[Sample]) -> String {
    let sum = |count: fn(&Sample) -> u64| samples.iter().map(count).fold(0, u64::saturating_add);
    let counts = [
        (sum(|sample| sample.lost), "lost"),
        (sum(|sample| sample.duplicated), "twice"),
        (sum(|sample| sample.reordered), "out of order"),
        (sum(|sample| sample.gaps), "left out, and said so"),
    ];
    let said: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() { "0".to_owned() } else { said.join(", ") }
}
