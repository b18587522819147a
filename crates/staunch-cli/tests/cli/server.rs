//! `staunch run` with a configuration, on free ports, ready.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    PATIENCE,
    client::Client,
    eventually,
    process::{Ended, Process, folder},
};

/// Before each test's own configuration.
const COMMON: &str = r#"
[admin]
listen = "127.0.0.1:0"
[patrol]
every = "1h" # a look has tasks of its own
[log]
format = "json"
"#;

pub(crate) struct Server {
    process: Process,
    /// Where each listener listens, by name.
    endpoints: BTreeMap<String, String>,
}

/// An answer of the admin endpoint, with its connection, which is still open.
pub(crate) struct Answer {
    connection: TcpStream,
    pub(crate) body: Value,
}

impl Answer {
    /// The address that the server sees as its peer.
    pub(crate) fn asker(&self) -> String {
        self.connection.local_addr().unwrap().to_string()
    }
}

impl Server {
    /// Starts it and waits until it is ready. Addresses in `config` have port 0.
    pub(crate) fn start(config: &str) -> Server {
        Server::start_with(&[], config)
    }

    /// The same, with these files beside the configuration.
    pub(crate) fn start_with(files: &[(&str, &str)], config: &str) -> Server {
        let config = format!("{COMMON}{config}");
        let folder = folder(&[files, &[("staunch.toml", &config)]].concat());
        Server::ready(Process::start(folder, &["run", "--config", "staunch.toml"]))
    }

    /// The same, with so few file descriptors at the most.
    pub(crate) fn start_with_files(files: usize, config: &str) -> Server {
        let folder = folder(&[("staunch.toml", &format!("{COMMON}{config}"))]);
        let arguments = ["run", "--config", "staunch.toml"];
        Server::ready(Process::start_with_files(files, folder, &arguments))
    }

    /// The same, with nobody who reads its standard output.
    pub(crate) fn start_unread(config: &str) -> Server {
        let folder = folder(&[("staunch.toml", &format!("{COMMON}{config}"))]);
        Server::ready(Process::start_unread(folder, &["run", "--config", "staunch.toml"]))
    }

    /// The admin listener is the last to say where it listens.
    fn ready(mut process: Process) -> Server {
        let endpoints = eventually("it listens", || {
            let endpoints = listening(&process.stderr());
            let ended = process.exited();
            assert!(ended.is_none(), "{ended:?}: {}", process.stderr());
            if endpoints.contains_key("admin") { Ok(endpoints) } else { Err(process.stderr()) }
        });
        let server = Server { process, endpoints };
        eventually("it is ready", || match server.get("/readyz").0 {
            200 => Ok(()),
            status => Err(format!("/readyz answers {status}")),
        });
        server
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Where the listener of this name listens.
    pub(crate) fn tcp(&self, name: &str) -> SocketAddr {
        self.endpoints[name].parse().unwrap()
    }

    /// A new client of the listener `echo`.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.tcp("echo"))
    }

    /// What a page of the admin endpoint shows.
    pub(crate) fn admin_json(&self, path: &str) -> Answer {
        let (status, body, connection) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        let body = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        Answer { connection, body }
    }

    /// Asks the admin endpoint for a page.
    pub(crate) fn get(&self, path: &str) -> (u16, String, TcpStream) {
        get(self.tcp("admin"), path)
    }

    /// How often the server observed what this rule names. Waits until it has, since it tells
    /// after it has acted.
    pub(crate) fn observed(&self, rule: &str) -> u64 {
        eventually(&format!("`{rule}` was observed"), || {
            let ledger = self.admin_json("/debug/ledger?limit=1").body;
            let observed = &ledger["observations"]["counts"];
            observed[rule].as_u64().ok_or_else(|| observed.to_string())
        })
    }

    /// How many connections are in this state.
    pub(crate) fn connections(&self, state: &str) -> u64 {
        let path = format!("/debug/ledger?kind=connection&limit=1&state={state}");
        let ledger = self.admin_json(&path).body;
        ledger["totals"]["matching"].as_u64().unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn ended(self) -> Ended {
        self.process.ended()
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn terminate(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.ended()
    }
}

/// Asks for a page and reads the whole answer; the connection stays open.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String, TcpStream) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

/// Sends a request and reads the whole answer; the connection stays open.
pub(crate) fn request(address: SocketAddr, request: &str) -> (u16, String, TcpStream) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut connection);
    let mut body = vec![0; content_length(&head)];
    connection.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {head}"));
    (status, String::from_utf8(body).unwrap(), connection)
}

fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn content_length(head: &str) -> usize {
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).unwrap_or_else(|| panic!("no length: {head}"))
}

/// Where the log says that it listens, by listener.
fn listening(log: &str) -> BTreeMap<String, String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = lines.map(|mut line| line["fields"].take());
    let listening = fields.filter(|fields| fields["message"] == "listening");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listening.map(|fields| (text(&fields["listener"]), text(&fields["endpoint"]))).collect()
}
