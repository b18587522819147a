//! Redis, as Debian packages it.

use std::{net::TcpStream, process::Command};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// A Redis server without persistence.
#[derive(Debug)]
pub struct RedisServer {
    /// `None` while it is down.
    server: Option<Server>,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts it.
    ///
    /// # Errors
    /// When Redis is not installed, or does not start: with what it said.
    pub fn start() -> anyhow::Result<RedisServer> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let mut server = RedisServer { server: None, port, folder };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not start: with what it said.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(self.folder.path());
        let is_ready = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        let log = self.folder.path().join("log");
        self.server = Some(Server::start(command, &log, is_ready)?);
        Ok(())
    }

    /// Kills it at once (`SIGKILL`).
    ///
    /// # Errors
    /// Those of `kill(2)` and `waitpid(2)`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.end(Signal::KILL)?;
        }
        Ok(())
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to connect.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}
