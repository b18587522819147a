//! Slow readers: what a server and the kernel hold for each client that takes its download by
//! little and little.
//!
//! Every measurement has a server of its own, to which a few clients have come before, as in
//! [`super::idle`]. What the kernel holds is what
//! `ss --memory` says of the server's sockets (iproute2); what it holds for the clients' is not
//! counted.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::record::{Metric, Record, Sample};
use super::subject::Subject;
use super::{Args, idle, rotated, subject};
use crate::{cargo, server::Server};

const CLIENTS: u32 = 1000;
const CASE: &str = "1,000 clients at 1 KiB/s of 10 MiB";

const USER: Metric = Metric { name: "rss_per_client", unit: "B" };
const KERNEL: Metric = Metric { name: "kernel_per_client", unit: "B" };

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    measure_all(args, record, subject::DOWNLOAD, None)
}

/// The same for proxies, of which the kernel's share is that for their clients.
pub(super) fn run_through(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let behind = subject::start_behind(folder.path(), CLIENTS)?;
    measure_all(args, record, subject::PATIENT_PROXIES, Some(behind.address()))?;
    behind.stop()
}

fn measure_all(
    args: &Args,
    record: &mut Record,
    recipes: &[subject::Recipe],
    behind: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let load = cargo::build_bin("slow_load")?;
    let subjects = subject::build(args, recipes, folder.path())?;
    for round in 1..=args.rounds {
        for subject in rotated(&subjects, round - 1) {
            let sample = Sample { case: CASE, subject: subject.name, round };
            record.announce(sample, args.rounds);
            let [user, kernel] = measure(subject, behind, &load, folder.path())
                .with_context(|| format!("{CASE} from {}", subject.name))?;
            record.add(sample, USER, user);
            record.add(sample, KERNEL, kernel);
        }
    }
    Ok(())
}

fn measure(
    subject: &Subject,
    behind: Option<SocketAddr>,
    load: &Path,
    folder: &Path,
) -> anyhow::Result<[f64; 2]> {
    let server = subject.start_before(behind, folder, CLIENTS)?;
    let mut first = begin(load, &server, idle::FIRST)?;
    have_read(&mut first)?;
    ensure!(first.wait()?.success(), "slow_load failed");
    let before = server.settled_resident()?;
    let mut clients = begin(load, &server, CLIENTS)?;
    have_read(&mut clients)?;
    let after = server.settled_resident()?;
    let kernel = kernel_memory(server.address())?;
    ensure!(clients.wait()?.success(), "slow_load failed"); // it ends its standard input first
    server.stop()?;
    let each = |bytes: f64| bytes / f64::from(CLIENTS);
    Ok([each(after as f64 - before as f64), each(kernel as f64)])
}

/// Starts so many clients.
fn begin(load: &Path, server: &Server, clients: u32) -> anyhow::Result<Child> {
    Command::new(load)
        .arg(server.address().to_string())
        .args(["--clients", &clients.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start slow_load")
}

/// Waits until the clients have read for their time, each of them nearly as often as it wanted to.
fn have_read(clients: &mut Child) -> anyhow::Result<()> {
    let mut line = String::new();
    if let Some(stdout) = clients.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let Ok(said) = serde_json::from_str::<Value>(&line) else {
        bail!("slow_load failed: {}", clients.wait()?);
    };
    let starved = said["starved"].as_u64().unwrap_or(u64::MAX);
    if starved >= u64::from(CLIENTS) {
        // What it holds is then less than it would: the kernel's memory for sockets may be at its
        // end.
        eprintln!("slow readers were kept waiting: {said}");
    }
    Ok(())
}

/// What the kernel holds for the connections that `address` has accepted.
fn kernel_memory(address: SocketAddr) -> anyhow::Result<u64> {
    let output = Command::new("ss")
        .args(["-tmnH", "state", "established"])
        .arg(format!("sport = :{}", address.port()))
        .output()
        .context("cannot start ss (Debian's iproute2)")?;
    ensure!(output.status.success(), "ss failed: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).context("odd output of ss")?;
    let sockets: Vec<u64> = said.lines().filter_map(memory_of).collect();
    ensure!(sockets.len() >= CLIENTS as usize, "ss shows {} connections only", sockets.len());
    Ok(sockets.iter().sum())
}

/// `skmem:(r0,rb131072,t0,tb2626560,f3072,w1536,o0,bl0,d0)`: received, to be sent, set aside,
/// options and backlog (`ss(8)`). What is on its way (`t`) is part of what is to be sent (`w`).
fn memory_of(line: &str) -> Option<u64> {
    let fields = line.split_once("skmem:(")?.1.split_once(')')?.0;
    let bytes = |name: &str| {
        let number = |field: &str| field.strip_prefix(name)?.parse::<u64>().ok();
        fields.split(',').find_map(number).unwrap_or(0)
    };
    Some(["r", "w", "f", "o", "bl"].into_iter().map(bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_holds_is_the_sum_of_its_parts() {
        let line = "\t skmem:(r1,rb131072,t64,tb2626560,f30,w200,o4000,bl50000,d7)";
        assert_eq!(memory_of(line), Some(54_231));
        assert_eq!(memory_of("0 0 127.0.0.1:80 127.0.0.1:5000"), None);
    }
}
