//! The results as one page that needs nothing else: no script, no foreign host, light and dark.

use std::fmt::Write;

use super::chart::{Chart, Series, escape};
use super::measure::Sample;
use super::report::Report;
use super::table::{self, number, rate, short, time, whole};

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::from(HEAD);
    let verdict = match (report.is_good(), report.expectations.is_empty()) {
        (true, true) => ("good", "went through"),
        (true, false) => ("good", "all limits held"),
        (false, _) => ("bad", "not as it should be"),
    };
    // Infallible, as all below: the writer is a String.
    let _ = write!(
        out,
        "<header><h1>fanfare bench</h1><p class=\"{}\">{}</p></header><p>{}</p><p class=\"dim\">{} · {} · fanfare {}</p>",
        verdict.0,
        verdict.1,
        escape(&report.scenario),
        escape(&report.url),
        escape(&report.date),
        report.version
    );
    if let Some(reason) = &report.reason {
        let _ = write!(out, "<p class=\"note\">The run ended early: {}.</p>", escape(reason));
    }
    if let Some(bottleneck) = &report.generator.bottleneck {
        let _ = write!(out, "<p class=\"note\">The load generator was the bottleneck: {}.</p>", escape(bottleneck));
    }
    tiles(report, &mut out);
    if !report.expectations.is_empty() {
        out += "<h2>Limits</h2><table>";
        for held in &report.expectations {
            let class = if held.holds { "good" } else { "bad" };
            let value = match (held.value, held.time) {
                (None, _) => "not measured".to_owned(),
                (value, true) => time(value),
                (Some(value), false) => number(value),
            };
            let word = if held.holds { "held" } else { "broken" };
            let _ = write!(
                out,
                "<tr><th>{}</th><td>{value}</td><td class=\"{class}\">{word}</td></tr>",
                escape(&held.limit)
            );
        }
        out += "</table>";
    }
    out += "<h2>Over time</h2><div class=\"charts\">";
    for chart in charts(&report.samples) {
        out += &chart.html();
    }
    out += "</div><h2>All figures</h2>";
    for (title, rows) in table::sections(report) {
        let _ = write!(out, "<h3>{title}</h3><table>");
        for (name, value) in rows {
            let _ = match name {
                "" => write!(out, "<tr><td colspan=\"2\">{}</td></tr>", escape(&value)),
                name => write!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(&value)),
            };
        }
        out += "</table>";
    }
    out += "</main></html>\n";
    out
}

/// What one looks for first.
fn tiles(report: &Report, out: &mut String) {
    let latency = |pick: fn(&super::report::Times) -> f64| time(report.latency.as_ref().map(pick));
    let mut tiles = vec![
        ("delivered", rate(report.delivered_per_second)),
        ("p50", latency(|times| times.p50)),
        ("p99", latency(|times| times.p99)),
        ("lost", whole(report.checks.lost)),
    ];
    if let Some(server) = &report.server {
        tiles.push(("server", format!("{:.0} % CPU", server.cpu * 100.0)));
        tiles.push(("its memory", format!("{}B", short(server.usage.resident_max as f64))));
    }
    *out += "<div class=\"tiles\">";
    for (name, value) in tiles {
        let _ = write!(out, "<div><b>{}</b>{name}</div>", escape(&value));
    }
    *out += "</div>";
}

fn charts(samples: &[Sample]) -> Vec<Chart<'static>> {
    let at: Vec<f64> = samples.iter().map(|sample| sample.at).collect();
    let series = |name, pick: fn(&Sample) -> Option<f64>| Series { name, values: samples.iter().map(pick).collect() };
    let chart =
        |title, up, logarithmic, series| Chart { title, across: "seconds", up, logarithmic, at: at.clone(), series };
    vec![
        chart(
            "Latency",
            |value| time(Some(value)),
            true,
            vec![
                series("p50", |sample| sample.p50),
                series("p90", |sample| sample.p90),
                series("p99", |sample| sample.p99),
                series("p99.9", |sample| sample.p999),
                series("max", |sample| sample.max),
            ],
        ),
        chart("Delivered", rate, false, vec![series("messages a second", |sample| Some(sample.delivered_per_second))]),
        chart("Published", rate, false, vec![series("messages a second", |sample| Some(sample.published_per_second))]),
        chart(
            "Missing so far",
            |value| short(value).trim_end().to_owned(),
            false,
            vec![
                series("unannounced", |sample| Some(sample.missing as f64)),
                series("announced by gaps", |sample| Some(sample.gaps as f64)),
            ],
        ),
        chart(
            "Processor",
            |value| format!("{:.0} %", value * 100.0),
            false,
            vec![
                series("server", |sample| sample.server_cpu),
                series("busiest thread of the load", |sample| Some(sample.own_busy)),
            ],
        ),
        chart(
            "Memory of the server",
            |value| format!("{}B", short(value)),
            false,
            vec![series("resident", |sample| sample.server_resident.map(|bytes| bytes as f64))],
        ),
        chart(
            "Connections",
            |value| short(value).trim_end().to_owned(),
            false,
            vec![series("ready", |sample| Some(sample.live as f64))],
        ),
    ]
}

/// Nothing may be loaded from anywhere, whatever a server has said that stands below.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>fanfare bench</title>
<style>
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b646e; --paper: #fff; --line: #dfe3e8; --tile: #f4f6f8;
  --good: #116329; --bad: #cf222e; --c0: #1f6feb; --c1: #2da44e; --c2: #d97706; --c3: #cf222e; --c4: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --dim: #9aa4ae; --paper: #14181c; --line: #2b3138; --tile: #1d2329;
    --good: #3fb950; --bad: #ff7b72; --c0: #58a6ff; --c1: #3fb950; --c2: #e3a008; --c3: #ff7b72; --c4: #bc8cff; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 60px; }
header { display: flex; align-items: baseline; gap: 16px; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 32px 0 12px; } h3 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 4px 0; } .dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.note { border-left: 3px solid var(--c2); padding: 6px 12px; margin: 12px 0; background: var(--tile); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.tiles div { background: var(--tile); border-radius: 8px; padding: 10px 16px; min-width: 96px; color: var(--dim); }
.tiles b { display: block; font-size: 20px; color: var(--ink); font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 20px; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; display: flex; flex-wrap: wrap; gap: 4px 16px; }
.key { font-weight: 400; font-size: 13px; } .key span { margin-right: 12px; color: var(--dim); }
.key span::before { content: ""; display: inline-block; width: 12px; height: 3px; margin: 0 5px 3px 0; background: var(--c); }
svg { width: 100%; height: auto; } svg text { font-size: 13px; fill: var(--dim); font-variant-numeric: tabular-nums; }
.up { text-anchor: end; } .across { text-anchor: middle; } .grid { stroke: var(--line); fill: none; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.line { stroke: var(--c); stroke-width: 2; fill: none; stroke-linejoin: round; }
circle { fill: transparent; } circle:hover { fill: var(--c); } .none { color: var(--dim); }
table { border-collapse: collapse; } th { font-weight: 400; color: var(--dim); text-align: left; }
th, td { padding: 3px 20px 3px 0; vertical-align: top; font-variant-numeric: tabular-nums; }
td { overflow-wrap: anywhere; }
</style>
<main>
"#;
