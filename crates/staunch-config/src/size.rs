//! Byte sizes as people write them: `512B`, `16KiB`, `64MiB`, and decimal `10MB`.
//!
//! A whole number and its unit, no space, sign or fraction. A bare number is refused, as a
//! bare duration is.

use std::fmt;
use std::str::FromStr;

/// A number of bytes that is read and shown as people write it.
///
/// ```
/// use staunch_config::ByteSize;
///
/// let buffer: ByteSize = "16KiB".parse()?;
/// assert_eq!(buffer.0, 16_384);
/// assert_eq!(ByteSize(2_000_000).to_string(), "2MB");
/// # Ok::<(), staunch_config::ParseByteSizeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is no byte size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseByteSizeError {
    /// Nothing was written, or a unit without its number.
    #[error("a number is missing")]
    NoNumber,
    /// A number without its unit.
    #[error("`{0}` has no unit: B, KiB, MiB, GiB, TiB, or decimal KB, MB, GB, TB")]
    NoUnit(String),
    /// What follows the number is not a unit.
    #[error("`{0}` is no unit: B, KiB, MiB, GiB, TiB, or decimal KB, MB, GB, TB")]
    UnknownUnit(String),
    /// More than 64 bits can count.
    #[error("it is too large")]
    TooLarge,
}

/// Each unit with its bytes, the largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, ParseByteSizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(ParseByteSizeError::NoNumber);
        }
        if unit.is_empty() {
            return Err(ParseByteSizeError::NoUnit(number.to_owned()));
        }
        let (_, size) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| ParseByteSizeError::UnknownUnit(unit.to_owned()))?;
        let count: u64 = number.parse().map_err(|_| ParseByteSizeError::TooLarge)?;
        count.checked_mul(*size).map(Self).ok_or(ParseByteSizeError::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that leaves no remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |size: u64| self.0 >= size && self.0.is_multiple_of(size);
        match UNITS.iter().find(|(_, size)| whole(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => f.write_str("0B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<u64, &str>) {
        let parsed = text.parse::<ByteSize>().map(|s| s.0).map_err(|e| e.to_string());
        assert_eq!(parsed, expected.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn what_people_write() {
        check("0B", Ok(0));
        check("512B", Ok(512));
        check("16KiB", Ok(16 * 1024));
        check("64MiB", Ok(64 * 1024 * 1024));
        check("1GiB", Ok(1 << 30));
        check("10KB", Ok(10_000));
        check("3MB", Ok(3_000_000));
    }

    #[test]
    fn what_is_refused() {
        let units = "B, KiB, MiB, GiB, TiB, or decimal KB, MB, GB, TB";
        check("", Err("a number is missing"));
        check("KiB", Err("a number is missing"));
        check("-1B", Err("a number is missing"));
        check("16", Err(&format!("`16` has no unit: {units}")));
        check("16k", Err(&format!("`k` is no unit: {units}")));
        check("16 KiB", Err(&format!("` KiB` is no unit: {units}")));
        check("1.5MiB", Err(&format!("`.5MiB` is no unit: {units}")));
        check("18446744073709551616B", Err("it is too large"));
        check("18014398509481984KiB", Err("it is too large"));
    }

    #[test]
    fn shown_in_the_largest_whole_unit() {
        for text in ["0B", "1B", "1KB", "1KiB", "1000KiB", "1537B", "64MiB", "65507B", "2TB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again(bytes: u64, shift in 0..64u32) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "[0-9KMGiB. -]{0,30}|.*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
