//! A soak: requests and streams through the gateway for a long time, and whether its memory grows.
//!
//! One load runs all the time, and is measured after its first five minutes, so that what is made once is
//! there: so long the allocator's regions grow towards what they need for the most that is ever held at once. A
//! load that begins anew has its connections on other cores, and that is more than before once again. The
//! gateway looks for leaks every second, ten times as often as it would: what it remembers of its looks,
//! which is the last 64, is then there after a minute and not after eleven. The slope is of the resident memory, read once a second, over all of the time; it is no growth if its
//! interval of 95 % includes 0. Beside it stand that of the second half of the time, what of it is no file's,
//! and what the allocator has handed out. What is left afterwards is told by the kernel (descriptors), by the
//! ledger (entries), and by the process as it ends.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::Args;
use super::gateway::{
    Addresses, ENTRIES, FAILED, FILES, Gateway, Load, MEMORY, REQUESTS, SLOPE, SLOPE_HIGH,
    SLOPE_LOW,
};
use super::record::{Metric, Record, Sample};
use super::stats::Line;
use crate::{cargo, procfs};

const STREAMS: Metric = Metric { name: "streams", unit: "" };
const LATE_SLOPE: Metric = Metric { name: "rss_slope_late", unit: "KB/min" };
const LATE_LOW: Metric = Metric { name: "rss_slope_late_from", unit: "KB/min" };
const LATE_HIGH: Metric = Metric { name: "rss_slope_late_to", unit: "KB/min" };
const ANONYMOUS: Metric = Metric { name: "rss_anon", unit: "MB" };
const ANONYMOUS_SLOPE: Metric = Metric { name: "rss_anon_slope", unit: "KB/min" };
const ALLOCATED: Metric = Metric { name: "allocated", unit: "MB" };
const ALLOCATED_SLOPE: Metric = Metric { name: "allocated_slope", unit: "KB/min" };
const ALLOCATED_LOW: Metric = Metric { name: "allocated_from", unit: "KB/min" };
const ALLOCATED_HIGH: Metric = Metric { name: "allocated_to", unit: "KB/min" };

const SECOND: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 300;
/// For what is made once, before descriptors and entries are counted.
const FIRST: u64 = 20;

/// In twenty minutes.
const REQUESTS_MAX: u64 = 10_000_000;
const STREAMS_MAX: u64 = 1_000_000;
const MINUTES: u64 = 20;

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let program = cargo::build_bin("staunch")?;
    let load = cargo::build_bin("soak_load")?;
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
        "[admin]\nlisten = \"{admin}\"\n[runtime]\nworkers = 2\n[patrol]\nevery = \"1s\"\n\
         [[listener]]\nname = \"web\"\nprotocol = \"http\"\nlisten = \"{web}\"\n\
         [[route]]\nname = \"all\"\nservice = \"behind\"\n\
         [[service]]\nname = \"behind\"\nendpoints = [\"{behind}\"]\n\
         pool = {{ idle_time = \"5s\" }}\n"
    )
}

fn soak(program: &Path, load: &Path, seconds: u64) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, config)?;
    begin(load, &gateway, FIRST)?.said()?;
    let (files, entries) = settled(&gateway, None)?;
    let mut running = begin(load, &gateway, WARM_UP + seconds)?;
    sleep(Duration::from_secs(WARM_UP));
    let mut memory = Memory::default();
    while running.is_running()? {
        sleep(SECOND);
        memory.look(&gateway)?;
    }
    let said = running.said()?;
    let (files_after, entries_after) = settled(&gateway, Some(files))?;
    let log = gateway.log.clone();
    gateway.server.stop()?;
    let log = std::fs::read_to_string(&log)?;
    ensure!(log.contains("; 0 left"), "something is left: {log}");
    let mut figures = vec![
        (REQUESTS, said.number("requests")?),
        (STREAMS, said.number("streams")?),
        (FAILED, said.number("failed")?),
        (FILES, files_after as f64 - files as f64),
        (ENTRIES, entries_after - entries),
    ];
    figures.extend(memory.figures());
    Ok(figures)
}

/// What memory there was at each look, in KB.
#[derive(Default)]
struct Memory {
    resident: Vec<f64>,
    anonymous: Vec<f64>,
    allocated: Vec<f64>,
}

impl Memory {
    fn look(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let id = gateway.server.id();
        self.resident.push(procfs::resident(id)? as f64 / 1e3);
        self.anonymous.push(procfs::anonymous(id)? as f64 / 1e3);
        self.allocated.push(gateway.allocated()? / 1e3);
        Ok(())
    }

    fn figures(&self) -> [(Metric, f64); 13] {
        let last = |values: &[f64]| values.last().copied().unwrap_or_default() / 1e3;
        let each_minute = |values: &[f64]| {
            let Line { slope, error } = Line::through_blocks(values);
            (slope * 60.0, (slope - error) * 60.0, (slope + error) * 60.0)
        };
        let resident = each_minute(&self.resident);
        let late = each_minute(&self.resident[self.resident.len() / 2..]);
        let anonymous = each_minute(&self.anonymous);
        let allocated = each_minute(&self.allocated);
        [
            (MEMORY, last(&self.resident)),
            (SLOPE, resident.0),
            (SLOPE_LOW, resident.1),
            (SLOPE_HIGH, resident.2),
            (LATE_SLOPE, late.0),
            (LATE_LOW, late.1),
            (LATE_HIGH, late.2),
            (ANONYMOUS, last(&self.anonymous)),
            (ANONYMOUS_SLOPE, anonymous.0),
            (ALLOCATED, last(&self.allocated)),
            (ALLOCATED_SLOPE, allocated.0),
            (ALLOCATED_LOW, allocated.1),
            (ALLOCATED_HIGH, allocated.2),
        ]
    }
}

/// Descriptors and entries, once the connections that were kept have been given up.
fn settled(gateway: &Gateway, files: Option<usize>) -> anyhow::Result<(usize, f64)> {
    sleep(10 * SECOND);
    Ok((gateway.server.settled_descriptors(files)?, gateway.entries()?))
}

fn begin(load: &Path, gateway: &Gateway, seconds: u64) -> anyhow::Result<Load> {
    let part = |all: u64| (all * seconds / (60 * MINUTES)).to_string();
    let (requests, streams) = (part(REQUESTS_MAX), part(STREAMS_MAX));
    Load::begin(load, gateway, seconds, &["--requests", &requests, "--streams", &streams])
}
