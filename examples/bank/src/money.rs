//! Exact amounts of money.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The one currency of this bank.
pub const CURRENCY: &str = "EUR";

/// An amount in cents: exact, never a float. Its text is `1000.00`.
///
/// # Examples
/// ```
/// use bank::Money;
/// let money: Money = "1000.5".parse()?;
/// assert_eq!(money.to_string(), "1000.50");
/// assert_eq!(money.checked_sub("1000.51".parse()?).unwrap().to_string(), "-0.01");
/// # Ok::<_, bank::ParseMoneyError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

const CENTS: u64 = 100;

/// What is written is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseMoneyError {
    /// It does not look like one.
    #[error("an amount is written as digits and at most two decimals: 1000.00")]
    Form,
    /// There is not so much money.
    #[error("the amount is out of range: at most {}", Money::MAX)]
    Range,
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);
    /// The largest amount.
    pub const MAX: Money = Money(i64::MAX);

    /// So many cents.
    pub const fn from_cents(cents: i64) -> Money {
        Money(cents)
    }

    /// How many cents it is.
    pub const fn cents(self) -> i64 {
        self.0
    }

    /// The sum; `None` when it is out of range.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }

    /// The difference; `None` when it is out of range.
    pub fn checked_sub(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).map(Money)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", cents / CENTS, cents % CENTS)
    }
}

impl FromStr for Money {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Money, ParseMoneyError> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = match digits.split_once('.') {
            Some((_, "")) => return Err(ParseMoneyError::Form),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let cents = cents(whole, decimals)?;
        let cents =
            if is_negative { 0_i64.checked_sub_unsigned(cents) } else { cents.try_into().ok() };
        cents.map(Money).ok_or(ParseMoneyError::Range)
    }
}

fn cents(whole: &str, decimals: &str) -> Result<u64, ParseMoneyError> {
    if whole.is_empty() || decimals.len() > 2 {
        return Err(ParseMoneyError::Form);
    }
    let mut cents = 0_u64;
    for byte in
        whole.bytes().chain(decimals.bytes()).chain(b"00".iter().copied().skip(decimals.len()))
    {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        let digit = digit.ok_or(ParseMoneyError::Form)?;
        let more = cents.checked_mul(10).and_then(|cents| cents.checked_add(digit));
        cents = more.ok_or(ParseMoneyError::Range)?;
    }
    Ok(cents)
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// From text only: a JSON number is a float for most who read it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
