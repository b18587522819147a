//! A server's process.

use std::{
    fs::File,
    io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Killed when dropped, if it has not ended before.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it, with its output in `log`, and waits until `is_ready`.
    pub(crate) fn start(
        mut command: Command,
        log: &Path,
        is_ready: impl Fn() -> bool,
    ) -> anyhow::Result<Server> {
        let output = File::create(log)?;
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::piped()) // open until we wait for its end, or have ended ourselves
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Server { child };
        let end = Instant::now() + PATIENCE;
        while !is_ready() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended, {status}: {}", program.display(), said(log));
            }
            if Instant::now() > end {
                bail!("{} is not ready in {PATIENCE:?}: {}", program.display(), said(log));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Its process id.
    #[cfg(feature = "fixtures")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Sends a signal and waits until the process has ended.
    pub(crate) fn end(&mut self, signal: Signal) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            self.signal(signal)?;
        }
        self.child.wait().map(drop)
    }
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end(Signal::KILL); // it may have ended by itself
    }
}
