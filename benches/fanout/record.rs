//! What was measured, all rounds of all servers.

use std::collections::BTreeMap;

use crate::scenario::Sample;
use crate::server::Kind;

#[derive(Default)]
pub(crate) struct Record {
    samples: BTreeMap<Kind, Vec<Sample>>,
}

/// The middle of several rounds, and their ends.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Record {
    pub(crate) fn add(&mut self, kind: Kind, sample: Sample) {
        self.samples.entry(kind).or_default().push(sample);
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = Kind> {
        self.samples.keys().copied()
    }

    pub(crate) fn rounds(&self) -> usize {
        self.samples.values().map(Vec::len).max().unwrap_or(0)
    }

    /// One figure of one server over all rounds, or `None` where it was not measured.
    pub(crate) fn spread(&self, kind: Kind, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = self.of(kind).iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let (least, most) = (*figures.first()?, *figures.last()?);
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Spread { median, least, most })
    }

    /// Messages that went missing and that no gap accounted for.
    pub(crate) fn missing(&self, kind: Kind) -> u64 {
        self.of(kind).iter().map(|sample| sample.lost).sum()
    }

    /// Messages that gaps accounted for.
    pub(crate) fn skipped(&self, kind: Kind) -> u64 {
        self.of(kind).iter().map(|sample| sample.skipped).sum()
    }

    fn of(&self, kind: Kind) -> &[Sample] {
        self.samples.get(&kind).map_or(&[], Vec::as_slice)
    }
}
