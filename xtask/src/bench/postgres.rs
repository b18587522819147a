//! Pools of PostgreSQL connections: what `SELECT 1` costs, lease and all.
//!
//! One server for all, a child of this process. Each measurement is a process of its own,
//! `postgres_load`, so that rounds can interleave the subjects. All ask with a prepared statement, by
//! the same tokio-postgres, on 10 connections; what differs is the pool.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;
use staunch_harness::PostgresServer;

use super::record::{Metric, Record, Sample};
use super::{Args, rotated};
use crate::cargo;

const RATE: Metric = Metric { name: "rate", unit: "req/s" };
const CPU: Metric = Metric { name: "cpu", unit: "us/req" };
const P99: Metric = Metric { name: "p99", unit: "us" };

const TASKS: [u32; 2] = [8, 64];

/// Enough that a run takes a second or two.
const REQUESTS: u32 = 40_000;

/// All subjects. The first is the one whose ratios to the others are shown.
const SUBJECTS: &[&str] = &["staunch", "deadpool", "bb8"];

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let subjects = args.select(SUBJECTS, |subject| subject)?;
    let load = cargo::build_bin("postgres_load")?;
    let server = PostgresServer::start(&["max_connections=50"])?;
    for round in 1..=args.rounds {
        for tasks in TASKS {
            let case = format!("SELECT 1, {tasks} tasks on 10 connections");
            for subject in rotated(&subjects, round - 1) {
                let sample = Sample { case: &case, subject, round };
                record.announce(sample, args.rounds);
                for (metric, value) in measure(&load, subject, tasks, &server)? {
                    record.add(sample, metric, value);
                }
            }
        }
    }
    Ok(())
}

fn measure(
    load: &Path,
    subject: &str,
    tasks: u32,
    server: &PostgresServer,
) -> anyhow::Result<[(Metric, f64); 3]> {
    let mut command = Command::new(load);
    command.args([subject, "--config", &server.config()]);
    command.args(["--tasks", &tasks.to_string(), "--requests", &REQUESTS.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the load")?;
    if !output.status.success() {
        bail!("{subject} failed: {}", output.status);
    }
    figures(&serde_json::from_slice(&output.stdout).context("it printed no JSON")?)
}

fn figures(summary: &Value) -> anyhow::Result<[(Metric, f64); 3]> {
    let number = |field: &str| {
        summary[field].as_f64().with_context(|| format!("no number `{field}` in {summary}"))
    };
    Ok([(RATE, number("per_second")?), (CPU, number("cpu_us")?), (P99, number("p99_us")?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_name() {
        let summary = serde_json::json!({ "per_second": 9e3, "cpu_us": 12.5, "p99_us": 900 });
        assert_eq!(figures(&summary).unwrap(), [(RATE, 9e3), (CPU, 12.5), (P99, 900.0)]);
        let error = figures(&serde_json::json!({ "cpu_us": 12.5 })).unwrap_err();
        assert!(error.to_string().contains("`per_second`"), "{error}");
    }
}
