//! What was measured, all rounds of all servers.

use std::collections::BTreeMap;

use crate::scenario::Sample;
use crate::server::Kind;
use crate::support::figures::Spread;

#[derive(Default)]
pub(crate) struct Record {
    samples: BTreeMap<Kind, Vec<Sample>>,
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
        Spread::of(self.of(kind).iter().filter_map(figure).collect())
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
