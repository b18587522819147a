//! What the demo says.

use std::{fmt::Write, time::Duration};

use staunch_diagnosis::Finding;
use staunch_fixtures::Trap;

pub(super) const REPAIRED: &str =
    "\nNow everything is repaired, in a new service under the same load ...\n";

pub(super) fn opening(leaks: usize, admin: &str) -> String {
    format!(
        "A small service runs on {admin}, forty requests a second for each mistake.\n\
         {leaks} mistakes are switched on, one after the other; `staunch doctor` does not know which.\n"
    )
}

pub(super) fn switched_on(number: usize, all: usize, trap: &Trap) -> String {
    format!(
        "\n[{number}/{all}] {} (article, {})\n  on     {}\n",
        trap.name, trap.section, trap.about
    )
}

/// The finding, with the line itself.
pub(super) fn named(trap: &Trap, finding: &Finding, took: Duration) -> String {
    let mut text = format!("  found  {}, after {:.1} s\n", finding.summary, took.as_secs_f64());
    // Writing to a string cannot fail.
    if let Some(birth) = &finding.birth {
        let _ = writeln!(text, "  line   {}:{}", birth.file, birth.line);
        if let Some(line) = trap.line(birth.line) {
            let _ = writeln!(text, "           {line}");
        }
    }
    if let Some(cause) = &finding.cause {
        let _ = writeln!(text, "  why    {}", cause.text);
    }
    if let Some(fix) = &finding.fix {
        let _ = writeln!(text, "  fix    {}", fix.text);
    }
    text
}

pub(super) fn missed(took: Duration) -> String {
    format!("  NOT FOUND in {:.1} s\n", took.as_secs_f64())
}

pub(super) fn ending(named: usize, all: usize, left: &[Finding], took: Duration) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for finding in left {
        let _ = writeln!(text, "  found  {}", finding.summary);
    }
    if left.is_empty() {
        text.push_str("  found  nothing\n");
    }
    let seconds = took.as_secs();
    let _ = writeln!(
        text,
        "\n{named} of {all} mistakes named in {seconds} s; {} found after the repair.\n\
         Your own service: staunch doctor http://HOST:PORT, or staunch doctor --pid PID",
        if left.is_empty() { "nothing" } else { "something" },
    );
    text
}
