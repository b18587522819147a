//! A storm of reloads: what clients of the gateway notice of sixty changed configurations, one a
//! second, and what is left of them in the process; and what they notice of ten upgrades.
//!
//! Requests may not fail, streams not end, descriptors and entries of the ledger not grow. The
//! slope is of the resident memory in the second half, by least squares.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::Args;
use super::gateway::{Addresses, Gateway, pid};
use super::record::{Metric, Record, Sample};
use super::stats::Line;
use crate::{cargo, poll, procfs};

const RELOADS: u32 = 60;
const UPGRADES: u32 = 10;
const EACH: Duration = Duration::from_secs(1);
const BETWEEN_UPGRADES: Duration = Duration::from_secs(2);

const REQUESTS: Metric = Metric { name: "requests", unit: "" };
const AGAIN: Metric = Metric { name: "asked_again", unit: "" };
const FAILED: Metric = Metric { name: "failed", unit: "" };
const DROPPED: Metric = Metric { name: "streams_dropped", unit: "" };
const TAKEN_UP: Metric = Metric { name: "taken_up", unit: "" };
const MEMORY: Metric = Metric { name: "rss", unit: "MB" };
const SLOPE: Metric = Metric { name: "rss_slope", unit: "KB/min" };
const FILES: Metric = Metric { name: "more_files", unit: "" };
const ENTRIES: Metric = Metric { name: "more_entries", unit: "" };

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let program = cargo::build_bin("staunch-cli", "staunch")?;
    let load = cargo::build_bin("staunch-bench", "reload_load")?;
    for round in 1..=args.rounds {
        let sample = Sample { case: "60 reloads in a minute", subject: "staunch", round };
        record.announce(sample, args.rounds);
        for (metric, value) in storm(&program, &load)? {
            record.add(sample, metric, value);
        }
        let sample = Sample { case: "10 upgrades", subject: "staunch", round };
        record.announce(sample, args.rounds);
        for (metric, value) in upgrades(&program, &load)? {
            record.add(sample, metric, value);
        }
    }
    Ok(())
}

/// The same for clients, whatever the number; but half of what else there is comes and goes.
fn config(at: &Addresses, number: u32) -> String {
    let Addresses { web, admin, behind } = at;
    let own = format!(
        "[admin]\nlisten = \"{admin}\"\n[runtime]\nworkers = 2\n[drain]\ngrace = \"5s\"\n\
         [[listener]]\nname = \"web\"\nprotocol = \"http\"\nlisten = \"{web}\"\n\
         [[route]]\nname = \"all\"\nservice = \"behind\"\ntimeout = \"unlimited\"\n\
         [[service]]\nname = \"behind\"\nendpoints = [\"{behind}\"]\n"
    );
    let other = |other: u32| {
        format!(
            "[[route]]\nname = \"r{other}\"\npath = \"/other/{other}/{number}\"\nservice = \"s{other}\"\n\
             policies = [\"p{other}\"]\n[[service]]\nname = \"s{other}\"\n\
             endpoints = [\"127.0.0.1:{}\"]\n[[policy]]\nname = \"p{other}\"\n\
             [policy.rate]\nrequests = {}\nper = \"1s\"\n",
            10_000 + other,
            1 + number,
        )
    };
    let others = (number % 2..10).step_by(1 + number as usize % 3);
    others.map(other).fold(own, |text, other| text + &other)
}

fn begin(gateway: &Gateway, load: &Path, seconds: u64) -> anyhow::Result<Child> {
    let Addresses { web, behind, .. } = gateway.at;
    Command::new(load)
        .args(["--listen", &behind.to_string(), "--through", &web.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start reload_load")
}

fn storm(program: &Path, load: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, |at| config(at, 0))?;
    let load = begin(&gateway, load, u64::from(RELOADS) + 12)?;
    sleep(5 * EACH); // until all streams are there
    let (files, entries) = (gateway.server.settled_descriptors(None)?, gateway.entries()?);
    let mut memory = Vec::new();
    for number in 1..=RELOADS {
        fs::write(&gateway.file, config(&gateway.at, number % 7))?;
        kill_process(pid(gateway.server.id())?, Signal::HUP)?;
        sleep(EACH);
        memory.push(procfs::resident(gateway.server.id())? as f64 / 1e3);
    }
    fs::write(&gateway.file, config(&gateway.at, 0))?;
    kill_process(pid(gateway.server.id())?, Signal::HUP)?;
    sleep(EACH);
    let (files_after, entries_after) =
        (gateway.server.settled_descriptors(Some(files))?, gateway.entries()?);
    let taken_up = gateway.said("taken up")? as f64;
    let said = said(load)?;
    gateway.server.stop()?;
    let mut figures = seen_by_clients(&said)?;
    figures.extend([
        (TAKEN_UP, taken_up),
        (MEMORY, memory.last().copied().unwrap_or_default() / 1e3),
        (SLOPE, Line::through(&memory[memory.len() / 2..]).slope * 60.0),
        (FILES, files_after as f64 - files as f64),
        (ENTRIES, entries_after - entries),
    ]);
    Ok(figures)
}

/// Streams end with the drain of the process that has them; all else goes on.
fn upgrades(program: &Path, load: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, |at| config(at, 0))?;
    let seconds = u64::from(UPGRADES) * BETWEEN_UPGRADES.as_secs() + 4;
    let mut load = begin(&gateway, load, seconds)?;
    sleep(2 * EACH);
    let mut at = gateway.server.id();
    for number in 1..=UPGRADES {
        kill_process(pid(at)?, Signal::USR2)?;
        let taken = poll::until(Duration::from_secs(10), Duration::from_millis(20), || {
            let log = fs::read_to_string(&gateway.log)?;
            let successors: Vec<u32> = log
                .lines()
                .filter_map(|line| line.split_once("process ")?.1.split_once(" has taken over"))
                .filter_map(|(pid, _)| pid.parse().ok())
                .collect();
            Ok(successors.get(number as usize - 1).copied())
        });
        let Some(successor) = taken? else {
            let _ = load.kill();
            bail!("upgrade {number}: nobody has taken over; {}", fs::read_to_string(&gateway.log)?);
        };
        at = successor;
        sleep(BETWEEN_UPGRADES);
    }
    let said = said(load)?;
    kill_process(pid(at)?, Signal::TERM)?;
    poll::until(Duration::from_secs(15), Duration::from_millis(50), || {
        Ok((!Path::new(&format!("/proc/{at}")).exists()).then_some(()))
    })?;
    let figures = seen_by_clients(&said)?;
    Ok(figures.into_iter().filter(|(metric, _)| *metric != DROPPED).collect())
}

fn said(load: Child) -> anyhow::Result<Value> {
    let output = load.wait_with_output()?;
    ensure!(output.status.success(), "reload_load failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn seen_by_clients(said: &Value) -> anyhow::Result<Vec<(Metric, f64)>> {
    let number =
        |field: &str| said[field].as_f64().with_context(|| format!("no `{field}`: {said}"));
    ensure!(number("streams")? > 0.0, "there were no streams: {said}");
    Ok(vec![
        (REQUESTS, number("requests")?),
        (AGAIN, number("again")?),
        (FAILED, number("failed")?),
        (DROPPED, number("dropped")?),
    ])
}
