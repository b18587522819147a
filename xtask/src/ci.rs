//! `cargo xtask ci`: what a change must pass.
//!
//! Every step runs, whatever became of the ones before it, so one run shows all that is wrong.
//! A summary at the end has one line for each.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::cargo::{self, cargo};
use crate::{programs, test};

pub(crate) fn run() -> anyhow::Result<()> {
    let reports: Vec<Report> = STEPS.iter().map(Step::run).collect();
    for report in &reports {
        println!("{}", report.line());
    }
    let failed = reports.iter().filter(|report| report.result.is_err()).count();
    if failed > 0 {
        bail!("{failed} of {} steps failed", reports.len());
    }
    Ok(())
}

struct Step {
    name: &'static str,
    check: fn() -> anyhow::Result<Outcome>,
}

enum Outcome {
    Passed,
    Skipped(&'static str),
}

const STEPS: &[Step] = &[
    Step { name: "fmt", check: fmt },
    Step { name: "clippy", check: clippy },
    Step { name: "doc", check: doc },
    Step { name: "deny", check: deny },
    Step { name: "test", check: tests },
];

impl Step {
    fn run(&self) -> Report {
        let start = Instant::now();
        let result = (self.check)();
        Report { step: self.name, result, time: start.elapsed() }
    }
}

struct Report {
    step: &'static str,
    result: anyhow::Result<Outcome>,
    time: Duration,
}

impl Report {
    fn line(&self) -> String {
        let (verdict, detail) = match &self.result {
            Ok(Outcome::Passed) => ("passed", String::new()),
            Ok(Outcome::Skipped(reason)) => ("skipped", (*reason).to_owned()),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        let line =
            format!("{:<7}{verdict:<8}{:>7.1} s  {detail}", self.step, self.time.as_secs_f64());
        line.trim_end().to_owned()
    }
}

fn fmt() -> anyhow::Result<Outcome> {
    cargo::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

/// Denied warnings include `missing_docs`, which the workspace only warns about.
fn clippy() -> anyhow::Result<Outcome> {
    cargo::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

fn doc() -> anyhow::Result<Outcome> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    cargo::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

fn deny() -> anyhow::Result<Outcome> {
    if !programs::is_installed("cargo-deny") {
        return Ok(Outcome::Skipped("not installed: `cargo install --locked cargo-deny`"));
    }
    cargo::run(&mut cargo(&["deny", "--offline", "check"]))?;
    Ok(Outcome::Passed)
}

fn tests() -> anyhow::Result<Outcome> {
    test::run_all()?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: anyhow::Result<Outcome>, expected: &str) {
        let report = Report { step: "deny", result, time: Duration::from_millis(1250) };
        assert_eq!(report.line(), expected);
    }

    #[test]
    fn a_line_says_what_became_of_a_step() {
        check(Ok(Outcome::Passed), "deny   passed      1.2 s");
        check(Ok(Outcome::Skipped("not there")), "deny   skipped     1.2 s  not there");
        check(Err(anyhow::anyhow!("exit 1")), "deny   FAILED      1.2 s  exit 1");
    }
}
