//! A soak: requests and streams through the gateway for a long time, and whether its memory grows.
//!
//! Before it is measured the same load runs for a minute, so that what is made once is there. The
//! slope is of the resident memory, read once a second, over all of the time; it is no growth if its
//! interval of 95 % includes 0. What is left afterwards is told by the kernel (descriptors), by the
//! ledger (entries), and by the process as it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Args;
use super::gateway::{Addresses, Gateway};
use super::record::{Metric, Record, Sample};
use super::stats::Line;
use crate::{cargo, procfs};

const REQUESTS: Metric = Metric { name: "requests", unit: "" };
const STREAMS: Metric = Metric { name: "streams", unit: "" };
const FAILED: Metric = Metric { name: "failed", unit: "" };
const MEMORY: Metric = Metric { name: "rss", unit: "MB" };
const SLOPE: Metric = Metric { name: "rss_slope", unit: "KB/min" };
const LOW: Metric = Metric { name: "slope_from", unit: "KB/min" };
const HIGH: Metric = Metric { name: "slope_to", unit: "KB/min" };
const FILES: Metric = Metric { name: "more_files", unit: "" };
const ENTRIES: Metric = Metric { name: "more_entries", unit: "" };

const SECOND: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 60;

/// In twenty minutes.
const REQUESTS_MAX: u64 = 10_000_000;
const STREAMS_MAX: u64 = 1_000_000;
const MINUTES: u64 = 20;

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let program = cargo::build_bin("staunch-cli", "staunch")?;
    let load = cargo::build_bin("staunch-bench", "soak_load")?;
    let minutes = args.minutes.unwrap_or(MINUTES);
    let case = format!("{minutes} minutes");
    let sample = Sample { case: &case, subject: "staunch", round: 1 };
    record.announce(sample, 1);
    for (metric, value) in soak(&program, &load, 60 * minutes)? {
        record.add(sample, metric, value);
    }
    Ok(())
}

fn config(at: &Addresses) -> String {
    let Addresses { web, admin, behind } = at;
    format!(
        "[admin]\nlisten = \"{admin}\"\n[runtime]\nworkers = 2\n\
         [[listener]]\nname = \"web\"\nprotocol = \"http\"\nlisten = \"{web}\"\n\
         [[route]]\nname = \"all\"\nservice = \"behind\"\n\
         [[service]]\nname = \"behind\"\nendpoints = [\"{behind}\"]\n\
         pool = {{ idle_time = \"5s\" }}\n"
    )
}

fn soak(program: &Path, load: &Path, seconds: u64) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, config)?;
    said(begin(load, &gateway, WARM_UP)?)?;
    let (files, entries) = settled(&gateway, None)?;
    let mut running = begin(load, &gateway, seconds)?;
    let mut memory = Vec::new();
    while running.try_wait()?.is_none() {
        sleep(SECOND);
        memory.push(procfs::resident(gateway.server.id())? as f64 / 1e3);
    }
    let said = said(running)?;
    let (files_after, entries_after) = settled(&gateway, Some(files))?;
    let left = gateway.log.clone();
    gateway.server.stop()?;
    let log = std::fs::read_to_string(&left)?;
    ensure!(log.contains("; 0 left"), "something is left: {log}");
    let number =
        |field: &str| said[field].as_f64().with_context(|| format!("no `{field}`: {said}"));
    let Line { slope, error } = Line::through_blocks(&memory);
    Ok(vec![
        (REQUESTS, number("requests")?),
        (STREAMS, number("streams")?),
        (FAILED, number("failed")?),
        (MEMORY, memory.last().copied().unwrap_or_default() / 1e3),
        (SLOPE, slope * 60.0),
        (LOW, (slope - error) * 60.0),
        (HIGH, (slope + error) * 60.0),
        (FILES, files_after as f64 - files as f64),
        (ENTRIES, entries_after - entries),
    ])
}

/// Descriptors and entries, once the connections that were kept have been given up.
fn settled(gateway: &Gateway, files: Option<usize>) -> anyhow::Result<(usize, f64)> {
    sleep(10 * SECOND);
    Ok((gateway.server.settled_descriptors(files)?, gateway.entries()?))
}

fn begin(load: &Path, gateway: &Gateway, seconds: u64) -> anyhow::Result<Child> {
    let Addresses { web, behind, .. } = gateway.at;
    let part = |all: u64| (all * seconds / (60 * MINUTES)).to_string();
    Command::new(load)
        .args(["--listen", &behind.to_string(), "--through", &web.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(["--requests", &part(REQUESTS_MAX), "--streams", &part(STREAMS_MAX)])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start soak_load")
}

fn said(load: Child) -> anyhow::Result<Value> {
    let output = load.wait_with_output()?;
    ensure!(output.status.success(), "soak_load failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
