//! Abuse: how long an honest client waits while others do their worst, against when it is alone.
//!
//! All attacks of a round meet one server, which has to hold as many descriptors after each as before.
//! What the attackers and who is attacked take of the machine they take from any server: that is seen by the same
//! honest client while the attack goes to another server of the same kind.
//!
//! nginx and a bare hyper stand beside it for those attacks that they can have. nginx has one worker; beside
//! attackers on the same machine that is a processor less to share, so we are there with one, too.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::record::{Metric, Record, Sample};
use super::{Args, subject};
use crate::{cargo, server::Server};

const CLIENTS: u32 = 1100;

const ATTACKS: &[&str] = &[
    "slowloris",
    "slow-body",
    "slow-read",
    "stalled-window",
    "rapid-reset",
    "continuation",
    "ping",
    "events",
    "sequence",
    "dropped-body",
];

/// What peers can be attacked with: hyper has one answer and no more, nginx a file as well.
fn attacks_of_peer(name: &str) -> &'static [&'static str] {
    if name == "nginx" {
        &["slowloris", "slow-read", "sequence"]
    } else {
        &["slowloris", "sequence"]
    }
}

const QUIET: Metric = Metric { name: "quiet_p99", unit: "us" };
const ATTACKED: Metric = Metric { name: "attacked_p99", unit: "us" };
const RATIO: Metric = Metric { name: "attacked/quiet", unit: "" };
const ELSEWHERE: Metric = Metric { name: "elsewhere/quiet", unit: "" };

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let (folder, other_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let load = cargo::build_bin("abuse_load")?;
    let subjects = subject::build(args, subject::ABUSED, folder.path())?;
    for round in 1..=args.rounds {
        for subject in &subjects {
            let server = subject.start(folder.path(), CLIENTS)?;
            let is_ours = subject.name.starts_with("staunch");
            let attacks = if is_ours { ATTACKS } else { attacks_of_peer(subject.name) };
            for attack in attacks {
                let sample = Sample { case: attack, subject: subject.name, round };
                record.announce(sample, args.rounds);
                let before = if is_ours { Some(server.settled_descriptors(None)?) } else { None };
                let mut command = Command::new(&load);
                command.args([&server.address().to_string(), *attack]);
                let [quiet, attacked] =
                    measure(&mut command).with_context(|| (*attack).to_owned())?;
                record.add(sample, QUIET, quiet);
                record.add(sample, ATTACKED, attacked);
                record.add(sample, RATIO, attacked / quiet.max(1.0));
                let Some(before) = before else { continue };
                let after = server.settled_descriptors(Some(before))?;
                ensure!(after == before, "{attack}: {before} descriptors before, {after} after");
                if subject.name == "staunch" {
                    let other = subject.start(other_folder.path(), CLIENTS)?;
                    record.add(sample, ELSEWHERE, ratio_elsewhere(command, other)?);
                }
            }
            stop(server)?;
        }
    }
    Ok(())
}

/// The same while `other` is attacked.
fn ratio_elsewhere(mut load: Command, other: Server) -> anyhow::Result<f64> {
    load.args(["--elsewhere", &other.address().to_string()]);
    let [quiet, attacked] = measure(&mut load)?;
    stop(other)?;
    Ok(attacked / quiet.max(1.0))
}

/// A server that lost something says so when it ends.
fn stop(server: Server) -> anyhow::Result<()> {
    server.stop().context("after the attacks")
}

fn measure(load: &mut Command) -> anyhow::Result<[f64; 2]> {
    let output = load.stderr(Stdio::inherit()).output().context("cannot start abuse_load")?;
    if !output.status.success() {
        bail!("abuse_load failed: {}", output.status);
    }
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let number =
        |field: &str| said[field].as_f64().with_context(|| format!("no `{field}`: {said}"));
    Ok([number("quiet_p99_us")?, number("attacked_p99_us")?])
}
