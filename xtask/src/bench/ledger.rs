//! The ledger: what a birth and a death cost, and a snapshot.
//!
//! The measuring is criterion's, in `bench/benches/ledger.rs`. Left to itself, criterion measures
//! one point after the other, each at length; here each measurement is a short run of its own, so
//! that rounds can interleave them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use super::Args;
use super::record::{Metric, Record, Sample};
use crate::cargo;

const TIME: Metric = Metric { name: "time", unit: "ns" };

/// Short runs: many rounds say more on a noisy machine than a long run does.
const SHORT: &[&str] =
    &["--noplot", "--warm-up-time=0.3", "--measurement-time=1", "--sample-size=20"];

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = cargo::build_bench("staunch-bench", "ledger")?;
    let points = args.select(&list(&program)?, |point| &point.subject)?;
    for round in 1..=args.rounds {
        for point in in_turn(&points, round) {
            let sample = Sample { case: &point.case, subject: &point.subject, round };
            record.announce(sample, args.rounds);
            record.add(sample, TIME, measure(&program, point, folder.path())?);
        }
    }
    Ok(())
}

/// A criterion benchmark: its group is the case, its function the subject.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    case: String,
    subject: String,
}

/// Every second round goes backwards, so that no subject of a case is always the first.
fn in_turn(points: &[Point], round: u32) -> Vec<&Point> {
    let mut points: Vec<&Point> = points.iter().collect();
    if round.is_multiple_of(2) {
        points.reverse();
    }
    points
}

fn list(program: &Path) -> anyhow::Result<Vec<Point>> {
    let output = Command::new(program).args(["--bench", "--list"]).output()?;
    let points = parse_list(&String::from_utf8_lossy(&output.stdout));
    if points.is_empty() {
        bail!("{} lists no benchmarks", program.display());
    }
    Ok(points)
}

/// Lines of the form `CASE/SUBJECT: benchmark`.
fn parse_list(list: &str) -> Vec<Point> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": benchmark"));
    names
        .filter_map(|name| name.split_once('/'))
        .map(|(case, subject)| Point { case: case.to_owned(), subject: subject.to_owned() })
        .collect()
}

/// Runs one point and reads the median that criterion estimates, in nanoseconds.
fn measure(program: &Path, point: &Point, home: &Path) -> anyhow::Result<f64> {
    let Point { case, subject } = point;
    let mut command = Command::new(program);
    command.args(["--bench", "--exact", &format!("{case}/{subject}")]).args(SHORT);
    let output = command.env("CRITERION_HOME", home).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{case}/{subject} failed: {}; it said:\n{said}", output.status);
    }
    let file = home.join(case).join(subject).join("new/estimates.json");
    let estimates = fs::read_to_string(&file)
        .with_context(|| format!("criterion left no {}", file.display()))?;
    median(&estimates).with_context(|| format!("no median in {}", file.display()))
}

fn median(estimates: &str) -> Option<f64> {
    let estimates: Value = serde_json::from_str(estimates).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(case: &str, subject: &str) -> Point {
        Point { case: case.to_owned(), subject: subject.to_owned() }
    }

    #[test]
    fn points_are_read_from_the_list() {
        let list = "pair/staunch: benchmark\npair/sharded-slab: benchmark\n\n2 benchmarks\n";
        assert_eq!(parse_list(list), [point("pair", "staunch"), point("pair", "sharded-slab")]);
    }

    #[test]
    fn every_second_round_goes_backwards() {
        let points = [point("pair", "one"), point("pair", "other")];
        assert_eq!(in_turn(&points, 1), [&points[0], &points[1]]);
        assert_eq!(in_turn(&points, 2), [&points[1], &points[0]]);
    }

    #[test]
    fn the_median_is_read_from_the_estimates() {
        let estimates = r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":27.5}}"#;
        assert_eq!(median(estimates), Some(27.5));
        assert_eq!(median("{}"), None);
        assert_eq!(median("not JSON"), None);
    }
}
