//! Durations as people write them: `250ms`, `10s`, `1m30s`, `24h`.
//!
//! One or more whole numbers, each with its unit, the larger unit first; no space, sign or
//! fraction. A bare number is refused: nobody can see whether `30` means seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A [`Duration`] that is read and shown as people write it.
///
/// ```
/// use staunch_config::HumanDuration;
/// use std::time::Duration;
///
/// let lifetime: HumanDuration = "1m30s".parse()?;
/// assert_eq!(lifetime.0, Duration::from_secs(90));
/// assert_eq!(HumanDuration(Duration::from_millis(86_400_250)).to_string(), "24h250ms");
/// # Ok::<(), staunch_config::ParseDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDurationError {
    /// Nothing was written, or a unit without its number.
    #[error("a number is missing")]
    NoNumber,
    /// A number without its unit.
    #[error("`{0}` has no unit: h, m, s, ms, us or ns")]
    NoUnit(String),
    /// What follows the number is not a unit.
    #[error("`{0}` is no unit: h, m, s, ms, us or ns")]
    UnknownUnit(String),
    /// A unit comes twice or after a smaller one.
    #[error("`{0}` is out of order: larger units come first, each once")]
    UnitOrder(&'static str),
    /// More than a [`Duration`] can hold.
    #[error("it is too long")]
    TooLong,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Each unit with its nanoseconds, the largest first.
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        let mut rest = text;
        let mut nanos: u128 = 0;
        let mut units = UNITS.iter();
        loop {
            let (number, unit, after) = split_term(rest);
            if number.is_empty() {
                return Err(ParseDurationError::NoNumber);
            }
            let size = find_unit(number, unit, &mut units)?;
            let count: u64 = number.parse().map_err(|_| ParseDurationError::TooLong)?;
            // Six terms of at most 2^64 hours are far below 2^128 nanoseconds.
            nanos += u128::from(count) * size;
            if after.is_empty() {
                return from_nanos(nanos).map(Self).ok_or(ParseDurationError::TooLong);
            }
            rest = after;
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut nanos = self.0.as_nanos();
        for (unit, size) in UNITS {
            if nanos >= size {
                write!(f, "{}{unit}", nanos / size)?;
                nanos %= size;
            }
        }
        Ok(())
    }
}

/// `1m30s` -> (`1`, `m`, `30s`).
fn split_term(text: &str) -> (&str, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    (number, unit, rest)
}

/// Takes `unit` out of the units that may still come, and gives its nanoseconds.
fn find_unit(
    number: &str,
    unit: &str,
    allowed: &mut std::slice::Iter<'_, (&'static str, u128)>,
) -> Result<u128, ParseDurationError> {
    if unit.is_empty() {
        return Err(ParseDurationError::NoUnit(number.to_owned()));
    }
    if let Some((_, size)) = allowed.find(|(name, _)| *name == unit) {
        return Ok(*size);
    }
    Err(match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((name, _)) => ParseDurationError::UnitOrder(name),
        None => ParseDurationError::UnknownUnit(unit.to_owned()),
    })
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<Duration, &str>) {
        let parsed = text.parse::<HumanDuration>().map(|d| d.0).map_err(|e| e.to_string());
        assert_eq!(parsed, expected.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn what_people_write() {
        check("250ms", Ok(Duration::from_millis(250)));
        check("10s", Ok(Duration::from_secs(10)));
        check("5m", Ok(Duration::from_mins(5)));
        check("24h", Ok(Duration::from_hours(24)));
        check("1m30s", Ok(Duration::from_secs(90)));
        check("1h1ms1ns", Ok(Duration::new(3600, 1_000_001)));
        check("90s", Ok(Duration::from_secs(90)));
        check("0s", Ok(Duration::ZERO));
        check("007s", Ok(Duration::from_secs(7)));
    }

    #[test]
    fn what_is_refused() {
        check("", Err("a number is missing"));
        check("s", Err("a number is missing"));
        check("-1s", Err("a number is missing"));
        check("10", Err("`10` has no unit: h, m, s, ms, us or ns"));
        check("1m30", Err("`30` has no unit: h, m, s, ms, us or ns"));
        check("10 s", Err("` s` is no unit: h, m, s, ms, us or ns"));
        check("1.5s", Err("`.` is no unit: h, m, s, ms, us or ns"));
        check("1d", Err("`d` is no unit: h, m, s, ms, us or ns"));
        check("1s1m", Err("`m` is out of order: larger units come first, each once"));
        check("1s1s", Err("`s` is out of order: larger units come first, each once"));
    }

    #[test]
    fn the_edge_of_what_fits() {
        check("18446744073709551615s999999999ns", Ok(Duration::MAX));
        check("18446744073709551616s", Err("it is too long"));
        check("18446744073709551615s1000ms", Err("it is too long"));
        check("18446744073709551615h", Err("it is too long"));
        check(&format!("{}s", "9".repeat(1000)), Err("it is too long"));
    }

    proptest! {
        #[test]
        fn shown_and_read_again(seconds: u64, nanos in 0..1_000_000_000u32) {
            let duration = HumanDuration(Duration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9hmsu.é -]{0,40}|.*") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
