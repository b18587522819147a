//! What a query leaves behind, as far as its text says.

use tokio_postgres::{Statement, ToStatement};

/// A query: its text, or a prepared [`Statement`].
pub trait PostgresQuery: ToStatement + Sync {
    /// Its text, if it is given as such.
    fn text(&self) -> Option<&str>;
}

impl PostgresQuery for str {
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl PostgresQuery for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl PostgresQuery for Statement {
    fn text(&self) -> Option<&str> {
        None
    }
}

/// How a query begins that leaves nothing in its session.
const PLAIN: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "TABLE", "MERGE", "FETCH", "SHOW",
    "LOCK", "NOTIFY", "TRUNCATE",
];

/// Functions that change it all the same.
const FUNCTIONS: &[&str] = &[
    "set_config",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
];

/// Whether a query leaves nothing in its session. In doubt it does leave something: then a reset was
/// for nothing. A word in a literal or a comment counts as any other.
pub(super) fn is_plain(query: &str) -> bool {
    let mut words = words(body(query));
    let mut last = words.next().unwrap_or_default();
    if is(last, &["SET"]) {
        return words.next().is_some_and(|word| is(word, &["LOCAL"]));
    }
    if !is(last, PLAIN) {
        return false;
    }
    for word in words {
        let is_table = is(last, &["INTO"]) && is(word, &["TEMP", "TEMPORARY", "LOCAL", "GLOBAL"]);
        if is_table || is(word, FUNCTIONS) {
            return false;
        }
        last = word;
    }
    true
}

fn is(word: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(word))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_of_word =
        |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '$' || !it.is_ascii();
    text.split(move |it| !is_of_word(it)).filter(|word| !word.is_empty())
}

/// What comes after the comments and parentheses at the front.
fn body(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|it: char| it.is_whitespace() || it == '(');
        text = if let Some(comment) = text.strip_prefix("--") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if text.starts_with("/*") {
            after_comment(text)
        } else {
            return text;
        };
    }
}

/// What comes after the comment at the front, in which there may be others.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut at) = (0_u32, 0);
    let bytes = text.as_bytes();
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(query: &str, expected: bool) {
        assert_eq!(is_plain(query), expected, "{query}");
    }

    #[test]
    fn a_query_is_known_by_its_begin() {
        check("SELECT 1", true);
        check("select 1", true);
        check("  (SELECT 1) UNION (SELECT 2)", true);
        check("-- why\n /* a /* b */ c */ INSERT INTO t VALUES (1)", true);
        check("WITH t AS (SELECT 1) UPDATE u SET a = 1", true);
        check("TABLE t", true);
        check("SET LOCAL statement_timeout = 1", true);
        check("SET statement_timeout = 1", false);
        check("BEGIN", false);
        check("commit", false);
        check("CREATE TABLE t (n int)", false);
        check("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", false);
        check("SELECTED", false);
        check("-- SELECT", false);
        check("/* SELECT", false);
        check("/*/ SELECT 1", false);
        check("", false);
    }

    #[test]
    fn what_changes_the_session_is_known_by_its_name() {
        check("SELECT pg_advisory_lock(1)", false);
        check("SELECT pg_catalog.PG_TRY_ADVISORY_LOCK (1)", false);
        check("SELECT pg_advisory_xact_lock(1)", true);
        check("WITH a AS (SELECT set_config('a.b', 'c', false)) TABLE a", false);
        check("SELECT my_set_config()", true);
        check("SELECT 1 AS a INTO TEMP t", false);
        check("SELECT 1 AS a INTO\n temporary TABLE t", false);
        check("INSERT INTO temperatures VALUES (1)", true);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in r"([/*(\-\n é]|SELECT ){0,20}") {
            is_plain(&text);
        }
    }
}
