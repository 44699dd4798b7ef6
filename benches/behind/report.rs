//! The tables: what was measured, what was asked for, and whether it was met.

use std::fmt::Write as _;

use crate::history::{ENTRIES, History};
use crate::patterns::{self, Patterns};
use crate::recovery::{self, Recovery};
use crate::stalled::{self, Stalled};
use crate::support::figures::{Spread, plain, row, table};
use crate::support::goals::{Goals, Limit};
use crate::support::measure::{FullSpeed, Late, Paced};
use crate::topics::Topics;

/// What was measured, part by part.
pub(crate) struct Measured {
    pub(crate) stalled: Option<Stalled>,
    pub(crate) patterns: Option<Patterns>,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) topics: Option<Topics>,
    pub(crate) history: Option<History>,
}

/// Two rows of a table and where their figures come from.
type Pair<Source> = [(&'static str, Source); 2];

impl Stalled {
    fn spread(&self, figure: impl Fn(&stalled::Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure).collect())
    }
}

impl Patterns {
    fn spread(&self, figure: impl Fn(&patterns::Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure).collect())
    }
}

impl Recovery {
    fn spread(&self, figure: impl Fn(&recovery::Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure).collect())
    }
}

impl History {
    fn cost(runs: &[FullSpeed]) -> Option<Spread> {
        Spread::of(runs.iter().map(|run| run.cost.user + run.cost.system).collect())
    }
}

fn middle(spread: Option<Spread>) -> Option<f64> {
    spread.map(|spread| spread.median)
}

fn ratio(of: Option<Spread>, to: Option<Spread>) -> Option<f64> {
    Some(middle(of)? / middle(to)?)
}

/// The goals beside what was measured.
pub(crate) fn goals(measured: &Measured) -> Goals {
    /// Both a ratio and its noise: figures of one server sway by as much from round to round.
    const NOTHING: f64 = 1.1;
    /// A few dozen, and what the allocator keeps of the tables that a growing one has left.
    const PLACE_BYTES: f64 = 96.0;
    let Measured { stalled, patterns, recovery, topics, history } = measured;
    let (stalled, patterns) = (stalled.as_ref(), patterns.as_ref());
    let (recovery, history) = (recovery.as_ref(), history.as_ref());
    Goals::of([
        (
            "a stalled subscriber of one topic: bytes beyond idle, little published",
            Limit::AtMost(1024.0),
            stalled.and_then(|s| middle(s.spread(|round| round.after_few))),
        ),
        (
            "the same, four times as much published",
            Limit::AtMost(1024.0),
            stalled.and_then(|s| middle(s.spread(|round| round.after_many))),
        ),
        (
            "gaps that each stalled subscriber was told of",
            Limit::AtLeast(1.0),
            stalled.and_then(|s| middle(s.spread(|round| round.gaps))),
        ),
        (
            "p99 of fast subscribers of the same topic: beside stalled ones / without",
            Limit::AtMost(1.2),
            stalled.and_then(|s| ratio(s.spread(|round| round.beside.p99), s.spread(|round| round.before.p99))),
        ),
        (
            "a stalled subscriber of a pattern: bytes for each topic that moved, little published",
            Limit::AtMost(PLACE_BYTES),
            patterns.and_then(|p| middle(p.spread(|round| round.after_few))),
        ),
        (
            "the same, twice as much published",
            Limit::AtMost(PLACE_BYTES),
            patterns.and_then(|p| middle(p.spread(|round| round.after_many))),
        ),
        (
            "everybody reconnects: time / that of a plain write of the same bytes",
            Limit::AtMost(5.0),
            recovery
                .and_then(|r| ratio(r.spread(|round| round.fanfare.seconds), r.spread(|round| round.plain.seconds))),
        ),
        (
            "p99 of another topic's subscribers: meanwhile / before",
            Limit::AtMost(3.0),
            recovery.and_then(|r| ratio(r.spread(|round| round.during.p99), r.spread(|round| round.before.p99))),
        ),
        (
            "topics with one message each: resident MiB",
            Limit::AtMost(1024.0),
            topics.as_ref().map(|topics| mebibytes(topics.resident)),
        ),
        (
            "full speed: history kept / not kept, CPU per delivery",
            Limit::AtMost(NOTHING),
            history.and_then(|h| ratio(History::cost(&h.kept), History::cost(&h.not_kept))),
        ),
    ])
}

/// All figures.
pub(crate) fn tables(measured: &Measured) -> String {
    let mut text = String::new();
    if let Some(stalled) = &measured.stalled {
        text += &stalled_table(stalled);
    }
    if let Some(patterns) = &measured.patterns {
        text += &patterns_table(patterns);
    }
    if let Some(recovery) = &measured.recovery {
        text += &recovery_table(recovery);
    }
    if let Some(topics) = &measured.topics {
        text += &topics_line(topics);
    }
    if let Some(history) = &measured.history {
        text += &history_table(history);
    }
    text
}

fn stalled_table(stalled: &Stalled) -> String {
    let Stalled { crowd, readers, few, many, per_second, .. } = stalled;
    let mut text = format!(
        "\nStalled: {crowd} subscribers of one topic stop reading while messages of 1 KiB are published. Resident \
         bytes of the server for each, beyond as many that have nothing to read beside the same ring\n\n"
    );
    let rows = [
        row(["after", "bytes per stalled subscriber"]),
        row([&format!("{few} messages"), &show(stalled.spread(|round| round.after_few))]),
        row([&format!("{many} messages"), &show(stalled.spread(|round| round.after_many))]),
    ];
    text += &table(&rows);
    let gaps = show(stalled.spread(|round| round.gaps));
    let _ = writeln!(
        text,
        "\nEach was told of {gaps} gaps, and got everything else. {readers} others of the same topic, who read, at \
         {per_second} messages a second\n"
    );
    let mut rows = vec![row(["", "CPU µs per delivery", "user", "system", "p50 ms", "p99 ms"])];
    let phases: Pair<fn(&stalled::Round) -> &Paced> =
        [("nobody stalls", |round| &round.before), ("beside the stalled", |round| &round.beside)];
    for (name, phase) in phases {
        let figure = |figure: fn(&Paced) -> f64| show(stalled.spread(|round| figure(phase(round))));
        rows.push(row([
            name,
            &figure(|paced| paced.cost.user + paced.cost.system),
            &figure(|paced| paced.cost.user),
            &figure(|paced| paced.cost.system),
            &figure(|paced| paced.p50),
            &figure(|paced| paced.p99),
        ]));
    }
    text + &table(&rows)
}

fn patterns_table(patterns: &Patterns) -> String {
    let Patterns { crowd, topics, few, many, .. } = patterns;
    let mut text = format!(
        "\nPatterns: {crowd} subscribers of a pattern stop reading while messages are published to {topics} topics in \
         turn. Resident bytes of the server for each subscriber and topic, beyond idle; at most \
         `limits.behind_topics` of them per subscriber\n\n"
    );
    let rows = [
        row(["after", "bytes per place"]),
        row([&format!("{few} messages"), &show(patterns.spread(|round| round.after_few))]),
        row([&format!("{many} messages"), &show(patterns.spread(|round| round.after_many))]),
    ];
    text += &table(&rows);
    let gaps = show(patterns.spread(|round| round.gaps));
    let _ = writeln!(text, "\nEach was told of {gaps} gaps, and got everything else.");
    text
}

fn recovery_table(recovery: &Recovery) -> String {
    let Recovery { clients, messages, data_bytes, bytes, bystanders, per_second, .. } = recovery;
    let mut text = format!(
        "\nEverybody reconnects: {clients} connections subscribe at the same moment with `since` to a topic that holds \
         {messages} messages of {data_bytes} bytes of data, {bytes} bytes with their frames, until each has all\n\n"
    );
    let mut rows = vec![row(["server", "ms", "server's CPU ms"])];
    let servers: Pair<fn(&recovery::Round) -> &recovery::Took> =
        [("fanfare", |round| &round.fanfare), ("plain write", |round| &round.plain)];
    for (name, took) in servers {
        rows.push(row([
            name,
            &show(recovery.spread(|round| took(round).seconds * 1e3)),
            &show(recovery.spread(|round| took(round).cpu * 1e3)),
        ]));
    }
    text += &table(&rows);
    let _ = writeln!(text, "\n{bystanders} subscribers of another topic at {per_second} messages a second\n");
    let mut rows = vec![row(["", "p50 ms", "p99 ms"])];
    let phases: Pair<fn(&recovery::Round) -> &Late> =
        [("before", |round| &round.before), ("while everybody comes back", |round| &round.during)];
    for (name, late) in phases {
        rows.push(row([
            name,
            &show(recovery.spread(|round| late(round).p50)),
            &show(recovery.spread(|round| late(round).p99)),
        ]));
    }
    text + &table(&rows)
}

fn topics_line(topics: &Topics) -> String {
    let each = plain((topics.resident - topics.empty) / topics.count as f64);
    format!(
        "\nTopics: {} with one message of {} bytes each, in process: {} MiB resident, {each} bytes a topic.\n",
        topics.count,
        topics.data_bytes,
        plain(mebibytes(topics.resident)),
    )
}

fn history_table(history: &History) -> String {
    let mut text = format!(
        "\nHistory: deliveries at full speed to {} subscribers, {} bytes of data, one publisher with 64 \
         outstanding, in {} phases in turns\n\n",
        history.subscribers,
        history.data_bytes,
        history.kept.len() + history.not_kept.len()
    );
    let mut rows = vec![row([
        "messages kept",
        "CPU s per million deliveries",
        "user",
        "system",
        "deliveries/s",
        "messages per write",
        "bytes per message",
        "server busy",
    ])];
    for (name, runs) in [(ENTRIES, &history.kept), ("0", &history.not_kept)] {
        let figure = |figure: fn(&FullSpeed) -> Option<f64>| show(Spread::of(runs.iter().filter_map(figure).collect()));
        rows.push(row([
            name,
            &show(History::cost(runs)),
            &figure(|run| Some(run.cost.user)),
            &figure(|run| Some(run.cost.system)),
            &figure(|run| Some(run.per_second)),
            &figure(|run| run.per_write),
            &figure(|run| Some(run.wire_bytes)),
            &figure(|run| Some(run.busy)),
        ]));
    }
    text += &table(&rows);
    text
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), Spread::show)
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
