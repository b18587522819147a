//! The query of a request: named parameters, each known and given once (URL Standard,
//! `application/x-www-form-urlencoded`).

use std::{ops::RangeInclusive, time::Duration};

/// The parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// A query that is not understood; says what would be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("There is no parameter `{name}` here. {}", known(allowed))]
    Unknown { name: String, allowed: &'static [&'static str] },
    #[error("The parameter `{name}` is given twice.")]
    Twice { name: String },
    #[error("`{text}` is not percent-encoded UTF-8.")]
    Encoding { text: String },
    #[error("`{name}={value}`: it must be {expected}.")]
    Value { name: &'static str, value: String, expected: String },
    #[error("The parameter `{name}` is missing: {expected}.")]
    Missing { name: &'static str, expected: &'static str },
}

fn known(allowed: &[&str]) -> String {
    match allowed {
        [] => "It takes none.".to_owned(),
        names => format!("There is: {}.", names.join(", ")),
    }
}

impl Query {
    /// Reads what follows the `?` of a request's target.
    pub(crate) fn parse(
        text: Option<&str>,
        allowed: &'static [&'static str],
    ) -> Result<Query, QueryError> {
        let mut query = Query::default();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !allowed.contains(&name.as_str()) {
                return Err(QueryError::Unknown { name, allowed });
            }
            if query.find(&name).is_some() {
                return Err(QueryError::Twice { name });
            }
            query.pairs.push((name, value));
        }
        Ok(query)
    }

    /// The value of a parameter, if it was given.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A value that `parse` understands.
    pub(crate) fn value<T>(
        &self,
        name: &'static str,
        expected: impl FnOnce() -> String,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let wrong = || QueryError::Value { name, value: value.to_owned(), expected: expected() };
        parse(value).map(Some).ok_or_else(wrong)
    }

    /// A whole number within `range`.
    pub(crate) fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, QueryError> {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        self.value(name, expected, |value| value.parse().ok().filter(|n| range.contains(n)))
    }

    /// `1` or `0`.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, QueryError> {
        self.value(
            name,
            || "1 or 0".to_owned(),
            |value| match value {
                "1" => Some(true),
                "0" => Some(false),
                _ => None,
            },
        )
    }

    /// A time such as `10s`.
    pub(crate) fn duration(&self, name: &'static str) -> Result<Option<Duration>, QueryError> {
        self.value(name, || "a time such as 500ms, 10s, 5m or 2h".to_owned(), parse_duration)
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

fn decode(text: &str) -> Result<String, QueryError> {
    let wrong = || QueryError::Encoding { text: text.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(hex));
                let [Some(high), Some(low)] = digits else { return Err(wrong()) };
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["kind", "state"];

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("kind=a%2Fb&&state=read+rest"), ALLOWED).unwrap();
        assert_eq!(query.find("kind"), Some("a/b"));
        assert_eq!(query.find("state"), Some("read rest"));
        assert_eq!(Query::parse(None, ALLOWED).unwrap().find("kind"), None);
    }

    #[test]
    fn mistakes_are_named_with_the_remedy() {
        let check = |text, expected: &str| {
            assert_eq!(Query::parse(Some(text), ALLOWED).unwrap_err().to_string(), expected);
        };
        check("kimd=1", "There is no parameter `kimd` here. There is: kind, state.");
        check("kind=1&kind=2", "The parameter `kind` is given twice.");
        check("kind=%F", "`%F` is not percent-encoded UTF-8.");
        check("kind=%FF", "`%FF` is not percent-encoded UTF-8.");
        let none = Query::parse(Some("x"), &[]).unwrap_err();
        assert_eq!(none.to_string(), "There is no parameter `x` here. It takes none.");
    }

    #[test]
    fn values_have_their_form() {
        let query = |value| Query::parse(Some(value), &["v"]).unwrap();
        assert_eq!(query("v=7").number("v", 1..=9), Ok(Some(7)));
        assert_eq!(
            query("v=70").number("v", 1..=9).unwrap_err().to_string(),
            "`v=70`: it must be a whole number from 1 to 9."
        );
        assert_eq!(query("v=0").flag("v"), Ok(Some(false)));
        assert!(query("v=yes").flag("v").is_err());
        assert_eq!(query("v=2m").duration("v"), Ok(Some(Duration::from_mins(2))));
        for wrong in ["v=", "v=10", "v=s", "v=1d", "v=-1s", "v=99999999999999999999s"] {
            assert!(query(wrong).duration("v").is_err(), "{wrong}");
        }
    }
}
