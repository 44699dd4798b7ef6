//! What is asked of the figures, and whether it is met.

use super::figures::{plain, row, table};

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// The goals beside what was measured.
pub(crate) struct Goals {
    pub(crate) table: String,
    /// Whether none of those that were measured was missed.
    pub(crate) met: bool,
}

impl Goals {
    /// Of what each is about, its limit and the figure, if that was measured.
    pub(crate) fn of<'a>(goals: impl IntoIterator<Item = (&'a str, Limit, Option<f64>)>) -> Goals {
        let mut rows = vec![row(["goal for fanfare", "limit", "measured", ""])];
        let mut met = true;
        for (what, limit, measured) in goals {
            let (limit, holds) = match limit {
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
            rows.push(row([what, &limit, &measured, verdict]));
        }
        Goals { table: table(&rows), met }
    }
}
