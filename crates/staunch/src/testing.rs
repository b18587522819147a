//! Tests that fail when anything is left, and say why and what to change.
//!
//! `#[staunch::test]` does this for an ordinary test function; with any other harness call
//! [`run`]`(…)`, or a [`Runner`] with [`explained_by`](Runner::explained_by)`(`[`findings`]`)`.

pub use staunch_scope::testing::{Runner, SETTLE, cancel_at_every_await};

use std::{fmt, future::Future};

use staunch_findings::{Brief, report};
use staunch_ledger::Ledger;

/// Runs `test` on a runtime of one thread; see [`Runner::run`]. What it leaves is explained by
/// [`findings`].
///
/// # Examples
/// ```
/// staunch::testing::run(async {
///     // what may leave nothing behind
/// });
/// ```
#[track_caller]
pub fn run<F>(test: F) -> F::Output
where
    F: Future,
    F::Output: fmt::Debug,
{
    Runner::current_thread().explained_by(findings).run(test)
}

/// What the doctor's rules find on `ledger`, with birth line, cause and fix; nothing when they find
/// nothing.
///
/// # Examples
/// ```
/// use staunch::{Ledger, testing::findings};
/// assert_eq!(findings(Ledger::current()), "");
/// ```
pub fn findings(ledger: Ledger) -> String {
    let (report, _) = report(ledger);
    let briefs: Vec<String> =
        report.findings.iter().map(|finding| Brief(finding).to_string()).collect();
    briefs.join("\n")
}
