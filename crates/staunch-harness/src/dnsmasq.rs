//! dnsmasq, as Debian packages it: a name server.

use std::{fs, net::UdpSocket, path::PathBuf, process::Command};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// A name server for names below `test`, on a port of 127.0.0.1.
#[derive(Debug)]
pub struct DnsmasqServer {
    server: Server,
    port: u16,
    folder: TempDir,
}

impl DnsmasqServer {
    /// Starts it with these hosts, lines such as `10.0.0.7 shop.test`; their records are good for `ttl`
    /// seconds. `options` are its own, such as `--srv-host=_http._tcp.shop.test,a.shop.test,80,0,1`.
    ///
    /// # Errors
    /// When dnsmasq is not installed, or does not start: with what it said.
    pub fn start(hosts: &str, ttl: u32, options: &[&str]) -> anyhow::Result<DnsmasqServer> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        fs::write(hosts_in(&folder), hosts)?;
        let mut command = Command::new("dnsmasq");
        // Without files, daemon or user of its own.
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user="]);
        command.args(["--no-resolv", "--no-hosts", "--local=/test/", "--log-queries"]);
        command.args(["--log-facility=-", "--bind-interfaces", "--listen-address=127.0.0.1"]);
        command.arg(format!("--port={port}")).arg(format!("--local-ttl={ttl}"));
        command.arg(format!("--addn-hosts={}", hosts_in(&folder).display())).args(options);
        let is_ready = || answers(port).is_ok();
        let server = Server::start(command, &folder.path().join("log"), is_ready)?;
        Ok(DnsmasqServer { server, port, folder })
    }

    /// Has it know other hosts.
    ///
    /// # Errors
    /// Those of writing a file, and of `kill(2)`.
    pub fn change(&self, hosts: &str) -> anyhow::Result<()> {
        fs::write(hosts_in(&self.folder), hosts)?;
        Ok(self.server.signal(Signal::HUP)?)
    }

    /// The port of 127.0.0.1 where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it was asked for this name, as its log says.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn asked(&self, name: &str) -> anyhow::Result<usize> {
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        let is_asked =
            |line: &&str| line.contains(": query[") && line.contains(&format!(" {name} "));
        Ok(log.lines().filter(is_asked).count())
    }
}

fn hosts_in(folder: &TempDir) -> PathBuf {
    folder.path().join("hosts")
}

/// Asks for the root, of which it answers that it knows nothing.
fn answers(port: u16) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(std::time::Duration::from_millis(200)))?;
    // A header with one question: the root's name servers (RFC 1035, 4.1).
    socket.send(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])?;
    socket.recv(&mut [0; 512]).map(drop)
}
