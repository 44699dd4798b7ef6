//! Durations by the million, counted in buckets whose width grows with the value.
//!
//! Gil Tene's HdrHistogram, cut down to what is asked of it here: a value is kept to one part in 64, recording
//! is a few instructions and allocates nothing, and histograms of several threads add up.

use std::time::Duration;

/// Buckets to an octave, as a power of two: a percentile is off by 1/64 at most.
const FINE_BITS: u32 = 7;
const FINE: u64 = 1 << FINE_BITS;

/// Values beyond are counted as this: a day and a half in microseconds.
const MICROS_MAX: u64 = (1 << 37) - 1;

const BUCKETS: usize = (((37 - FINE_BITS) as usize) + 1) << FINE_BITS;

/// How often which duration came, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, micros: u64) {
        let micros = micros.min(MICROS_MAX);
        self.counts[bucket(micros)] += 1;
        self.count += 1;
        self.sum += micros;
        self.max = self.max.max(micros);
    }

    pub(super) fn add(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub(super) fn clear(&mut self) {
        if self.count > 0 {
            self.counts.fill(0);
            (self.count, self.sum, self.max) = (0, 0, 0);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly.
    pub(super) fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max))
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count).map(Duration::from_micros)
    }

    /// What `percent` of all values do not exceed. Never more than the largest value there was.
    pub(super) fn percentile(&self, percent: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        // At least one value, so that the 0th percentile is the smallest.
        let wanted = ((percent / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut passed = 0;
        let found = self.counts.iter().position(|count| {
            passed += count;
            passed >= wanted
        });
        found.map(|at| Duration::from_micros(highest(at).min(self.max)))
    }
}

/// Where a value is counted: below `FINE` each has a bucket of its own; above, its octave says how many of
/// its low bits do not count.
fn bucket(micros: u64) -> usize {
    let coarse = (63 - (micros | (FINE - 1)).leading_zeros()).saturating_sub(FINE_BITS - 1);
    let fine = micros >> coarse;
    // From the second octave on `fine` has its highest bit set, and only the rest of it counts on.
    ((u64::from(coarse) << (FINE_BITS - 1)) + fine) as usize
}

/// The largest value that a bucket counts.
fn highest(bucket: usize) -> u64 {
    const HALF: u64 = FINE / 2;
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let coarse = bucket / HALF - 1;
    let fine = bucket % HALF + HALF;
    ((fine + 1) << coarse) - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Histogram, MICROS_MAX, bucket, highest};

    #[test]
    fn buckets_hold_what_they_say_they_hold() {
        let mut before = None;
        for value in (0..100_000).chain((17..37).flat_map(|bit| (0..64).map(move |n| (1 << bit) + n))) {
            let at = bucket(value);
            assert!(highest(at) >= value, "{value}");
            assert!(highest(at) - value <= value / 64, "{value}");
            assert_eq!(bucket(highest(at)), at, "{value}");
            if let Some(before) = before.filter(|_| value < 100_000) {
                assert!(at == before || at == before + 1, "{value}");
            }
            before = Some(at);
        }
        assert!(bucket(MICROS_MAX) < Histogram::default().counts.len());
    }

    #[test]
    fn nothing_has_no_percentile() {
        let nothing = Histogram::default();
        assert_eq!((nothing.percentile(50.0), nothing.max(), nothing.mean()), (None, None, None));
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            mut values in proptest::collection::vec(0_u64..1 << 30, 1..200),
            percent in 0.0..=100.0_f64,
        ) {
            let (mut one, mut other) = (Histogram::default(), Histogram::default());
            for (at, value) in values.iter().enumerate() {
                if at % 2 == 0 { one.record(*value) } else { other.record(*value) }
            }
            one.add(&other);
            values.sort_unstable();
            let at = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
            let found = one.percentile(percent).expect("there are values").as_micros() as u64;
            prop_assert!(found >= values[at] && found <= values[at] + values[at] / 64, "{found} for {}", values[at]);
            prop_assert_eq!(one.max(), values.last().map(|last| Duration::from_micros(*last)));
            prop_assert_eq!(one.count(), values.len() as u64);
        }
    }
}
