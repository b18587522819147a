//! A storm of reloads: what clients of the gateway notice of changed configurations, one a second for a minute
//! or for as many as are asked for, and what is left of them in the process; and what they notice of ten
//! upgrades.
//!
//! Requests may not fail, streams not end, descriptors and entries of the ledger not grow. The
//! slope is of the resident memory in the second half, by least squares, with its interval of 95 %. What the
//! gateway remembers of its looks for leaks, the last 64, is there after a minute, since it looks every second:
//! what a single minute tells is how it comes to its size, and ten whether it stays there.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{bail, ensure};
use rustix::process::{Signal, kill_process};

use super::Args;
use super::gateway::{
    Addresses, ENTRIES, FAILED, FILES, Gateway, Load, MEMORY, REQUESTS, SLOPE, SLOPE_HIGH,
    SLOPE_LOW, Said, pid,
};
use super::record::{Metric, Record, Sample};
use super::stats::Line;
use crate::{cargo, poll, procfs};

/// In a minute.
const RELOADS: u32 = 60;
const UPGRADES: u32 = 10;
const EACH: Duration = Duration::from_secs(1);
const BETWEEN_UPGRADES: Duration = Duration::from_secs(2);

const AGAIN: Metric = Metric { name: "asked_again", unit: "" };
const DROPPED: Metric = Metric { name: "streams_dropped", unit: "" };
const TAKEN_UP: Metric = Metric { name: "taken_up", unit: "" };

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let program = cargo::build_bin("staunch")?;
    let load = cargo::build_bin("reload_load")?;
    let minutes = args.minutes.unwrap_or(1);
    let reloads = u32::try_from(minutes).unwrap_or(u32::MAX).saturating_mul(RELOADS);
    let storms = format!("{reloads} reloads, one a second");
    for round in 1..=args.rounds {
        let sample = Sample { case: &storms, subject: "staunch", round };
        record.announce(sample, args.rounds);
        for (metric, value) in storm(&program, &load, reloads)? {
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
         [patrol]\nevery = \"1s\"\n\
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

fn storm(program: &Path, load: &Path, reloads: u32) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, |at| config(at, 0))?;
    let load = Load::begin(load, &gateway, u64::from(reloads) + 12, &[])?;
    sleep(5 * EACH); // until all streams are there
    let (files, entries) = (gateway.server.settled_descriptors(None)?, gateway.entries()?);
    let mut memory = Vec::new();
    for number in 1..=reloads {
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
    let said = load.said()?;
    gateway.server.stop()?;
    let Line { slope, error } = Line::through_blocks(&memory[memory.len() / 2..]);
    let [slope, low, high] = [slope, slope - error, slope + error].map(|each| each * 60.0);
    let mut figures = seen_by_clients(&said)?;
    figures.extend([
        (TAKEN_UP, taken_up),
        (MEMORY, memory.last().copied().unwrap_or_default() / 1e3),
        (SLOPE, slope),
        (SLOPE_LOW, low),
        (SLOPE_HIGH, high),
        (FILES, files_after as f64 - files as f64),
        (ENTRIES, entries_after - entries),
    ]);
    Ok(figures)
}

/// Streams end with the drain of the process that has them; all else goes on.
fn upgrades(program: &Path, load: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let gateway = Gateway::start(program, |at| config(at, 0))?;
    let seconds = u64::from(UPGRADES) * BETWEEN_UPGRADES.as_secs() + 4;
    let load = Load::begin(load, &gateway, seconds, &[])?;
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
            bail!("upgrade {number}: nobody has taken over; {}", fs::read_to_string(&gateway.log)?);
        };
        at = successor;
        sleep(BETWEEN_UPGRADES);
    }
    let said = load.said()?;
    kill_process(pid(at)?, Signal::TERM)?;
    poll::until(Duration::from_secs(15), Duration::from_millis(50), || {
        Ok((!Path::new(&format!("/proc/{at}")).exists()).then_some(()))
    })?;
    let figures = seen_by_clients(&said)?;
    Ok(figures.into_iter().filter(|(metric, _)| *metric != DROPPED).collect())
}

fn seen_by_clients(said: &Said) -> anyhow::Result<Vec<(Metric, f64)>> {
    ensure!(said.number("streams")? > 0.0, "there were no streams");
    Ok(vec![
        (REQUESTS, said.number("requests")?),
        (AGAIN, said.number("again")?),
        (FAILED, said.number("failed")?),
        (DROPPED, said.number("dropped")?),
    ])
}
