//! nginx, as Debian packages it.

use std::{fs, net::TcpStream, path::Path, process::Command};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// An nginx that says `hello` on `/` and serves `/large`, 1 MiB of `x`: on one port HTTP/1.1, on
/// another HTTP/2 without TLS, and on a third what a TLS client prefers, if it has a certificate.
#[derive(Debug)]
pub struct NginxServer {
    /// `None` while it is down.
    server: Option<Server>,
    ports: [u16; 3],
    folder: TempDir,
}

impl NginxServer {
    /// Starts it, with settings of its server such as `keepalive_timeout 1s;`, and a certificate
    /// and key in PEM if it is to speak TLS.
    ///
    /// # Errors
    /// When nginx is not installed, or does not start: with what it said.
    pub fn start(settings: &str, certificate: Option<(&str, &str)>) -> anyhow::Result<NginxServer> {
        let folder = tempfile::tempdir()?;
        let ports = [free_port()?, free_port()?, free_port()?];
        let path = folder.path();
        fs::create_dir(path.join("www"))?;
        fs::write(path.join("www/large"), vec![b'x'; 1 << 20])?;
        if let Some((chain, key)) = certificate {
            fs::write(path.join("chain.pem"), chain)?;
            fs::write(path.join("key.pem"), key)?;
        }
        let configuration = configuration(path, ports, settings, certificate.is_some());
        fs::write(path.join("nginx.conf"), configuration)?;
        let mut server = NginxServer { server: None, ports, folder };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not start: with what it said.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        let is_ready = || TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok();
        self.server = Some(Server::start(command, &folder.join("log"), is_ready)?);
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

    /// The port of 127.0.0.1 where it speaks HTTP/1.1.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Where it speaks HTTP/2, without TLS and without being asked.
    pub fn h2_port(&self) -> u16 {
        self.ports[1]
    }

    /// Where it speaks TLS, and `h2` or `http/1.1`.
    pub fn tls_port(&self) -> u16 {
        self.ports[2]
    }
}

/// One process, so that its pid is all there is to end.
fn configuration(folder: &Path, ports: [u16; 3], settings: &str, tls: bool) -> String {
    let [http, h2, https] = ports;
    let folder = folder.display();
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {folder}/{what};"))
        .join(" ");
    let tls = if tls {
        format!(
            "listen 127.0.0.1:{https} ssl http2; ssl_certificate {folder}/chain.pem; \
             ssl_certificate_key {folder}/key.pem;"
        )
    } else {
        String::new()
    };
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr; {user}
         events {{ worker_connections 1024; }}
         http {{
             access_log off; default_type text/plain; {temporary}
             server {{
                 listen 127.0.0.1:{http}; listen 127.0.0.1:{h2} http2; {tls}
                 {settings}
                 location = / {{ return 200 hello; }}
                 location = /large {{ root {folder}/www; }}
             }}
         }}"
    )
}
