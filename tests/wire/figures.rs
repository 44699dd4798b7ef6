//! The figures of `/metrics` and `$stats`: docs/operating.md lists all of them, and nothing else.

use std::collections::BTreeSet;

use serde_json::json;

use crate::client::Client;
use crate::http::get;
use crate::server::Server;

const CAUSES: &str = include_str!("../../assets/causes.js");
const DOCUMENT: &str = include_str!("../../docs/operating.md");

/// The rows of the table below a heading, cell by cell, without its head.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let part =
        DOCUMENT.split("\n## ").find_map(|part| part.strip_prefix(heading)).expect("the document has that heading");
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect()
}

/// What stands between back ticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').filter(|part| !part.is_empty() && *part != ", ").map(str::to_owned)
}

#[test]
fn the_metrics_are_those_that_the_document_lists() {
    let server = Server::start();
    // Names that clients choose, in everything that a client can choose.
    let mut client = Client::json(&server);
    client.subscribe("chosen.topic");
    client.subscribe("chosen.*");
    client.send(json!({"type": "publish", "id": "chosen", "topic": "chosen.topic", "data": "chosen", "key": "chosen"}));
    for _ in 0..2 {
        client.recv();
    }
    client.send(json!({"type": "chosen"}));
    client.expect_error("unknown_type");

    let reply = get(&server, "/metrics?chosen=chosen");
    let text = reply.text();
    assert!(!text.contains("chosen"), "{text}");
    let kinds: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect();
    let samples: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').next().expect("a name").to_owned())
        .collect();

    let documented = table("Metrics\n");
    let expected_kinds: BTreeSet<_> = documented
        .iter()
        .map(|row| format!("{} {}", row[0].trim_end_matches('`').trim_end_matches("_total"), row[1]))
        .collect();
    let expected_samples: BTreeSet<_> = documented.iter().map(|row| row[0].trim_end_matches('`').to_owned()).collect();
    assert!(documented.len() > 10, "{documented:?}");
    assert_eq!(kinds, expected_kinds);
    // The names alone: there are no labels that anything could be in.
    assert_eq!(samples, expected_samples);
}

#[test]
fn the_fields_of_stats_are_those_that_the_document_lists() {
    let server = Server::start();
    let mut client = Client::json(&server);
    client.subscribe("$stats");
    let event = client.recv();
    let figures = event["data"].as_object().unwrap_or_else(|| panic!("{event}"));
    let fields: BTreeSet<_> = figures.keys().cloned().collect();
    let documented: BTreeSet<_> = table("$stats\n").iter().flat_map(|row| quoted(row[0])).collect();
    assert_eq!(fields, documented);
}

#[test]
fn the_dashboard_shows_each_cause_of_a_refusal() {
    let is_cause = |name: &String| {
        ["refused", "limited_", "closed_", "denied", "skipped", "conflated"].iter().any(|kind| name.starts_with(kind))
    };
    let causes: Vec<_> = table("$stats\n").iter().flat_map(|row| quoted(row[0])).filter(is_cause).collect();
    assert!(causes.len() > 20, "{causes:?}");
    let untold: Vec<_> = causes.iter().filter(|name| !CAUSES.contains(&format!("['{name}', "))).collect();
    assert!(untold.is_empty(), "assets/causes.js does not show {untold:?}");
}
