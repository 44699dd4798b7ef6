//! Limits that a run has to keep: `p99<20ms,lost=0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::units::{self, UnitError};

/// One limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expectation {
    pub(super) figure: Figure,
    relation: Relation,
    /// Seconds where the figure is a time.
    limit: f64,
    /// As it was written.
    text: String,
}

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    /// Latency, by percentile.
    Percentile(f64),
    Mean,
    Max,
    /// Time to connect and subscribe, by percentile.
    Connect(f64),
    Counted(Counted),
    /// Messages delivered a second.
    Rate,
    /// Messages published a second.
    PublishRate,
    /// Processor time of the server for a delivery.
    ServerCpu,
}

/// What is counted over the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Lost,
    Duplicated,
    Reordered,
    Gaps,
    Wrong,
    Refused,
    Closed,
    Unrecovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// What is no limit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ExpectError {
    #[error("{0:?} is no limit; write p99<20ms, lost=0, rate>=50k")]
    Form(String),
    #[error("{0:?} is no figure; there are {known}", known = FIGURES)]
    Figure(String),
    #[error(transparent)]
    Value(#[from] UnitError),
}

const FIGURES: &str = "p50, p99, p99.9 and other percentiles, mean, max, connect-p99, lost, duplicated, reordered, \
     gaps, wrong, refused, closed, unrecovered, rate, publish-rate, server-cpu";

impl Expectation {
    /// Whether `value` keeps the limit. What was not measured keeps none.
    pub(super) fn holds(&self, value: Option<f64>) -> bool {
        value.is_some_and(|value| match self.relation {
            Relation::Less => value < self.limit,
            Relation::AtMost => value <= self.limit,
            // Figures that are compared for equality are counts.
            Relation::Equal => (value - self.limit).abs() < f64::EPSILON,
            Relation::AtLeast => value >= self.limit,
            Relation::More => value > self.limit,
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expectation {
    type Err = ExpectError;

    fn from_str(text: &str) -> Result<Self, ExpectError> {
        let text = text.trim();
        let form = || ExpectError::Form(text.to_owned());
        let at = text.find(['<', '>', '=']).ok_or_else(form)?;
        let (name, rest) = text.split_at(at);
        let (relation, value) = [
            ("<=", Relation::AtMost),
            (">=", Relation::AtLeast),
            ("<", Relation::Less),
            (">", Relation::More),
            ("=", Relation::Equal),
        ]
        .into_iter()
        .find_map(|(sign, relation)| rest.strip_prefix(sign).map(|value| (relation, value.trim())))
        .ok_or_else(form)?;
        let figure = Figure::parse(name.trim())?;
        let limit = if figure.is_time() {
            // Milliseconds and seconds are mixed up too easily to guess.
            if value.ends_with(|c: char| c.is_ascii_digit()) {
                return Err(UnitError::Duration(value.to_owned()).into());
            }
            units::duration(value)?.as_secs_f64()
        } else {
            units::number(value)?
        };
        Ok(Expectation { figure, relation, limit, text: text.to_owned() })
    }
}

impl Figure {
    fn parse(name: &str) -> Result<Figure, ExpectError> {
        let percentile = |text: &str| -> Option<f64> {
            let percent = text.strip_prefix('p')?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(percent)
        };
        Ok(match name {
            "mean" => Figure::Mean,
            "max" => Figure::Max,
            "lost" => Figure::Counted(Counted::Lost),
            "duplicated" => Figure::Counted(Counted::Duplicated),
            "reordered" => Figure::Counted(Counted::Reordered),
            "gaps" => Figure::Counted(Counted::Gaps),
            "wrong" => Figure::Counted(Counted::Wrong),
            "refused" => Figure::Counted(Counted::Refused),
            "closed" => Figure::Counted(Counted::Closed),
            "unrecovered" => Figure::Counted(Counted::Unrecovered),
            "rate" => Figure::Rate,
            "publish-rate" => Figure::PublishRate,
            "server-cpu" => Figure::ServerCpu,
            name => match name.strip_prefix("connect-") {
                Some(rest) => percentile(rest).map(Figure::Connect),
                None => percentile(name).map(Figure::Percentile),
            }
            .ok_or_else(|| ExpectError::Figure(name.to_owned()))?,
        })
    }

    pub(super) fn is_time(self) -> bool {
        match self {
            Figure::Percentile(_) | Figure::Mean | Figure::Max | Figure::Connect(_) | Figure::ServerCpu => true,
            Figure::Counted(_) | Figure::Rate | Figure::PublishRate => false,
        }
    }
}

/// A duration as a figure: seconds.
pub(super) fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Counted, ExpectError, Expectation, Figure};

    fn parse(text: &str) -> Expectation {
        text.parse().expect("a limit")
    }

    #[test]
    fn limits_hold_or_do_not() {
        for (limit, value, holds) in [
            ("p99<20ms", Some(0.019), true),
            ("p99<20ms", Some(0.02), false),
            ("p99<=20ms", Some(0.02), true),
            ("lost=0", Some(0.0), true),
            ("lost=0", Some(1.0), false),
            ("rate>=50k", Some(50_000.0), true),
            ("rate > 50k/s", Some(50_000.0), false),
            ("p50<1s", None, false),
        ] {
            assert_eq!(parse(limit).holds(value), holds, "{limit} of {value:?}");
        }
        assert_eq!(parse("p99.9<1s").figure, Figure::Percentile(99.9));
        assert_eq!(parse("connect-p50<1s").figure, Figure::Connect(50.0));
        assert_eq!(parse(" wrong = 0 ").figure, Figure::Counted(Counted::Wrong));
        assert_eq!(parse(" wrong = 0 ").to_string(), "wrong = 0");
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for wrong in ["", "p99", "p99 20ms", "lost=", "lost=x", "p99<20", "p99<20x"] {
            assert!(wrong.parse::<Expectation>().is_err(), "{wrong}");
        }
        assert_eq!("p101<1s".parse::<Expectation>(), Err(ExpectError::Figure("p101".to_owned())));
        assert_eq!("looses=0".parse::<Expectation>(), Err(ExpectError::Figure("looses".to_owned())));
    }
}
