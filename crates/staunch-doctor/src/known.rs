//! What is known and not to be reported: findings that a baseline has, and those that are ignored
//! for a reason and for a time.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use staunch_diagnosis::Finding;
use toml::value::Datetime;

/// Every rule: each has a page in `docs/guide/findings/`.
const RULES: [&str; 38] = [
    "allocation-rate",
    "body-not-closed",
    "body-not-read",
    "cache-without-expiry",
    "cancel-not-called",
    "chan-receive",
    "chan-send",
    "close-wait",
    "cond",
    "connection-not-closed",
    "deadline-not-set",
    "deadlock",
    "descriptor-not-closed",
    "endless",
    "entries-growth",
    "fd-growth",
    "handler-blocked",
    "heap-growth",
    "held-still",
    "lease-not-returned",
    "lock",
    "nil-chan",
    "obligation-broken",
    "orphan",
    "pool-exhausted",
    "rows-not-closed",
    "select",
    "select-no-cases",
    "semaphore",
    "server-without-timeouts",
    "statement-not-closed",
    "thread-blocked",
    "thread-growth",
    "timer-not-stopped",
    "transaction-not-ended",
    "transport-per-request",
    "unbounded-workers",
    "wait-group",
];

/// Findings that are not reported.
#[derive(Clone, Debug, Default)]
pub struct Known {
    baseline: HashSet<String>,
    ignored: Vec<Ignored>,
}

/// Why what is known could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnownError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no report.
    #[error("{} is no report of `staunch doctor --format json`", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It is no list of what to ignore.
    #[error("{}: {message}", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
}

#[derive(Deserialize)]
struct Baseline {
    findings: Vec<BaselineFinding>,
}

#[derive(Deserialize)]
struct BaselineFinding {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IgnoreFile {
    #[serde(default)]
    ignore: Vec<Ignored>,
}

/// A table `[[ignore]]`: what matches all that it says is left out until its date.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ignored {
    id: Option<String>,
    rule: Option<String>,
    /// The function that made what leaks, or waits in it.
    function: Option<String>,
    reason: String,
    until: Option<Datetime>,
}

impl Known {
    /// Takes over the findings of an earlier report.
    ///
    /// # Errors
    /// [`KnownError::Read`], [`KnownError::Baseline`]
    pub fn baseline(mut self, path: &Path) -> Result<Known, KnownError> {
        let wrong = |source| KnownError::Baseline { path: path.to_owned(), source };
        let read: Baseline = serde_json::from_str(&text(path)?).map_err(wrong)?;
        self.baseline.extend(read.findings.into_iter().map(|finding| finding.id));
        Ok(self)
    }

    /// Takes over what a file says to ignore:
    ///
    /// ```toml
    /// [[ignore]]
    /// rule = "chan-receive" # or id = "...", or function = "main.poll"; all that is said must match
    /// reason = "the queue's workers live as long as the service"
    /// until = 2027-01-31              # optional: reported again from the day after
    /// ```
    ///
    /// # Errors
    /// [`KnownError::Read`], [`KnownError::Ignore`]
    pub fn ignore(mut self, path: &Path) -> Result<Known, KnownError> {
        let wrong = |message: String| KnownError::Ignore { path: path.to_owned(), message };
        let read: IgnoreFile = toml::from_str(&text(path)?).map_err(|it| wrong(it.to_string()))?;
        for (number, one) in (1..).zip(&read.ignore) {
            if one.id.is_none() && one.rule.is_none() && one.function.is_none() {
                let what = "says neither `id`, `rule` nor `function`: it would ignore everything";
                return Err(wrong(format!("the {number}. [[ignore]] {what}")));
            }
            if let Some(rule) = one.rule.as_ref().filter(|it| !RULES.contains(&it.as_str())) {
                let rules = RULES.join(", ");
                let what = format!("there is no rule `{rule}`; there are {rules}");
                return Err(wrong(format!("the {number}. [[ignore]]: {what}")));
            }
            if one.reason.trim().is_empty() {
                return Err(wrong(format!("the {number}. [[ignore]] gives no reason")));
            }
            if one.until.is_some_and(|until| until.date.is_none()) {
                return Err(wrong(format!("the {number}. [[ignore]]: `until` is no date")));
            }
        }
        self.ignored.extend(read.ignore);
        Ok(self)
    }

    /// Why a finding is not reported.
    pub(crate) fn reason(&self, finding: &Finding, today: Day) -> Option<&str> {
        if self.baseline.contains(&finding.id) {
            return Some("it is in the baseline");
        }
        let ignored = self.ignored.iter().find(|it| it.is_valid(today) && it.matches(finding));
        ignored.map(|it| it.reason.as_str())
    }
}

impl Ignored {
    fn is_valid(&self, today: Day) -> bool {
        let until = self.until.and_then(|until| until.date);
        until.is_none_or(|date| today <= Day(date.year.into(), date.month.into(), date.day.into()))
    }

    fn matches(&self, finding: &Finding) -> bool {
        let functions = [
            finding.birth.as_ref().map(|birth| &birth.function),
            finding.wait.as_ref().map(|wait| &wait.function),
        ];
        self.id.as_ref().is_none_or(|id| *id == finding.id)
            && self.rule.as_ref().is_none_or(|rule| rule == finding.rule)
            && self.function.as_ref().is_none_or(|it| functions.contains(&Some(it)))
    }
}

fn text(path: &Path) -> Result<String, KnownError> {
    let unreadable = |source| KnownError::Read { path: path.to_owned(), source };
    fs::read_to_string(path).map_err(unreadable)
}

/// A day of the calendar, in UTC: year, month, day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(i64, i64, i64);

impl Day {
    pub(crate) fn today() -> Day {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Day::after_epoch(i64::try_from(since.as_secs() / 86_400).unwrap_or(0))
    }

    /// The date so many days after 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms": years begin in March, eras of 400 years are alike).
    fn after_epoch(days: i64) -> Day {
        let days = days + 719_468; // from 0000-03-01
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        Day(year, month, day)
    }
}

#[cfg(test)]
mod tests {
    use staunch_diagnosis::{Confidence, Kind, Place, Severity};

    use super::*;

    fn finding() -> Finding {
        let place =
            Place { function: "main.f".into(), file: "main.go".into(), line: 3, code: None };
        Finding {
            id: "0123".into(),
            rule: "chan-receive",
            kind: Kind::Goroutine,
            severity: Severity::Leak,
            confidence: Confidence::new(1.0),
            summary: String::new(),
            count: vec![1],
            oldest: None,
            birth: Some(place),
            wait: None,
            cause: None,
            fix: None,
            forecast: None,
            evidence: Vec::new(),
            guide: String::new(),
        }
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn reason(ignore: &str, today: Day) -> Option<String> {
        let known = Known::default().ignore(written(ignore).path()).unwrap();
        known.reason(&finding(), today).map(str::to_owned)
    }

    #[test]
    fn what_matches_is_ignored_until_its_day() {
        let rule = "[[ignore]]\nrule = 'chan-receive'\nreason = 'why'\nuntil = 2026-12-31\n";
        assert_eq!(reason(rule, Day(2026, 12, 31)).as_deref(), Some("why"));
        assert_eq!(reason(rule, Day(2027, 1, 1)), None);
        let all = "[[ignore]]\nrule = 'chan-receive'\nfunction = 'main.g'\nreason = 'why'\n";
        assert_eq!(reason(all, Day(2026, 1, 1)), None);
        let function = "[[ignore]]\nfunction = 'main.f'\nreason = 'why'\n";
        assert_eq!(reason(function, Day(2026, 1, 1)).as_deref(), Some("why"));
    }

    #[test]
    fn a_baseline_knows_ids() {
        let file = written(r#"{"targets":[],"findings":[{"id":"0123","rule":"x"}]}"#);
        let known = Known::default().baseline(file.path()).unwrap();
        assert!(known.reason(&finding(), Day(2026, 1, 1)).is_some());
        let other = written(r#"{"findings":[{"id":"4567"}]}"#);
        let known = Known::default().baseline(other.path()).unwrap();
        assert!(known.reason(&finding(), Day(2026, 1, 1)).is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused =
            |text: &str| Known::default().ignore(written(text).path()).unwrap_err().to_string();
        assert!(refused("[[ignore]]\nreason = 'all'\n").contains("everything"));
        assert!(refused("[[ignore]]\nid = 'x'\nreason = ' '\n").contains("no reason"));
        assert!(refused("[[ignore]]\nid = 'x'\n").contains("reason"));
        assert!(refused("[[ignore]]\nid = 'x'\nreason = 'y'\nuntil = 10:00:00\n").contains("date"));
        let unknown = "[[ignore]]\nrule = 'chan-recieve'\nreason = 'y'\n";
        assert!(refused(unknown).contains("the 1. [[ignore]]: there is no rule `chan-recieve`"));
        assert!(refused("[[ignored]]\nid = 'x'\n").contains("ignored"));
        let error = Known::default().baseline(written("[]").path()).unwrap_err().to_string();
        assert!(error.contains("no report"), "{error}");
    }

    #[test]
    fn every_page_of_a_finding_is_of_a_rule() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/findings");
        let pages = fs::read_dir(pages).unwrap().map(|page| page.unwrap().path());
        let mut rules: Vec<String> =
            pages.map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        rules.sort();
        assert_eq!(rules, RULES);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(Day::after_epoch(0), Day(1970, 1, 1));
        assert_eq!(Day::after_epoch(11_016), Day(2000, 2, 29));
        assert_eq!(Day::after_epoch(20_453), Day(2025, 12, 31));
    }
}
