//! HTTP hello: what a request costs the server.
//!
//! The load is nghttp2's `h2load`, which speaks both versions and logs the time of each request.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::echo::{CPU, P50, P99, THROUGHPUT, seconds_per_million};
use super::record::{Metric, Record};
use super::{Args, live, subject};
use crate::server::Server;

/// Enough that the kernel's tick of 10 ms is below 1% of the CPU time read.
const REQUESTS: u32 = 200_000;
const CONNECTIONS: u32 = 64;

const HTTP1: &str = "HTTP/1.1, 64 connections";
const HTTP2: &str = "HTTP/2, 64 connections, 10 streams each";

/// Subjects that speak HTTP/1 only.
const HTTP1_ONLY: [&str; 2] = ["hyper", "go"];

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("requests");
    let mut servers = live::start(args, subject::HTTP, folder.path(), CONNECTIONS)?;
    live::measure(args, record, &servers, &[HTTP1], |server, case| measure(server, case, &log))?;
    let (one, both) = servers.drain(..).partition(|(name, _)| HTTP1_ONLY.contains(name));
    live::stop(one)?;
    live::measure(args, record, &both, &[HTTP2], |server, case| measure(server, case, &log))?;
    live::stop(both)
}

fn measure(server: &Server, case: &str, log: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let before = server.cpu_time()?;
    let said = run_load(server, case, log)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    let times = times(&fs::read_to_string(log)?)?;
    fs::remove_file(log)?; // h2load appends
    Ok(vec![
        (CPU, seconds_per_million(cpu, f64::from(REQUESTS))),
        (THROUGHPUT, throughput(&said)?),
        (P50, times[times.len() / 2]),
        (P99, times[times.len() * 99 / 100]),
    ])
}

fn run_load(server: &Server, case: &str, log: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("h2load");
    match case {
        HTTP1 => command.arg("--h1"),
        _ => command.args(["--max-concurrent-streams", "10"]),
    };
    command.args(["--clients", &CONNECTIONS.to_string(), "--requests", &REQUESTS.to_string()]);
    command.arg(format!("--log-file={}", log.display()));
    let output = command
        .arg(format!("http://{}/", server.address()))
        .output()
        .context("cannot start h2load (Debian's nghttp2-client)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    if !output.status.success() || !said.contains(&all) {
        bail!("h2load did not get {REQUESTS} answers; it said:\n{said}");
    }
    Ok(said)
}

/// `finished in 2.47s, 80933.87 req/s, 11.32MB/s`
pub(super) fn throughput(said: &str) -> anyhow::Result<f64> {
    let finished = said.lines().find_map(|line| line.strip_prefix("finished in "));
    let rate = finished.and_then(|line| line.split(", ").find_map(|it| it.strip_suffix(" req/s")));
    let rate = rate.with_context(|| format!("no requests per second in:\n{said}"))?;
    rate.parse().with_context(|| format!("`{rate}` is no number"))
}

/// The times of all requests, the shortest first, in microseconds: the third of the columns.
pub(super) fn times(log: &str) -> anyhow::Result<Vec<f64>> {
    let time = |line: &str| {
        let time = line.split('\t').nth(2).and_then(|it| it.parse::<u32>().ok());
        time.map(f64::from).with_context(|| format!("no time in `{line}`"))
    };
    let mut times = log.lines().map(time).collect::<anyhow::Result<Vec<f64>>>()?;
    if times.is_empty() {
        bail!("h2load logged no request");
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_says_is_read() {
        let said = "starting benchmark...\nfinished in 2.47s, 80933.87 req/s, 11.32MB/s\n";
        assert!((throughput(said).unwrap() - 80_933.87).abs() < 1e-6);
        assert!(throughput("nothing").unwrap_err().to_string().contains("nothing"));
        let log = "1700000000\t200\t31\n1700000001\t200\t7\n";
        assert_eq!(times(log).unwrap(), [7.0, 31.0]);
        assert!(times("").is_err() && times("x\ty").is_err());
    }
}
