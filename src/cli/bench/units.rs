//! Numbers as people write them: `10s`, `1.5ms`, `64k`, `5%`.

use std::time::Duration;

use thiserror::Error;

/// What is no such number.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum UnitError {
    #[error("{0:?} is no duration; write 10s, 250ms, 2m")]
    Duration(String),
    #[error("{0:?} is no number; write 1000, 64k, 1.5M")]
    Number(String),
    #[error("{0:?} is no share; write 25%, at most 100%")]
    Share(String),
}

/// `250us`, `1.5ms`, `10s`, `2m`, `1h`; without a unit, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let (number, unit) = split(text);
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// `1000`, `64k`, `1.5M`, and `/s` behind it where it is a rate. Powers of a thousand.
pub(super) fn number(text: &str) -> Result<f64, UnitError> {
    let wrong = || UnitError::Number(text.to_owned());
    let (number, unit) = split(text);
    let factor = match unit.strip_suffix("/s").unwrap_or(unit) {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    if !number.is_finite() || number < 0.0 {
        return Err(wrong());
    }
    Ok(number * factor)
}

/// As [`number`], in whole units.
pub(super) fn count(text: &str) -> Result<u64, UnitError> {
    let number = number(text)?;
    if number.fract() != 0.0 || number > 1e15 {
        return Err(UnitError::Number(text.to_owned()));
    }
    Ok(number as u64)
}

/// Bytes: `128`, and `1k`, `64k`, `1M` in powers of 1,024, as sizes of messages go.
pub(super) fn bytes(text: &str) -> Result<usize, UnitError> {
    let wrong = || UnitError::Number(text.to_owned());
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => 0,
        "k" | "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        _ => return Err(wrong()),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes < 1 << 40).ok_or_else(wrong)
}

/// `25%` as 0.25.
pub(super) fn share(text: &str) -> Result<f64, UnitError> {
    let wrong = || UnitError::Share(text.to_owned());
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(wrong()) }
}

/// The number and what stands behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, count, duration, number, share};

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(duration("250us"), duration("250µs"));
        assert_eq!(duration("2m"), duration("120"));
        assert_eq!(number("1.5k"), Ok(1500.0));
        assert_eq!(number("50/s"), Ok(50.0));
        assert_eq!(number("2k/s"), Ok(2000.0));
        assert_eq!(count("1M"), Ok(1_000_000));
        assert_eq!(bytes("1k"), Ok(1024));
        assert_eq!(share("25%"), Ok(0.25));
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in ["", "s", "10x", "-1s", "1e9h", "10 s", "NaN", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "k", "-1", "NaN", "inf", "1kk", "/s"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert!(count("1.5").is_err());
        assert!(bytes("1.5k").is_err());
        assert!(share("101%").is_err());
    }
}
