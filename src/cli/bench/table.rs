//! The results as lines of text, and numbers as people read them.

use std::fmt::Write;

use super::report::{Report, Times};

/// The report for a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    for (title, rows) in sections(report) {
        // Infallible: the writer is a String.
        let _ = writeln!(out, "{title}");
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in rows {
            let _ = writeln!(out, "  {name:width$}  {value}");
        }
    }
    for held in &report.expectations {
        let value = match (held.value, held.time) {
            (None, _) => "not measured".to_owned(),
            (Some(value), true) => time(Some(value)),
            (Some(value), false) => number(value),
        };
        let _ = writeln!(out, "{} {}: {value}", if held.holds { "held  " } else { "BROKEN" }, held.limit);
    }
    out
}

/// All figures, in sections, each with a name; what was not measured is left out.
pub(super) fn sections(report: &Report) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let mut sections = vec![("Run", run(report)), ("Messages", messages(report)), ("Checks", checks(report))];
    sections.push(("Connections", connections(report)));
    sections.push(("Server", server(report)));
    sections.push(("Load generator", generator(report)));
    if !report.reasons.is_empty() {
        let reasons = report.reasons.iter().map(|reason| ("", format!("{} × {}", whole(reason.count), reason.reason)));
        sections.push(("Said", reasons.collect()));
    }
    sections
}

fn run(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("server", format!("{} ({})", report.url, report.dialect)),
        ("load", report.scenario.clone()),
        ("measured", format!("{:.1} s, until {}", report.seconds, report.date)),
        ("machine", report.machine.clone()),
    ];
    if let Some(reason) = &report.reason {
        rows.push(("ended early", reason.clone()));
    }
    rows
}

fn messages(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("published", format!("{} ({})", whole(report.published), rate(report.published_per_second))),
        ("delivered", format!("{} ({})", whole(report.delivered), rate(report.delivered_per_second))),
        ("received", format!("{}B/s", short(report.bytes_per_second))),
    ];
    if let Some(latency) = &report.latency {
        rows.push(("latency", times(latency)));
    }
    if let Some(answer) = &report.answer {
        rows.push(("answered after", times(answer)));
    }
    if let Some(slow) = &report.slow {
        let (of, gaps, closed) = (whole(slow.delivered), whole(slow.gaps), whole(slow.closed));
        rows.push(("to slow readers", format!("{of} delivered, {gaps} left out by announcement, {closed} closed")));
    }
    rows
}

fn checks(report: &Report) -> Vec<(&'static str, String)> {
    let checks = &report.checks;
    let mut rows = vec![
        ("lost", whole(checks.lost)),
        ("duplicated", whole(checks.duplicated)),
        ("reordered", whole(checks.reordered)),
        ("left out by announcement", format!("{} in {} gaps", whole(checks.gaps), whole(checks.gap_events))),
        (
            "wrong topic, bytes, number",
            format!("{}, {}, {}", whole(checks.wrong_topic), whole(checks.wrong_bytes), whole(checks.misnumbered)),
        ),
    ];
    if checks.refused_publishes > 0 {
        rows.push(("publishes refused", whole(checks.refused_publishes)));
    }
    if checks.recovered + checks.unrecovered > 0 {
        let (recovered, unrecovered) = (whole(checks.recovered), whole(checks.unrecovered));
        let replayed = whole(checks.replayed);
        rows.push(("recovered", format!("{recovered} subscriptions, {replayed} messages; {unrecovered} not")));
    }
    rows
}

fn connections(report: &Report) -> Vec<(&'static str, String)> {
    let all = &report.connections;
    let mut rows = vec![
        (
            "ready",
            format!(
                "{} of {} in {} ({})",
                whole(all.ready as u64),
                whole(all.asked as u64),
                time(Some(all.join_seconds)),
                rate(all.joined_per_second)
            ),
        ),
        ("at the end", whole(all.live_at_end as u64)),
    ];
    if let Some(time) = &all.time {
        rows.push(("connect and subscribe", times(time)));
    }
    match all.compressed {
        None => {}
        Some(0) => rows.push(("compression", "NOT AGREED: what comes is as long as it is".to_owned())),
        Some(agreed) => rows.push(("compression", format!("agreed {} times", whole(agreed)))),
    }
    if all.joined > all.ready as u64 {
        rows.push(("returned", whole(all.joined - all.ready as u64)));
    }
    if all.refused + all.closed > 0 {
        rows.push(("refused, closed", format!("{}, {}", whole(all.refused), whole(all.closed))));
    }
    rows
}

fn server(report: &Report) -> Vec<(&'static str, String)> {
    let Some(server) = &report.server else {
        let why = "no process of this user listens there on this machine; --server-pid names one";
        return vec![("not measured", why.to_owned())];
    };
    let usage = &server.usage;
    let mut rows = vec![(
        "processor",
        format!(
            "{:.0} % of one ({:.2} s user, {:.2} s system), process {}",
            server.cpu * 100.0,
            usage.user,
            usage.system,
            usage.pid
        ),
    )];
    if let (Some(all), Some(user)) = (server.cpu_per_delivery, server.user_per_delivery) {
        rows.push(("for a delivery", format!("{}, {} of it in user space", time(Some(all)), time(Some(user)))));
    }
    rows.push((
        "memory",
        format!(
            "{}B before, {}B joined, {}B at most",
            short(usage.resident_before as f64),
            short(usage.resident_joined as f64),
            short(usage.resident_max as f64)
        ),
    ));
    if let (Some(memory), Some(cpu)) = (server.resident_per_connection, server.cpu_per_join) {
        rows.push(("for a connection", format!("{}B, {} to join", short(memory), time(Some(cpu)))));
    }
    rows
}

fn generator(report: &Report) -> Vec<(&'static str, String)> {
    let own = &report.generator;
    let mut rows = vec![(
        "busiest thread",
        format!("{:.0} % of {} thread{}", own.busiest * 100.0, own.threads, if own.threads == 1 { "" } else { "s" }),
    )];
    if let (Some(all), Some(user)) = (own.cpu_per_delivery, own.user_per_delivery) {
        rows.push(("for a delivery", format!("{}, {} of it in user space", time(Some(all)), time(Some(user)))));
    }
    if let Some(lateness) = &own.lateness {
        rows.push(("messages left late by", times(lateness)));
    }
    if let Some(bottleneck) = &own.bottleneck {
        rows.push(("IT WAS THE BOTTLENECK", bottleneck.clone()));
    }
    rows
}

fn times(times: &Times) -> String {
    let Times { p50, p90, p99, p999, max, .. } = *times;
    let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(|seconds| time(Some(seconds)));
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
}

/// Seconds in the unit that fits, with three digits that count.
pub(super) fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "–".to_owned();
    };
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 || s == 0.0 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    format!("{} {unit}", three(value))
}

/// `1.23M/s`
pub(super) fn rate(per_second: f64) -> String {
    format!("{}/s", short(per_second).trim_end().replace(' ', ""))
}

/// A number with a prefix: `1.23 M`, and a space behind it for the unit that follows.
pub(super) fn short(value: f64) -> String {
    let (value, prefix) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{} {prefix}", three(value))
}

fn three(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A figure that was limited: whole ones as they are.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 { whole(value as u64) } else { format!("{value:.2}") }
}

/// A whole number with its thousands apart.
pub(super) fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{rate, short, time, whole};

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(whole(12), "12");
        assert_eq!(time(Some(0.000_35)), "350 µs");
        assert_eq!(time(Some(1.5)), "1.50 s");
        assert_eq!(time(Some(2e-8)), "20.0 ns");
        assert_eq!(time(Some(0.0)), "0 µs");
        assert_eq!(time(None), "–");
        assert_eq!(rate(1_234_567.0), "1.23M/s");
        assert_eq!(short(0.0), "0 ");
    }
}
