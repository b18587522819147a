//! A server under measurement: a child process that is ready when it accepts connections, and is
//! ended by its own process id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{poll, procfs};

const START_TIME_MAX: Duration = Duration::from_secs(10);
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

const PROBE_INTERVAL: Duration = Duration::from_millis(10);
const SETTLE_INTERVAL: Duration = Duration::from_millis(200);
/// Readings in a row that agree with the one before: a second's worth.
const SETTLED: u32 = 5;

/// A running server. Dropping it kills the process; [`Server::stop`] ends it in good order.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `command`, with its output in the file `log`, and waits until `address` accepts.
    pub(crate) fn start(
        mut command: Command,
        address: SocketAddr,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { child, address, log: log.to_owned() };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time the server and its children have spent so far.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        procfs::cpu_time(self.child.id())
    }

    /// Resident bytes, read when two readings agree within 1% or after five seconds.
    pub(crate) fn settled_resident(&self) -> anyhow::Result<u64> {
        let mut last = procfs::resident(self.child.id())?;
        let settled = poll::until(SETTLE_TIME_MAX, SETTLE_INTERVAL, || {
            let before = last;
            last = procfs::resident(self.child.id())?;
            Ok(agree(before, last).then_some(last))
        })?;
        Ok(settled.unwrap_or(last))
    }

    /// Resident bytes that are no file's.
    pub(crate) fn anonymous(&self) -> anyhow::Result<u64> {
        procfs::anonymous(self.child.id())
    }

    /// Open descriptors, read when there are as many as `expected`, or after five seconds. Without
    /// an expectation, when there have been as many for a second: the connection that has found the
    /// server ready may still be about to close.
    pub(crate) fn settled_descriptors(&self, expected: Option<usize>) -> anyhow::Result<usize> {
        let folder = format!("/proc/{}/fd", self.child.id());
        let (mut count, mut same) = (0, 0);
        poll::until(SETTLE_TIME_MAX, SETTLE_INTERVAL, || {
            let before = count;
            count = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?.count();
            same = if count == before { same + 1 } else { 0 };
            let is_settled = expected.map_or(same >= SETTLED, |expected| count == expected);
            Ok(is_settled.then_some(()))
        })?;
        Ok(count)
    }

    /// Asks the server to end and waits for it. An exit code other than 0 is an error; a server
    /// that the signal ends is in order, for that is the default action of a program.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.terminate()?;
        if status.code().is_some_and(|code| code != 0) {
            bail!("the server ended with {status}{}", self.last_words());
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let ready = poll::until(START_TIME_MAX, PROBE_INTERVAL, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start with {status}{}", self.last_words());
            }
            Ok(TcpStream::connect(self.address).ok())
        })?;
        if ready.is_none() {
            bail!(
                "the server does not accept connections on {} within {START_TIME_MAX:?}{}",
                self.address,
                self.last_words()
            );
        }
        Ok(())
    }

    fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        poll::until(STOP_TIME_MAX, PROBE_INTERVAL, || Ok(self.child.try_wait()?))?.with_context(
            || format!("the server did not end within {STOP_TIME_MAX:?}{}", self.last_words()),
        )
    }

    /// The end of what the server printed, for an error message.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(5)..];
        if tail.is_empty() { String::new() } else { format!("; it said:\n{}", tail.join("\n")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is killed leaves its own children behind, as nginx does its workers.
        if !matches!(self.child.try_wait(), Ok(Some(_))) && self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Loopback addresses with ports that are free now, all different.
pub(crate) fn free_addresses<const COUNT: usize>() -> anyhow::Result<[SocketAddr; COUNT]> {
    // Held together, so that the kernel gives each a port of its own.
    let listeners = (0..COUNT)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<Vec<_>>>()
        .context("no free port on 127.0.0.1")?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); COUNT];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

/// Whether two readings differ by at most 1% of the larger.
fn agree(one: u64, other: u64) -> bool {
    one.abs_diff(other) * 100 <= one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_error(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let [address] = free_addresses().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let server = Server::start(command, address, &folder.path().join("log"));
        format!("{:#}", server.err().unwrap())
    }

    #[test]
    fn a_server_that_ends_at_its_start_is_quoted() {
        let error = start_error("echo port in use; exit 2");
        assert!(error.contains("exit status: 2") && error.contains("port in use"), "{error}");
    }

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn readings_agree_within_one_percent() {
        assert!(agree(100, 101) && agree(101, 100) && agree(0, 0));
        assert!(!agree(100, 102) && !agree(0, 1));
    }
}
