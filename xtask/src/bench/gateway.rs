//! A gateway that a bench does something to, and what it holds.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustix::process::Pid;

use crate::server::{Server, free_addresses};

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
        let url = format!("http://{}/metrics", self.at.admin);
        let output = Command::new("curl").args(["--silent", &url]).output()?;
        let metrics = String::from_utf8_lossy(&output.stdout).into_owned();
        let live = metrics.lines().filter(|line| line.starts_with("staunch_entries{"));
        Ok(live.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

pub(super) fn pid(id: u32) -> anyhow::Result<Pid> {
    Pid::from_raw(i32::try_from(id)?).context("no process id")
}
