//! HAProxy, as Debian packages it.

use std::{fs, net::TcpStream, process::Command};

use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// An HAProxy with the sections that it is given.
#[derive(Debug)]
pub struct HaproxyServer {
    _server: Server,
    ports: Vec<u16>,
    _folder: TempDir,
}

impl HaproxyServer {
    /// Starts it, with so many free ports of 127.0.0.1, for which `sections` has `{0}`, `{1}` and
    /// so on. It listens on all of them.
    ///
    /// # Errors
    /// When HAProxy is not installed, or does not start: with what it said.
    pub fn start(ports: usize, sections: &str) -> anyhow::Result<HaproxyServer> {
        let ports: Vec<u16> = (0..ports).map(|_| free_port()).collect::<Result<_, _>>()?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("haproxy.cfg");
        let named = ports.iter().enumerate().fold(sections.to_owned(), |text, (index, port)| {
            text.replace(&format!("{{{index}}}"), &port.to_string())
        });
        let own = "global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  \
                   timeout server 20s\n";
        fs::write(&path, format!("{own}{named}\n"))?;
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(path);
        let is_up = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        let is_ready = || ports.iter().all(is_up);
        let server = Server::start(command, &folder.path().join("log"), is_ready)?;
        Ok(HaproxyServer { _server: server, ports, _folder: folder })
    }

    /// The port that stands for `{index}`.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }
}
