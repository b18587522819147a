//! Load for a line echo server: connections that each send a line, wait for its answer, and send
//! the next.
//!
//! One thread waits on epoll for all connections. The sockets stay blocking: a read follows a
//! readiness event, and a line of 32 bytes always fits the send buffer of a peer that answers.
//! Each answer is compared with the one expected, byte by byte. At the end one line of JSON goes
//! to standard output: `requests`, `seconds`, `requests_per_second`, `p50_us`, `p99_us`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use staunch_bench::fd_limit;
use staunch_bench::latency::Latencies;

/// A server that answers nobody for this long is taken for dead.
const SILENCE_MAX: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

#[derive(Parser)]
struct Args {
    /// The server's address.
    server: SocketAddr,
    /// Connections held open at the same time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests over all connections after which to stop.
    #[arg(long, default_value_t = 200_000)]
    requests: usize,
    /// Seconds after which to stop even if requests are left.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fd_limit::raise_for(args.connections)?;
    let mut clients = connect(args.server, args.connections)?;
    let start = Instant::now();
    let latencies = converse(&mut clients, args.requests, Duration::from_secs(args.seconds))?;
    print_summary(latencies, start.elapsed());
    Ok(())
}

fn connect(server: SocketAddr, connections: usize) -> anyhow::Result<Vec<Client>> {
    (0..connections)
        .map(|number| Client::connect(server, number))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot connect to {server}"))
}

/// Keeps one request in flight on each connection until `requests` are answered or `time` is over.
fn converse(clients: &mut [Client], requests: usize, time: Duration) -> anyhow::Result<Latencies> {
    let poll = watch(clients)?;
    let mut events = Vec::with_capacity(clients.len());
    let mut latencies = Latencies::with_capacity(requests);
    let end = Instant::now() + time;
    let mut asked = 0;
    for client in clients.iter_mut().take(requests) {
        client.ask(Instant::now())?;
        asked += 1;
    }
    while latencies.count() < asked {
        epoll::wait(&poll, spare_capacity(&mut events), Some(&SILENCE_MAX))?;
        ensure!(!events.is_empty(), "no answer within {} s", SILENCE_MAX.tv_sec);
        for event in events.drain(..) {
            let client = &mut clients[event.data.u64() as usize];
            if !client.hear()? {
                continue;
            }
            let now = Instant::now();
            latencies.record(now - client.asked);
            if asked < requests && now < end {
                client.ask(now)?;
                asked += 1;
            }
        }
    }
    Ok(latencies)
}

fn watch(clients: &[Client]) -> anyhow::Result<OwnedFd> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, client) in clients.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &client.stream, data, epoll::EventFlags::IN)?;
    }
    Ok(poll)
}

fn print_summary(latencies: Latencies, elapsed: Duration) {
    let requests = latencies.count();
    let quantiles = latencies.sorted();
    let summary = serde_json::json!({
        "requests": requests,
        "seconds": elapsed.as_secs_f64(),
        "requests_per_second": requests as f64 / elapsed.as_secs_f64(),
        "p50_us": quantiles.micros_at(0.50),
        "p99_us": quantiles.micros_at(0.99),
    });
    println!("{summary}");
}

/// One connection with at most one request in flight.
struct Client {
    stream: TcpStream,
    number: usize,
    requests: u64,
    /// The whole answer expected; the request is what follows [`PREFIX`].
    expected: Vec<u8>,
    /// How much of the answer has come.
    heard: usize,
    asked: Instant,
}

const PREFIX: &[u8] = b"Echo: ";

impl Client {
    fn connect(server: SocketAddr, number: usize) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let expected = Vec::with_capacity(64);
        Ok(Self { stream, number, requests: 0, expected, heard: 0, asked: Instant::now() })
    }

    /// Sends the next line, a different one each time: 32 bytes with its line feed.
    fn ask(&mut self, now: Instant) -> std::io::Result<()> {
        self.requests += 1;
        self.heard = 0;
        self.asked = now;
        self.expected.clear();
        self.expected.extend_from_slice(PREFIX);
        writeln!(self.expected, "client {:06} line {:012}", self.number, self.requests)?;
        self.stream.write_all(&self.expected[PREFIX.len()..])
    }

    /// Reads once; true when the answer is complete.
    fn hear(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; 64];
        let count = self.stream.read(&mut buffer).context("the server cut a connection")?;
        if count == 0 {
            bail!("the server closed connection {} before it answered", self.number);
        }
        let rest = &self.expected[self.heard..];
        if !rest.starts_with(&buffer[..count]) {
            bail!(
                "wrong answer on connection {}: {:?} where {:?} was due",
                self.number,
                String::from_utf8_lossy(&buffer[..count]),
                String::from_utf8_lossy(rest),
            );
        }
        self.heard += count;
        Ok(self.heard == self.expected.len())
    }
}
