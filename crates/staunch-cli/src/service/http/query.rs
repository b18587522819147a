//! Numbers in queries.

/// A query has no such number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryError {
    name: &'static str,
    given: Option<String>,
    most: u64,
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let QueryError { name, given, most } = self;
        match given {
            Some(given) => write!(f, "`{name}` is {given:?}; it must be a number up to {most}")?,
            None => write!(f, "`{name}` is missing")?,
        }
        write!(f, ": ?{name}={}", most.min(&1000))
    }
}

/// The number called `name`, of at most `most`.
pub(super) fn number(
    query: Option<&str>,
    name: &'static str,
    most: u64,
) -> Result<u64, QueryError> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let given = pairs.find(|pair| pair.0 == name).map(|pair| pair.1);
    let number = given.and_then(|given| given.parse().ok()).filter(|number| *number <= most);
    number.ok_or_else(|| QueryError { name, given: given.map(str::to_owned), most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_there_or_it_is_said_what_is_wrong() {
        let check = |query, expected: Result<u64, &str>| {
            let number = number(query, "ms", 60_000).map_err(|error| error.to_string());
            assert_eq!(number, expected.map_err(str::to_owned), "{query:?}");
        };
        check(Some("ms=20"), Ok(20));
        check(Some("a=1&ms=60000&ms=2"), Ok(60_000));
        check(None, Err("`ms` is missing: ?ms=1000"));
        check(Some("ms"), Err("`ms` is missing: ?ms=1000"));
        let wrong = |given| format!("`ms` is {given:?}; it must be a number up to 60000: ?ms=1000");
        check(Some("ms=60001"), Err(&wrong("60001")));
        check(Some("ms=-1"), Err(&wrong("-1")));
        check(Some("ms=1s"), Err(&wrong("1s")));
    }
}
