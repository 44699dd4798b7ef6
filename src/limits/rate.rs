//! Rates, and the meters that hold somebody to one.
//!
//! A meter is governor's (the generic cell rate algorithm: one word of state, changed by
//! compare-and-swap). The time is an argument, as it is read once for all the meters that a command
//! meets.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// How much there may be: so many a second on average, and so many at once after a quiet time.
///
/// As text it is `100/s burst 1000`, or `100/s` for a burst of one second's worth.
///
/// # Examples
///
/// ```
/// use fanfare::Rate;
///
/// assert_eq!("100/s burst 1000".parse(), Ok(Rate::new(100, 1000)));
/// assert_eq!("100/s".parse(), Ok(Rate::new(100, 100)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// A text that is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is written as 100/s burst 1000")]
pub struct RateError;

/// As much as either number may be: sums of times stay far from overflow.
const MAX: u32 = 1_000_000_000;

impl Rate {
    /// A rate. Both numbers are taken as at least one and at most a thousand million.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Rate {
        Rate { per_second: within(per_second), burst: within(burst) }
    }

    /// From one to the next on average, in nanoseconds.
    pub(super) fn interval_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.get())
    }

    /// A tenth of it, in either respect.
    pub(super) fn tenth(self) -> Rate {
        Rate::new(self.per_second.get() / 10, self.burst.get() / 10)
    }

    /// Half of what may come at once.
    pub(super) fn half_burst(self) -> usize {
        self.burst.get() as usize / 2
    }

    /// How long an empty meter takes to fill up.
    pub(super) fn fills_in(self) -> Duration {
        Duration::from_secs(1) * self.burst.get() / self.per_second.get()
    }
}

const fn within(number: u32) -> NonZeroU32 {
    let number = if number > MAX { MAX } else { number };
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let number = |text: &str| {
            let digits = text.replace('_', "");
            // `u32::from_str` would take a sign.
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
            number.filter(|number| (1..=MAX).contains(number)).ok_or(RateError)
        };
        let mut words = text.split_ascii_whitespace();
        let per_second = number(words.next().and_then(|word| word.strip_suffix("/s")).ok_or(RateError)?)?;
        let burst = match (words.next(), words.next(), words.next()) {
            (None, ..) => per_second,
            (Some("burst"), Some(burst), None) => number(burst)?,
            _ => return Err(RateError),
        };
        Ok(Rate::new(per_second, burst))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s burst {}", self.per_second, self.burst)
    }
}

/// A moment, in nanoseconds since the service was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// What has been used of a rate. Without a rate it lets everything pass.
pub(crate) struct Meter(Option<RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Nanos>>>);

impl Meter {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Meter(rate.map(|Rate { per_second, burst }| {
            // Made at the beginning of time, so that the times it is told are the ones it goes by.
            at(Moment(0), || RateLimiter::direct_with_clock(Quota::per_second(per_second).allow_burst(burst), Told))
        }))
    }

    /// Takes `count` out of the meter, or says how long to wait until there will be as many. More than the
    /// burst counts as the burst: nobody could ever wait for it.
    pub(crate) fn take(&self, count: u32, now: Moment) -> Result<(), Duration> {
        let (Some(limiter), Some(count)) = (&self.0, NonZeroU32::new(count)) else { return Ok(()) };
        let verdict = at(now, || match limiter.check_n(count) {
            Ok(verdict) => verdict,
            Err(capacity) => limiter.check_n(within(capacity.0)).unwrap_or(Ok(())),
        });
        verdict.map_err(|until| until.wait_time_from(Nanos::new(now.0)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").finish_non_exhaustive()
    }
}

/// The clock of all meters: what this thread was told last.
#[derive(Clone, Copy, Debug)]
struct Told;

thread_local! {
    static TOLD: Cell<Moment> = const { Cell::new(Moment(0)) };
}

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(TOLD.get().0)
    }
}

fn at<T>(now: Moment, ask: impl FnOnce() -> T) -> T {
    TOLD.set(now);
    ask()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, rate) in [
            ("100/s burst 1000", Rate::new(100, 1000)),
            ("1_000/s burst 2_000", Rate::new(1000, 2000)),
            ("7/s", Rate::new(7, 7)),
            ("  7/s   burst  1 ", Rate::new(7, 1)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        for text in [
            "",
            "7",
            "0/s",
            "7/m",
            "-7/s",
            "+7/s",
            "7/s burst",
            "7/s burst 0",
            "7/s bust 1",
            "7/s burst 1 2",
            "/s",
            "2000000000/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }

    #[test]
    fn a_meter_lets_a_burst_pass_and_then_the_rate() {
        let meter = Meter::new(Some(Rate::new(10, 3)));
        let begin = Moment(5 * SECOND);
        for _ in 0..3 {
            assert_eq!(meter.take(1, begin), Ok(()));
        }
        assert_eq!(meter.take(1, begin), Err(Duration::from_millis(100)));
        let later = Moment(begin.0 + SECOND / 10);
        assert_eq!(meter.take(1, later), Ok(()));
        assert_eq!(meter.take(1, later), Err(Duration::from_millis(100)));
        // What is refused costs nothing: a second later there are three again, and no more.
        let full = Moment(later.0 + SECOND);
        assert_eq!(meter.take(3, full), Ok(()));
        assert!(meter.take(1, full).is_err());
    }

    #[test]
    fn more_than_the_burst_needs_a_full_meter() {
        let meter = Meter::new(Some(Rate::new(10, 3)));
        assert_eq!(meter.take(500, Moment(SECOND)), Ok(()));
        assert_eq!(meter.take(500, Moment(SECOND)), Err(Duration::from_millis(300)));
        assert_eq!(meter.take(500, Moment(SECOND + SECOND / 10 * 3)), Ok(()));
    }

    #[test]
    fn nothing_costs_nothing_and_no_rate_is_no_limit() {
        let meter = Meter::new(Some(Rate::new(1, 1)));
        assert_eq!(meter.take(1, Moment(0)), Ok(()));
        assert_eq!(meter.take(0, Moment(0)), Ok(()));
        assert!(meter.take(1, Moment(0)).is_err());
        let meter = Meter::new(None);
        assert!((0..1000).all(|_| meter.take(u32::MAX, Moment(0)).is_ok()));
    }
}
