//! A gateway that a bench does something to, and what it holds.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Pid;
use serde_json::Value;

use super::record::Metric;
use crate::server::{Server, free_addresses};

pub(super) const REQUESTS: Metric = Metric { name: "requests", unit: "" };
pub(super) const FAILED: Metric = Metric { name: "failed", unit: "" };
pub(super) const MEMORY: Metric = Metric { name: "rss", unit: "MB" };
pub(super) const SLOPE: Metric = Metric { name: "rss_slope", unit: "KB/min" };
pub(super) const SLOPE_LOW: Metric = Metric { name: "slope_from", unit: "KB/min" };
pub(super) const SLOPE_HIGH: Metric = Metric { name: "slope_to", unit: "KB/min" };
pub(super) const FILES: Metric = Metric { name: "more_files", unit: "" };
pub(super) const ENTRIES: Metric = Metric { name: "more_entries", unit: "" };

/// `staunch run` with a configuration that can be changed.
pub(super) struct Gateway {
    pub(super) server: Server,
    pub(super) file: PathBuf,
    pub(super) log: PathBuf,
    pub(super) at: Addresses,
    _folder: tempfile::TempDir,
}

/// Where it listens, and what is behind it.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) web: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) behind: SocketAddr,
}

impl Gateway {
    pub(super) fn start(
        program: &Path,
        config: impl FnOnce(&Addresses) -> String,
    ) -> anyhow::Result<Gateway> {
        let folder = tempfile::tempdir()?;
        let (file, log) = (folder.path().join("staunch.toml"), folder.path().join("log"));
        let [web, admin, behind] = free_addresses()?;
        let at = Addresses { web, admin, behind };
        fs::write(&file, config(&at))?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file);
        let server = Server::start(command, web, &log)?;
        Ok(Gateway { server, file, log, at, _folder: folder })
    }

    /// How often its log says so.
    pub(super) fn said(&self, what: &str) -> anyhow::Result<usize> {
        Ok(fs::read_to_string(&self.log)?.matches(what).count())
    }

    /// Entries on its ledger.
    pub(super) fn entries(&self) -> anyhow::Result<f64> {
        self.metric("staunch_entries{")
    }

    /// Bytes that its allocator has handed out.
    pub(super) fn allocated(&self) -> anyhow::Result<f64> {
        self.metric("staunch_guard_allocated_bytes")
    }

    /// The sum of the metrics that begin so.
    fn metric(&self, beginning: &str) -> anyhow::Result<f64> {
        let url = format!("http://{}/metrics", self.at.admin);
        let output = Command::new("curl").args(["--silent", &url]).output()?;
        let metrics = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = metrics.lines().filter(|line| line.starts_with(beginning));
        let values: Vec<f64> =
            lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        ensure!(!values.is_empty(), "{url} has no `{beginning}`");
        Ok(values.iter().sum())
    }
}

/// Clients of a gateway and the server behind it, one program, which says at its end in JSON what has
/// become of them.
pub(super) struct Load(Child);

impl Load {
    pub(super) fn begin(
        program: &Path,
        gateway: &Gateway,
        seconds: u64,
        more: &[&str],
    ) -> anyhow::Result<Load> {
        let Addresses { web, behind, .. } = gateway.at;
        let load = Command::new(program)
            .args(["--listen", &behind.to_string(), "--through", &web.to_string()])
            .args(["--seconds", &seconds.to_string()])
            .args(more)
            .stdout(Stdio::piped())
            .spawn();
        Ok(Load(load.with_context(|| format!("cannot start {}", program.display()))?))
    }

    pub(super) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Waits for its end.
    pub(super) fn said(mut self) -> anyhow::Result<Said> {
        let mut said = String::new();
        self.0.stdout.take().context("it has been heard")?.read_to_string(&mut said)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the load failed: {status}");
        Ok(Said(serde_json::from_str(&said)?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// What a load has said.
pub(super) struct Said(Value);

impl Said {
    pub(super) fn number(&self, field: &str) -> anyhow::Result<f64> {
        self.0[field].as_f64().with_context(|| format!("no `{field}`: {}", self.0))
    }
}

pub(super) fn pid(id: u32) -> anyhow::Result<Pid> {
    Pid::from_raw(i32::try_from(id)?).context("no process id")
}
