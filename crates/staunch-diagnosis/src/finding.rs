//! What is wrong: where, why, since when, how sure, and what to change.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Frame;

/// One leak or defect. Serialises to the document that `staunch doctor --format json` prints;
/// parts that are not known are `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The same for the same defect in every run: made of rule, functions and lines, never of
    /// counts, addresses or time.
    pub id: String,
    /// The rule that found it, by the name of its page: `chan-send-abandoned`.
    pub rule: &'static str,
    /// What leaks.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the rule is. Its reasons are among the evidence.
    pub confidence: Confidence,
    /// One sentence: what, how many, where.
    pub summary: String,
    /// How many there were, instant by instant.
    pub count: Vec<u64>,
    /// For how long the oldest has been there, at least.
    #[serde(rename = "oldest_seconds", serialize_with = "seconds")]
    pub oldest: Option<Duration>,
    /// The line that made what leaks.
    pub birth: Option<Place>,
    /// The line on which it waits.
    pub wait: Option<Wait>,
    /// Why, in one sentence.
    pub cause: Option<Cause>,
    /// What to change.
    pub fix: Option<Fix>,
    /// What will happen, and when.
    pub forecast: Option<String>,
    /// What was seen that speaks for it, a line each.
    pub evidence: Vec<String>,
    /// The page that explains the rule.
    pub guide: String,
}

/// What leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A goroutine.
    Goroutine,
    /// A thread.
    Thread,
    /// An async task.
    Task,
    /// A socket or connection.
    Socket,
    /// A descriptor.
    Fd,
    /// Memory.
    Memory,
    /// A place in a pool.
    Pool,
    /// A timer or ticker.
    Timer,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// It may become a leak.
    Warning,
    /// Something is lost and does not come back.
    Leak,
    /// It grows, or stops the service.
    Critical,
}

/// How sure a rule is: 0 is a guess, 1 is a proof.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Confidence(f64);

/// A line of the target's source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// The function with its package.
    pub function: String,
    /// The file, as the target names it.
    pub file: String,
    /// The line.
    pub line: u32,
    /// What stands there, where the source is at hand.
    pub code: Option<String>,
}

/// Where and for what something waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Wait {
    /// The function, with its package, that is not of a standard library.
    pub function: String,
    /// The file, as the target names it.
    pub file: String,
    /// The line.
    pub line: u32,
    /// For what, as the runtime says it.
    pub state: String,
    /// What stands there, where the source is at hand.
    pub code: Option<String>,
}

/// Why it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The kind of cause, in the terms of the literature: `AB-BA deadlock`, `Channel`.
    pub label: String,
    /// One sentence.
    pub text: String,
    /// The file with the line that causes it, where it is known.
    pub file: Option<String>,
    /// That line.
    pub line: Option<u32>,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What to change, and on which line.
    pub text: String,
    /// A unified diff, where the source was at hand.
    pub patch: Option<String>,
    /// The lines that the text names.
    #[serde(skip)]
    pub places: Vec<Place>,
}

impl Confidence {
    /// `value`, within 0 and 1.
    #[must_use]
    pub fn new(value: f64) -> Confidence {
        Confidence((value.clamp(0.0, 1.0) * 100.0).round() / 100.0)
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Finding {
    /// An id for what `rule` found: equal parts give equal ids, in every run and every build.
    #[must_use]
    pub fn id<'a>(rule: &'a str, parts: impl IntoIterator<Item = &'a str>) -> String {
        let mut hash = FNV_OFFSET;
        for part in std::iter::once(rule).chain(parts) {
            for byte in part.bytes().chain(std::iter::once(0)) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
            }
        }
        format!("{hash:016x}")
    }

    /// The address of the page in the guide that explains `rule`.
    #[must_use]
    pub fn guide(rule: &str) -> String {
        format!("{REPOSITORY}/blob/main/docs/guide/findings/{rule}.md")
    }
}

impl From<&Frame> for Place {
    fn from(frame: &Frame) -> Place {
        Place {
            function: frame.function.to_string(),
            file: frame.file.to_string(),
            line: frame.line,
            code: None,
        }
    }
}

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// FNV-1a, 64 bits: small, and the same for ever, which the standard library does not promise of
/// its hashers.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn seconds<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parts_are_null_and_no_field_is_missing() {
        let finding = Finding {
            id: Finding::id("some-rule", ["main.f", "a.go:1"]),
            rule: "some-rule",
            kind: Kind::Goroutine,
            severity: Severity::Leak,
            confidence: Confidence::new(0.876),
            summary: "one".to_owned(),
            count: vec![1, 2],
            oldest: Some(Duration::from_millis(61_500)),
            birth: None,
            wait: None,
            cause: None,
            fix: Some(Fix { text: "close".to_owned(), patch: None, places: Vec::new() }),
            forecast: None,
            evidence: vec!["seen".to_owned()],
            guide: Finding::guide("some-rule"),
        };
        let json = serde_json::to_string(&finding).unwrap();
        let expected = concat!(
            r#"{"id":"bfc93fe723927af3","rule":"some-rule","kind":"goroutine","severity":"leak","#,
            r#""confidence":0.88,"summary":"one","count":[1,2],"oldest_seconds":61,"birth":null,"#,
            r#""wait":null,"cause":null,"fix":{"text":"close","patch":null},"forecast":null,"#,
            r#""evidence":["seen"],"guide":"https://github.com/staunch-rs/staunch/blob/main/docs/"#,
            r#"guide/findings/some-rule.md"}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn ids_keep_parts_apart() {
        assert_ne!(Finding::id("r", ["ab", "c"]), Finding::id("r", ["a", "bc"]));
        assert_eq!(Finding::id("r", ["ab"]), Finding::id("r", ["ab"]));
    }
}
