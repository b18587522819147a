//! Cancellation: how long a handler works on after its client has given it up.
//!
//! Each measurement is a process of its own, `cancel_load`, in which server and clients share two
//! workers.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::record::{Metric, Record, Sample};
use super::{Args, live, rotated, subject};
use crate::cargo;
use crate::server::{Server, free_addresses};

const P50: Metric = Metric { name: "p50", unit: "us" };
const P99: Metric = Metric { name: "p99", unit: "us" };
const WORST: Metric = Metric { name: "worst", unit: "us" };

/// Clients side by side.
const TASKS: u32 = 100;

const SUBJECTS: &[&str] = &["staunch", "hyper"];

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let subjects = args.select(SUBJECTS, |subject| subject)?;
    let load = cargo::build_bin("cancel_load")?;
    for round in 1..=args.rounds {
        for version in ["http1", "http2"] {
            let case = format!("10,000 requests cancelled, {version}");
            for subject in rotated(&subjects, round - 1) {
                let sample = Sample { case: &case, subject, round };
                record.announce(sample, args.rounds);
                let output = Command::new(&load)
                    .args([subject, version])
                    .stderr(Stdio::inherit())
                    .output()
                    .context("cannot start the load")?;
                if !output.status.success() {
                    bail!("{subject} failed: {}", output.status);
                }
                for (metric, value) in figures(&serde_json::from_slice(&output.stdout)?)? {
                    record.add(sample, metric, value);
                }
            }
        }
    }
    Ok(())
}

/// Clients of proxies leave a tenth of a second after the server has begun; the figures are how
/// long it took until the server knew.
pub(super) fn run_through(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let load = cargo::build_bin("cancel_load")?;
    let [behind] = free_addresses()?;
    let recipes = subject::CANCELLING_PROXIES;
    let proxies = live::start_before(Some(behind), args, recipes, folder.path(), TASKS)?;
    for round in 1..=args.rounds {
        for version in ["http1", "http2"] {
            let case = format!("10,000 clients of a proxy leave, {version}");
            // Of the others none speaks HTTP/2 without TLS, or does not know it from HTTP/1.
            let speak = |(name, _): &&(&str, Server)| version == "http1" || *name == "staunch";
            for (subject, proxy) in rotated(&proxies, round - 1).filter(speak) {
                let sample = Sample { case: &case, subject, round };
                record.announce(sample, args.rounds);
                let output = Command::new(&load)
                    .args(["hyper", version, "--after", "100"])
                    .args(["--tasks", &TASKS.to_string()])
                    .args(["--listen", &behind.to_string()])
                    .args(["--through", &proxy.address().to_string()])
                    .stderr(Stdio::inherit())
                    .output()
                    .context("cannot start the load")?;
                if !output.status.success() {
                    bail!("behind {subject} the load failed: {}", output.status);
                }
                for (metric, value) in figures(&serde_json::from_slice(&output.stdout)?)? {
                    record.add(sample, metric, value);
                }
            }
        }
    }
    live::stop(proxies)
}

fn figures(summary: &Value) -> anyhow::Result<[(Metric, f64); 3]> {
    let number = |field: &str| {
        summary[field].as_f64().with_context(|| format!("no number `{field}` in {summary}"))
    };
    ensure!(number("left")? < 1.0, "handlers are left: {summary}");
    Ok([(P50, number("p50_us")?), (P99, number("p99_us")?), (WORST, number("worst_us")?)])
}
