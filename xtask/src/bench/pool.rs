//! Pools: what an acquire and a release cost, and how long the longest acquire took.
//!
//! Each measurement is a process of its own, `pool_load` or, for Go, `go-pool`, so that rounds can
//! interleave the subjects. While a connection is held its task yields once, so that with more
//! tasks than connections all of them wait; then each acquire is timed, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::record::{Metric, Record, Sample};
use super::{Args, rotated, subject};
use crate::cargo;

const TIME: Metric = Metric { name: "time", unit: "ns" };
const CPU: Metric = Metric { name: "cpu", unit: "ns" };
const WORST: Metric = Metric { name: "worst wait", unit: "us" };

const TASKS: [u32; 4] = [1, 2, 8, 64];

/// Enough that a run takes a tenth of a second, and starting it does not count.
const OPERATIONS: u32 = 1_000_000;
const OPERATIONS_HELD: u32 = 300_000;

/// All subjects. The first is the one whose ratios to the others are shown; the last has no pool at
/// all, so it shows what tokio's tasks and their yields cost whoever pools.
const SUBJECTS: &[&str] = &["staunch", "deadpool", "bb8", "mobc", "go", "nothing"];

/// How a subject is asked to work.
#[derive(Clone, Copy)]
struct Work {
    tasks: u32,
    is_held: bool,
}

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let subjects = args.select(SUBJECTS, |subject| subject)?;
    let load = cargo::build_bin("pool_load")?;
    let programs = subjects
        .into_iter()
        .map(|subject| Ok((subject, program(subject, &load, folder.path())?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for round in 1..=args.rounds {
        for work in works() {
            let case = work.name();
            for (subject, program) in rotated(&programs, round - 1) {
                let sample = Sample { case: &case, subject, round };
                record.announce(sample, args.rounds);
                for (metric, value) in measure(program, subject, work)? {
                    record.add(sample, metric, value);
                }
            }
        }
    }
    Ok(())
}

fn works() -> impl Iterator<Item = Work> {
    let of = |is_held| TASKS.map(|tasks| Work { tasks, is_held });
    of(false).into_iter().chain(of(true))
}

impl Work {
    fn name(self) -> String {
        let tasks = self.tasks;
        let held = if self.is_held { ", held over a yield" } else { "" };
        format!("{tasks} task{}{held}", if tasks == 1 { "" } else { "s" })
    }
}

fn program(subject: &str, load: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    match subject {
        "go" => subject::build_go(folder, "go-pool"),
        _ => Ok(load.to_owned()),
    }
}

fn measure(program: &Path, subject: &str, work: Work) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut command = Command::new(program);
    if subject != "go" {
        command.arg(subject);
    }
    let operations = if work.is_held { OPERATIONS_HELD } else { OPERATIONS };
    // With two hyphens, which Go takes as well.
    command.args(["--tasks", &work.tasks.to_string()]);
    command.args(["--operations", &operations.to_string()]);
    if work.is_held {
        command.args(["--hold", "--waits"]);
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the load")?;
    if !output.status.success() {
        bail!("{subject} failed: {}", output.status);
    }
    let summary = serde_json::from_slice(&output.stdout).context("it printed no JSON")?;
    figures(&summary, work)
}

fn figures(summary: &Value, work: Work) -> anyhow::Result<Vec<(Metric, f64)>> {
    let number = |field: &str| {
        summary[field].as_f64().with_context(|| format!("no number `{field}` in {summary}"))
    };
    let mut figures = vec![(TIME, number("ns")?), (CPU, number("cpu_ns")?)];
    if work.is_held {
        figures.push((WORST, number("worst_wait_us")?));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_tasks_is_measured_with_and_without_a_yield() {
        let names: Vec<String> = works().map(Work::name).collect();
        assert_eq!(names.len(), 8);
        assert_eq!((&*names[0], &*names[7]), ("1 task", "64 tasks, held over a yield"));
    }

    #[test]
    fn the_longest_wait_is_read_where_it_was_timed() {
        let summary = serde_json::json!({ "ns": 80.0, "cpu_ns": 81.5, "worst_wait_us": 9.0 });
        let read = |is_held| figures(&summary, Work { tasks: 1, is_held }).unwrap();
        assert_eq!(read(false), [(TIME, 80.0), (CPU, 81.5)]);
        assert_eq!(read(true).last(), Some(&(WORST, 9.0)));
        let error = figures(&serde_json::json!({}), Work { tasks: 1, is_held: false });
        assert!(error.unwrap_err().to_string().contains("`ns`"));
    }
}
