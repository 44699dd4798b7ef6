//! Charts of what was measured: a point for the median of each server, a line for its ends, on a logarithmic scale,
//! since servers are orders of magnitude apart.
//!
//! They are SVG of their own, without script or font, readable on light and dark pages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::peer::Peer;
use crate::record::Record;
use crate::run::Sample;
use crate::scenario::Scenario;
use crate::support::figures::{Spread, plain};

/// A scenario's key, what the panel is called, and what it shows.
type Panel = (&'static str, &'static str, fn(&Sample) -> Option<f64>);

pub(crate) struct Chart {
    /// Below `docs`.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    panels: &'static [Panel],
}

pub(crate) const CHARTS: [Chart; 4] = [
    Chart {
        file: "peers-cpu.svg",
        title: "Processor time of the server for a delivery, in microseconds: less is better",
        panels: &[
            ("full", "full speed, 1 topic with 1,000 subscribers, 128 B", |sample| sample.cpu),
            ("full-1k", "the same, 1 KiB", |sample| sample.cpu),
            ("full-deflated", "the same, 1 KiB deflated", |sample| sample.cpu),
            ("topics", "full speed, 1,000 topics with 5 subscribers each, 128 B", |sample| sample.cpu),
            ("rate", "50 messages a second to 1,000 subscribers, 128 B", |sample| sample.cpu),
        ],
    },
    Chart {
        file: "peers-rate.svg",
        title: "Deliveries a second, by one core: more is better",
        panels: &[
            ("full", "1 topic with 1,000 subscribers, 128 B", |sample| sample.delivered_per_second),
            ("full-1k", "the same, 1 KiB", |sample| sample.delivered_per_second),
            ("full-deflated", "the same, 1 KiB deflated", |sample| sample.delivered_per_second),
            ("topics", "1,000 topics with 5 subscribers each, 128 B", |sample| sample.delivered_per_second),
        ],
    },
    Chart {
        file: "peers-latency.svg",
        title: "Latency at the 99th percentile, in milliseconds: less is better",
        panels: &[
            ("rate", "50 messages a second to 1,000 subscribers, 128 B", |sample| sample.p99),
            ("rate-deflated", "the same, 1 KiB deflated", |sample| sample.p99),
            ("rate-topics", "500 messages a second, 1,000 topics with 5 subscribers each, 128 B", |sample| sample.p99),
            ("topics", "the same topics at full speed", |sample| sample.p99),
        ],
    },
    Chart {
        file: "peers-connections.svg",
        title: "What a connection costs: less is better",
        panels: &[
            ("idle", "resident bytes for each of 10,000 that wait", |sample| sample.bytes),
            ("idle", "microseconds of processor time to connect and subscribe", |sample| sample.join_cpu),
        ],
    },
];

/// Letters of a title that fit across.
const TITLE_MAX: usize = 80;
const _: () = {
    let mut nth = 0;
    while nth < CHARTS.len() {
        assert!(CHARTS[nth].title.len() <= TITLE_MAX, "a title runs over the edge");
        nth += 1;
    }
};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const ROW: f64 = 22.0;
/// Above and below the rows of a panel.
const HEAD: f64 = 26.0;
const FOOT: f64 = 34.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}\
    .panel{font-weight:600}.axis{font-size:11px;fill:#57606a}.end{text-anchor:end}.mid{text-anchor:middle}\
    .grid{stroke:#d0d7de}.row{stroke:#eaeef2}.point{fill:#6e7781;stroke:#6e7781}.spread{stroke:#6e7781;stroke-width:2}\
    .own .point{fill:#0969da;stroke:#0969da}.own .spread{stroke:#0969da}.own text{font-weight:600;fill:#0969da}\
    .floor .point{fill:none}@media(prefers-color-scheme:dark){text{fill:#d0d7de}.axis{fill:#8b949e}.grid{stroke:#444c56}\
    .row{stroke:#2d333b}.point{fill:#8b949e;stroke:#8b949e}.spread{stroke:#8b949e}\
    .own .point{fill:#58a6ff;stroke:#58a6ff}.own .spread{stroke:#58a6ff}.own text{fill:#58a6ff}.floor .point{fill:none}}";

/// Writes all charts into `docs`.
pub(crate) fn write(record: &Record, peers: &[Peer], scenarios: &[Scenario]) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for chart in CHARTS {
        fs::write(docs.join(chart.file), chart.svg(record, peers, scenarios))?;
    }
    Ok(())
}

impl Chart {
    pub(crate) fn svg(&self, record: &Record, peers: &[Peer], scenarios: &[Scenario]) -> String {
        let mut body = String::new();
        let mut top = TOP;
        for (key, title, figure) in self.panels {
            let Some(scenario) = scenarios.iter().find(|scenario| scenario.key == *key) else {
                continue;
            };
            let rows: Vec<(Peer, Spread)> = (peers.iter())
                .filter_map(|peer| Some((*peer, record.spread(*peer, scenario, figure)?)))
                .filter(|(_, spread)| spread.least > 0.0)
                .collect();
            top = panel(title, &rows, top, &mut body);
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top:.0}\" role=\"img\" \
             aria-label=\"{title}\"><style>{STYLE}</style><text class=\"title\" x=\"8\" y=\"22\">{title}</text>{body}</svg>\n",
            title = self.title
        )
    }
}

/// Draws below `top`, and returns where it ends.
fn panel(title: &str, rows: &[(Peer, Spread)], top: f64, out: &mut String) -> f64 {
    let least = rows.iter().map(|(_, spread)| spread.least).reduce(f64::min).unwrap_or(1.0);
    let most = rows.iter().map(|(_, spread)| spread.most).reduce(f64::max).unwrap_or(1.0);
    // Whole powers of ten, at least one.
    let from = least.log10().floor();
    let to = most.log10().ceil().max(from + 1.0);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value.log10() - from) / (to - from);
    let begin = top + HEAD;
    let end = begin + ROW * rows.len() as f64;
    // Infallible, as all below: the writer is a String.
    let _ = write!(out, "<text class=\"panel\" x=\"8\" y=\"{:.1}\">{title}</text>", top + 14.0);
    for power in from as i32..=to as i32 {
        let value = 10_f64.powi(power);
        let x = x(value);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {begin:.1}V{end:.1}\"/>\
             <text class=\"axis mid\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            end + 14.0,
            tick(value)
        );
    }
    for (nth, (peer, spread)) in rows.iter().enumerate() {
        let y = begin + ROW * (nth as f64 + 0.5);
        let class = match peer {
            Peer::Fanfare => "own",
            Peer::Floor => "floor",
            _ => "peer",
        };
        let _ = write!(
            out,
            "<g class=\"{class}\"><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <path class=\"row\" d=\"M{LEFT} {y:.1}H{:.1}\"/><path class=\"spread\" d=\"M{:.1} {y:.1}H{:.1}\"/>\
             <circle class=\"point\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            LEFT - 10.0,
            y + 4.0,
            peer.name(),
            WIDTH - RIGHT,
            x(spread.least),
            x(spread.most),
            x(spread.median),
            WIDTH - RIGHT + 8.0,
            y + 4.0,
            plain(spread.median)
        );
    }
    end + FOOT
}

/// A power of ten.
fn tick(value: f64) -> String {
    if value < 100.0 { format!("{value}") } else { plain(value) }
}
