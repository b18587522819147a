//! A server written in Go, of one file.

use std::{net::TcpStream, path::Path, process::Command};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// Built from a file that needs nothing but Go's own packages, and listens where its one argument
/// says.
#[derive(Debug)]
pub struct GoServer {
    _server: Server,
    port: u16,
    _folder: TempDir,
}

impl GoServer {
    /// Builds it and starts it.
    ///
    /// # Errors
    /// When Go is not installed, or it cannot be built, or does not start: with what was said.
    pub fn start(source: &Path) -> anyhow::Result<GoServer> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("server");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([&program, source])
            .output()
            .context("cannot start go (Debian's golang-go)")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "{} cannot be built: {said}", source.display());
        let port = free_port()?;
        let mut command = Command::new(program);
        command.arg(format!("127.0.0.1:{port}"));
        let is_ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let server = Server::start(command, &folder.path().join("log"), is_ready)?;
        Ok(GoServer { _server: server, port, _folder: folder })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}
