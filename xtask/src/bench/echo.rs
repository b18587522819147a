//! Line echo: what a request costs the server.
//!
//! The CPU time of a round is the difference of the server's account before and after, so the load
//! generator's own share is not in it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::record::{Metric, Record};
use super::{Args, live, subject};
use crate::cargo;
use crate::server::Server;

/// Enough that the kernel's tick of 10 ms is below 1% of the CPU time read.
const REQUESTS: u32 = 400_000;
const CONNECTIONS: u32 = 64;

pub(super) const CPU: Metric = Metric { name: "cpu", unit: "s/Mreq" };
pub(super) const THROUGHPUT: Metric = Metric { name: "throughput", unit: "req/s" };
pub(super) const P50: Metric = Metric { name: "p50", unit: "us" };
pub(super) const P99: Metric = Metric { name: "p99", unit: "us" };

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let load = cargo::build_bin("echo_load")?;
    let servers = live::start(args, subject::ECHO, folder.path(), CONNECTIONS)?;
    let case = format!("{CONNECTIONS} connections");
    live::measure(args, record, &servers, &[&case], |server, _| measure(server, &load))?;
    live::stop(servers)
}

fn measure(server: &Server, load: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let before = server.cpu_time()?;
    let summary = run_load(server, load)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    Ok(vec![
        (CPU, seconds_per_million(cpu, number(&summary, "requests")?)),
        (THROUGHPUT, number(&summary, "requests_per_second")?),
        (P50, number(&summary, "p50_us")?),
        (P99, number(&summary, "p99_us")?),
    ])
}

fn run_load(server: &Server, load: &Path) -> anyhow::Result<Value> {
    let mut command = Command::new(load);
    command.arg(server.address().to_string());
    command.args(["--connections", &CONNECTIONS.to_string()]);
    command.args(["--requests", &REQUESTS.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start echo_load")?;
    if !output.status.success() {
        bail!("echo_load failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("echo_load printed no JSON")
}

fn number(summary: &Value, field: &str) -> anyhow::Result<f64> {
    summary[field].as_f64().with_context(|| format!("no number `{field}` in {summary}"))
}

pub(super) fn seconds_per_million(cpu: Duration, requests: f64) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_per_million_requests() {
        let cpu = seconds_per_million(Duration::from_millis(1480), 200_000.0);
        assert!((cpu - 7.4).abs() < 1e-9, "{cpu}");
    }

    #[test]
    fn a_missing_number_is_named() {
        let summary = serde_json::json!({ "p50_us": 7 });
        assert!((number(&summary, "p50_us").unwrap() - 7.0).abs() < f64::EPSILON);
        let error = number(&summary, "p99_us").unwrap_err().to_string();
        assert!(error.contains("`p99_us`"), "{error}");
    }
}
