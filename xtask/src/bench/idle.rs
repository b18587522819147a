//! Idle connections: what a server holds for each.
//!
//! Every measurement has a server of its own, because an allocator seldom gives back what an
//! earlier round made it take. Memory is read when a few clients have come and gone, since what a
//! program takes once (the code that answers, the buffers of its threads) is no client's, and again
//! when each of the connections has been answered once and all are idle: line echo servers (`idle`), and HTTP
//! servers whose connections are kept alive (`parked`).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit};

use super::record::{Metric, Record, Sample};
use super::subject::Subject;
use super::{Args, rotated, subject};
use crate::cargo;

const CONNECTIONS: [u32; 2] = [10_000, 100_000];
/// Connections that come and go before memory is first read.
pub(super) const FIRST: u32 = 16;
/// Descriptors a server needs besides its connections.
const RESERVE: u64 = 100;

const MEMORY: Metric = Metric { name: "rss_per_connection", unit: "B" };
/// Without pages of files: of code that many connections are the first to run, and which is no client's.
const ANONYMOUS: Metric = Metric { name: "anon_per_connection", unit: "B" };

/// How long a server may take to notice that a connection is idle: Staunch parks one after a
/// second.
const GRACE: Duration = Duration::from_secs(3);

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    measure_all(
        args,
        record,
        subject::ECHO,
        Load { path: None, grace: Duration::ZERO, behind: None },
    )
}

pub(super) fn run_parked(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    measure_all(args, record, subject::PARKED, Load { path: Some("/"), grace: GRACE, behind: None })
}

/// The same for proxies.
pub(super) fn run_through(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let behind = subject::start_behind(folder.path(), CONNECTIONS[0])?;
    let load = Load { path: Some("/small"), grace: GRACE, behind: Some(behind.address()) };
    measure_all(args, record, subject::PROXIES, load)?;
    behind.stop()
}

/// What the connections have done before they are idle, and for how long they are before memory is
/// read.
#[derive(Clone, Copy)]
struct Load {
    /// What is asked for over HTTP.
    path: Option<&'static str>,
    grace: Duration,
    /// The server that a proxy hands requests to.
    behind: Option<SocketAddr>,
}

fn measure_all(
    args: &Args,
    record: &mut Record,
    recipes: &[subject::Recipe],
    load: Load,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = cargo::build_bin("idle_load")?;
    let subjects = subject::build(args, recipes, folder.path())?;
    let counts = feasible(getrlimit(Resource::Nofile).maximum);
    for round in 1..=args.rounds {
        for connections in &counts {
            let case = format!("{connections} idle connections");
            for subject in rotated(&subjects, round - 1) {
                let sample = Sample { case: &case, subject: subject.name, round };
                record.announce(sample, args.rounds);
                let memory = measure(subject, &program, load, *connections, folder.path())
                    .with_context(|| format!("{case} to {}", subject.name))?;
                record.add(sample, MEMORY, memory[0]);
                record.add(sample, ANONYMOUS, memory[1]);
            }
        }
    }
    Ok(())
}

/// The numbers of connections that the hard limit on file descriptors has room for; says which
/// are left out.
fn feasible(limit: Option<u64>) -> Vec<u32> {
    let has_room = |count: &u32| limit.is_none_or(|limit| u64::from(*count) + RESERVE <= limit);
    let (feasible, beyond): (Vec<_>, Vec<_>) = CONNECTIONS.into_iter().partition(has_room);
    for count in beyond {
        let needed = u64::from(count) + RESERVE;
        eprintln!("idle: {count} connections left out: they need `ulimit -Hn {needed}`");
    }
    feasible
}

fn measure(
    subject: &Subject,
    program: &Path,
    load: Load,
    connections: u32,
    folder: &Path,
) -> anyhow::Result<[f64; 2]> {
    let server = subject.start_before(load.behind, folder, connections)?;
    release(hold(program, load, server.address(), FIRST)?)?;
    std::thread::sleep(load.grace);
    let before = [server.settled_resident()?, server.anonymous()?];
    let held = hold(program, load, server.address(), connections)?;
    std::thread::sleep(load.grace);
    let after = [server.settled_resident()?, server.anonymous()?];
    release(held)?;
    server.stop()?;
    let each = |which: usize| (after[which] as f64 - before[which] as f64) / f64::from(connections);
    Ok([each(0), each(1)])
}

/// Starts the load and waits until it holds its connections. It does so until its standard input
/// ends, which dropping the child brings about too.
fn hold(program: &Path, load: Load, server: SocketAddr, count: u32) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.arg(server.to_string()).args(["--connections", &count.to_string()]);
    if let Some(path) = load.path {
        command.args(["--http", "--path", path]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start idle_load")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim() != "ready" {
        bail!("idle_load failed: {}", child.wait()?);
    }
    Ok(child)
}

/// Closes the connections.
fn release(mut held: Child) -> anyhow::Result<()> {
    // Waiting closes the child's standard input first.
    let status = held.wait()?;
    if !status.success() {
        bail!("idle_load failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_limit_decides_what_is_feasible() {
        assert_eq!(feasible(None), CONNECTIONS);
        assert_eq!(feasible(Some(20_000)), [10_000]);
        assert_eq!(feasible(Some(100_100)), CONNECTIONS);
        assert_eq!(feasible(Some(1_024)), [0; 0]);
    }
}
