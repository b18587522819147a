//! Leaks that are put into what each look sees, to prove that the rules are awake.
//!
//! The ledger hides canaries of its own, which prove that it knows who is overdue; these prove the
//! way from there to a finding. There is one for each rule about ledgers, and they go through mapping,
//! history and rules together with everything else. Nobody else is shown them.

use std::time::Duration;

use staunch_diagnosis::{EntryGroup, Finding, Frame, Held};

/// A path that no compiler ever writes.
const FILE: &str = "staunch's canary: a leak on purpose";

/// How many more there are of what grows, from look to look: more than any traffic, beside whose growth that of
/// other things is silent. Within the life of a process they can be counted.
const PACE: u64 = 1 << 33;

/// The canaries of a look, of which there were so many before.
pub(crate) fn groups(looks: u64) -> [EntryGroup; 3] {
    let canary = |line, overdue, orphans, count| EntryGroup {
        kind: "other".into(),
        birth: Frame { function: "".into(), file: FILE.into(), line },
        state: None,
        obligation: "ends with its parent".into(),
        count,
        overdue,
        oldest_overdue: Duration::MAX,
        orphans,
        bytes: 0,
        oldest: Duration::from_secs(1),
    };
    [canary(1, 1, 0, 1), canary(2, 1, 1, 1), canary(3, 0, 0, looks.saturating_mul(PACE))]
}

/// The canary that is held for a route; likewise.
pub(crate) fn held(looks: u64) -> Held {
    let still = looks.saturating_mul(PACE);
    Held {
        route: "canary".into(),
        kind: "other".into(),
        birth: Frame { function: "".into(), file: FILE.into(), line: 4 },
        count: still,
        still,
        text: String::new(),
    }
}

/// Takes the canaries out of what was found; whether all were there. What grows can be seen after
/// some looks only.
pub(crate) fn take(findings: &mut Vec<Finding>, sees_growth: bool) -> bool {
    let found: Vec<Finding> = findings.extract_if(.., |finding| is_canary(finding)).collect();
    let expected: &[&str] = if sees_growth {
        &["entries-growth", "held-still", "obligation-broken", "orphan"]
    } else {
        &["obligation-broken", "orphan"]
    };
    let mut rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules == expected
}

fn is_canary(finding: &Finding) -> bool {
    finding.birth.as_ref().is_some_and(|birth| birth.file == FILE)
}
