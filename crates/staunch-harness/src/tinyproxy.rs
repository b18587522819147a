//! tinyproxy, as Debian packages it.

use std::{fs, io, net::TcpStream, process::Command};

use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// An HTTP proxy on a port of 127.0.0.1.
#[derive(Debug)]
pub struct TinyproxyServer {
    _server: Server,
    port: u16,
    folder: TempDir,
}

impl TinyproxyServer {
    /// Starts it, with settings such as `BasicAuth me secret` or `ConnectPort 443`, a line each.
    ///
    /// # Errors
    /// When tinyproxy is not installed, or does not start: with what it said.
    pub fn start(settings: &str) -> anyhow::Result<TinyproxyServer> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let path = folder.path().join("tinyproxy.conf");
        let own = format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nLogLevel Connect\n");
        fs::write(&path, format!("{own}Timeout 60\nMaxClients 100\n{settings}\n"))?;
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(path);
        let is_ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let server = Server::start(command, &folder.path().join("log"), is_ready)?;
        Ok(TinyproxyServer { _server: server, port, folder })
    }

    /// The port of 127.0.0.1 where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The first lines of the requests that it has had, in turn.
    ///
    /// # Errors
    /// Those of reading its log.
    pub fn requests(&self) -> io::Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        let requests = log.lines().filter(|line| line.contains("Request (file descriptor"));
        let first_lines = requests.filter_map(|line| line.split_once("): "));
        Ok(first_lines.map(|(_, first)| first.to_owned()).collect())
    }
}
