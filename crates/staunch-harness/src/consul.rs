//! A stand-in for an agent of Consul, which Debian does not package.
//!
//! It speaks the part of the HTTP API that registries use, by what Consul documents of it
//! (<https://developer.hashicorp.com/consul/api-docs/features/blocking>): an index that grows with each
//! change; a question that names an index is answered when there is a greater one, or after `wait`; a check
//! with a TTL fails when it was not passed within it. What it is not: it has no cluster, no leader and no
//! snapshot, and nothing here proves that Consul itself does what it documents.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// An agent on a port of 127.0.0.1, which ends with the value.
#[derive(Debug)]
pub struct ConsulStandIn {
    address: SocketAddr,
    agent: Arc<Mutex<Agent>>,
}

#[derive(Debug, Default)]
struct Agent {
    index: u64,
    instances: BTreeMap<String, Instance>,
    asked: Vec<String>,
    token: Option<String>,
    /// What is answered instead, whatever is asked.
    instead: Option<String>,
    is_over: bool,
}

#[derive(Debug)]
struct Instance {
    service: String,
    host: String,
    port: u16,
    weight: u64,
    /// Until when its check passes, and for how long when it is passed again.
    passes: Option<(Instant, Duration)>,
    is_passing: bool,
}

/// How often a waiting question looks whether there is something new.
const LOOK: Duration = Duration::from_millis(5);

impl ConsulStandIn {
    /// Starts it.
    ///
    /// # Errors
    /// Those of `bind(2)` and of starting a thread.
    pub fn start() -> anyhow::Result<ConsulStandIn> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let agent = Arc::new(Mutex::new(Agent { index: 10, ..Agent::default() }));
        let serving = Arc::clone(&agent);
        thread::Builder::new().spawn(move || {
            for stream in listener.incoming() {
                if lock(&serving).is_over {
                    return;
                }
                let (agent, Ok(stream)) = (Arc::clone(&serving), stream) else { continue };
                let serve = move || serve(&agent, stream).unwrap_or_default();
                let _one_client_less = thread::Builder::new().spawn(serve);
            }
        })?;
        Ok(ConsulStandIn { address, agent })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it refuses whoever does not send this token.
    pub fn demand(&self, token: &str) {
        lock(&self.agent).token = Some(token.to_owned());
    }

    /// Enters an instance that passes its checks.
    pub fn add(&self, service: &str, id: &str, address: SocketAddr, weight: u64) {
        let (host, port) = (address.ip().to_string(), address.port());
        let service = service.to_owned();
        let instance = Instance { service, host, port, weight, passes: None, is_passing: true };
        lock(&self.agent).enter(id, instance);
    }

    /// Takes an instance out.
    pub fn remove(&self, id: &str) {
        lock(&self.agent).remove(id);
    }

    /// Begins its index anew, as an agent that has lost its data.
    pub fn reset(&self, index: u64) {
        lock(&self.agent).index = index;
    }

    /// Answers everything with this body, until it is `None` again.
    pub fn answer(&self, instead: Option<&str>) {
        let mut agent = lock(&self.agent);
        agent.instead = instead.map(str::to_owned);
        agent.index += 1; // who waits is answered
    }

    /// The instances that there are, passing or not.
    pub fn ids(&self) -> Vec<String> {
        lock(&self.agent).instances.keys().cloned().collect()
    }

    /// The first lines of the questions that it has had.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.agent).asked.clone()
    }
}

impl Drop for ConsulStandIn {
    fn drop(&mut self) {
        lock(&self.agent).is_over = true;
        let _wakes_the_listener = TcpStream::connect(self.address);
    }
}

fn lock(agent: &Mutex<Agent>) -> MutexGuard<'_, Agent> {
    agent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one question after the other.
fn serve(agent: &Mutex<Agent>, stream: TcpStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    loop {
        let (mut first, mut length, mut token) = (String::new(), 0, None);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "x-consul-token" => token = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        lock(agent).asked.push(first.trim_end().to_owned());
        let (status, index, answer) = answer(agent, &first, token.as_deref(), &body);
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", answer.len());
        write!(writer, "{head}X-Consul-Index: {index}\r\n\r\n{answer}")?;
    }
}

fn answer(
    agent: &Mutex<Agent>,
    first: &str,
    token: Option<&str>,
    body: &str,
) -> (u16, u64, String) {
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if let Some(demanded) = lock(agent).token.as_deref()
        && token != Some(demanded)
    {
        return (403, 1, "Permission denied".to_owned());
    }
    if let Some(service) = path.strip_prefix("/v1/health/service/") {
        let of = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name));
        let index = of("index=").and_then(|index| index.parse().ok()).unwrap_or(0);
        let wait = of("wait=").and_then(|wait| wait.trim_end_matches('s').parse().ok());
        return healthy(agent, service, index, Duration::from_secs(wait.unwrap_or(300)));
    }
    let mut agent = lock(agent);
    let status = match path.strip_prefix("/v1/agent/").unwrap_or_default() {
        "service/register" => agent.register(body),
        other => match other.split_once('/').unwrap_or_default() {
            ("check", rest) => agent.pass(rest.strip_prefix("pass/service:").unwrap_or_default()),
            ("service", rest) => agent.remove(rest.strip_prefix("deregister/").unwrap_or_default()),
            _ => 404,
        },
    };
    (status, agent.index, String::new())
}

/// The instances that pass their checks, when the index is greater than this one.
fn healthy(agent: &Mutex<Agent>, service: &str, index: u64, wait: Duration) -> (u16, u64, String) {
    let asked = Instant::now();
    loop {
        let mut now = lock(agent);
        now.expire();
        let is_new = index == 0 || now.index > index || now.index < index;
        if is_new || asked.elapsed() > wait || now.is_over {
            let body = now.instead.clone().unwrap_or_else(|| now.json(service));
            return (200, now.index, body);
        }
        drop(now);
        thread::sleep(LOOK);
    }
}

impl Agent {
    fn enter(&mut self, id: &str, instance: Instance) {
        self.instances.insert(id.to_owned(), instance);
        self.index += 1;
    }

    fn remove(&mut self, id: &str) -> u16 {
        let was_there = self.instances.remove(id).is_some();
        self.index += u64::from(was_there);
        if was_there { 200 } else { 404 }
    }

    fn register(&mut self, body: &str) -> u16 {
        let text = |key: &str| {
            let (_, rest) = body.split_once(&format!("\"{key}\":\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let number = |key: &str| {
            let (_, rest) = body.split_once(&format!("\"{key}\":"))?;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        };
        let read = || {
            let ttl = text("TTL")?.trim_end_matches('s').parse().ok().map(Duration::from_secs)?;
            let instance = Instance {
                service: text("Name")?,
                host: text("Address")?,
                port: u16::try_from(number("Port")?).ok()?,
                weight: number("Passing")?,
                passes: Some((Instant::now() + ttl, ttl)),
                is_passing: text("Status")? == "passing",
            };
            Some((text("ID")?, instance))
        };
        let Some((id, instance)) = read() else { return 400 };
        self.enter(&id, instance);
        200
    }

    fn pass(&mut self, id: &str) -> u16 {
        let Some(instance) = self.instances.get_mut(id) else { return 404 };
        let Some((until, ttl)) = &mut instance.passes else { return 404 };
        *until = Instant::now() + *ttl;
        let is_new = !std::mem::replace(&mut instance.is_passing, true);
        self.index += u64::from(is_new);
        200
    }

    fn expire(&mut self) {
        let now = Instant::now();
        for instance in self.instances.values_mut() {
            let is_late = instance.passes.is_some_and(|(until, _)| until < now);
            if is_late && std::mem::replace(&mut instance.is_passing, false) {
                self.index += 1;
            }
        }
    }

    /// As Consul writes it, with some of what nobody asks for here.
    fn json(&self, service: &str) -> String {
        let passing =
            self.instances.iter().filter(|(_, it)| it.service == service && it.is_passing);
        let entries = passing.map(|(id, it)| {
            let Instance { host, port, weight, .. } = it;
            format!(
                "{{\"Node\":{{\"Node\":\"n\",\"Address\":\"127.0.0.1\",\"Meta\":null}},\
                 \"Service\":{{\"ID\":\"{id}\",\"Service\":\"{service}\",\"Tags\":[],\
                 \"Address\":\"{host}\",\"Port\":{port},\
                 \"Weights\":{{\"Passing\":{weight},\"Warning\":1}}}},\"Checks\":[]}}"
            )
        });
        format!("[{}]", entries.collect::<Vec<_>>().join(","))
    }
}
