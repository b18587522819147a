//! etcd, as Debian packages it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// A cluster of one, which keeps its data while it is down.
#[derive(Debug)]
pub struct EtcdServer {
    /// `None` while it is down.
    server: Option<Server>,
    ports: [u16; 2],
    folder: TempDir,
}

impl EtcdServer {
    /// Starts it.
    ///
    /// # Errors
    /// When etcd is not installed, or does not start: with what it said.
    pub fn start() -> anyhow::Result<EtcdServer> {
        let ports = [free_port()?, free_port()?];
        let mut server = EtcdServer { server: None, ports, folder: tempfile::tempdir()? };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not start: with what it said.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let [clients, peers] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.folder.path().join("data"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        // An election takes a tenth of what it takes otherwise.
        command.args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
        let is_ready =
            || self.call("/v3/maintenance/status", "{}").is_ok_and(|it| it.contains("leader"));
        let server = Server::start(command, &self.folder.path().join("log"), is_ready)?;
        self.server = Some(server);
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

    /// Where its clients connect.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// What it answers to this JSON, on this path of its gateway.
    ///
    /// # Errors
    /// When it does not answer, or refuses: with what it said.
    pub fn call(&self, path: &str, json: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0]))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // Of HTTP/1.0 the answer ends with its connection.
        write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{json}", json.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if !head.contains(" 200 ") {
            bail!("{path}: {answer}");
        }
        Ok(body.to_owned())
    }

    /// Puts a value.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn put(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let [key, value] = [key, value].map(base64);
        self.call("/v3/kv/put", &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}")).map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn delete(&self, key: &str) -> anyhow::Result<()> {
        self.call("/v3/kv/deleterange", &format!("{{\"key\":\"{}\"}}", base64(key))).map(drop)
    }

    /// Its revision.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn revision(&self) -> anyhow::Result<i64> {
        let answer = self.call("/v3/kv/range", &format!("{{\"key\":\"{}\"}}", base64("a")))?;
        let (_, rest) = answer.split_once("\"revision\":\"").context("no revision")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }

    /// Forgets all changes before now.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn compact(&self) -> anyhow::Result<()> {
        let revision = self.revision()?;
        let compact = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        self.call("/v3/kv/compaction", &compact).map(drop)
    }
}

/// As RFC 4648 says.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        let digit = |at: usize| DIGITS[(bits >> (18 - 6 * at)) as usize & 63] as char;
        (0..4).map(|at| if at > three.len() { '=' } else { digit(at) }).collect::<String>()
    };
    text.as_bytes().chunks(3).map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn keys_are_written_in_base64() {
        // RFC 4648, section 10.
        for (text, expected) in
            [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text), expected);
        }
    }
}
