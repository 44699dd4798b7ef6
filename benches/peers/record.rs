//! What was measured, all rounds of all servers in all scenarios.

use std::collections::BTreeMap;

use crate::peer::Peer;
use crate::run::Sample;
use crate::scenario::Scenario;
use crate::support::figures::Spread;

#[derive(Default)]
pub(crate) struct Record {
    samples: BTreeMap<(&'static str, Peer), Vec<Sample>>,
}

impl Record {
    pub(crate) fn add(&mut self, peer: Peer, scenario: &Scenario, sample: Sample) {
        self.samples.entry((scenario.key, peer)).or_default().push(sample);
    }

    pub(crate) fn of(&self, peer: Peer, scenario: &Scenario) -> &[Sample] {
        self.samples.get(&(scenario.key, peer)).map_or(&[], Vec::as_slice)
    }

    /// One figure over all rounds that went through, or `None` where there is none.
    pub(crate) fn spread(
        &self,
        peer: Peer,
        scenario: &Scenario,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(peer, scenario).iter().filter(|sample| sample.failed.is_none()).filter_map(figure).collect())
    }

    pub(crate) fn rounds(&self) -> usize {
        self.samples.values().map(Vec::len).max().unwrap_or(0)
    }

    /// What must not be: a run that did not go through, or a message that fanfare or the floor lost.
    pub(crate) fn failures(&self, peers: &[Peer], scenarios: &[Scenario]) -> Vec<String> {
        let mut failures = Vec::new();
        for scenario in scenarios {
            for peer in peers {
                let samples = self.of(*peer, scenario);
                let what = format!("{}, {}", scenario.key, peer.name());
                failures
                    .extend(samples.iter().filter_map(|sample| Some(format!("{what}: {}", sample.failed.as_ref()?))));
                let lost: u64 = samples.iter().map(|sample| sample.lost + sample.duplicated + sample.reordered).sum();
                if lost > 0 && matches!(peer, Peer::Fanfare | Peer::Floor) {
                    failures.push(format!("{what}: {lost} messages lost, duplicated or reordered"));
                }
            }
        }
        failures
    }
}
