//! An honest client, alone and then beside an attack.
//!
//! The honest one sends a request every two milliseconds on one connection that is kept alive. The attack
//! is bounded in connections and in time, and has a thread of its own. At the end one line of JSON goes
//! to standard output: `quiet_p50_us`, `quiet_p99_us`, `attacked_p50_us`, `attacked_p99_us`.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use socket2::{Domain, Socket, Type};
use staunch_bench::{
    fd_limit,
    latency::{Latencies, Quantiles},
};

const CLIENTS: usize = 1000;
const CONNECTIONS_IN_SEQUENCE: u32 = 100_000;
/// Connections with a flood that an attacker makes one after the other.
const FLOOD_EVERY: Duration = Duration::from_millis(50);
const FRAMES: u32 = 10_000;
const HONEST_EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    server: SocketAddr,
    attack: Attack,
    /// The server that is attacked, if it is another than that of the honest client: then the attack costs
    /// that one no more than what the attackers and who is attacked take of the machine.
    #[arg(long)]
    elsewhere: Option<SocketAddr>,
    /// Seconds for which the honest client is alone, and for which it is not, or longer if the attack is.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Attack {
    /// Heads that come byte by byte.
    Slowloris,
    /// Bodies that come byte by byte.
    SlowBody,
    /// Large answers that nobody reads.
    SlowRead,
    /// HTTP/2 streams without a window, ten connections of 100.
    StalledWindow,
    RapidReset,
    Continuation,
    Ping,
    /// Event streams that nobody reads.
    Events,
    /// Connections one after the other, with a request each.
    Sequence,
    /// Requests given up at every point of their body.
    DroppedBody,
}

static ENOUGH: AtomicBool = AtomicBool::new(false);

fn main() -> anyhow::Result<()> {
    let Args { server, attack, elsewhere, seconds } = Args::parse();
    let attacked_server = elsewhere.unwrap_or(server);
    fd_limit::raise_for(CLIENTS)?;
    let time = Duration::from_secs(seconds);
    let quiet_until = Instant::now() + time;
    let quiet = honest(server, || quiet_until.saturating_duration_since(Instant::now()))?;
    let attacked = std::thread::scope(|threads| {
        let attacker = threads.spawn(move || run(attack, attacked_server));
        let least = Instant::now() + time;
        let attacked = honest(server, || {
            let left = least.saturating_duration_since(Instant::now());
            // What has an end is waited for.
            let goes_on = matches!(attack, Attack::Sequence) && !attacker.is_finished();
            if goes_on { left.max(HONEST_EVERY) } else { left }
        });
        ENOUGH.store(true, Ordering::Relaxed);
        attacker.join().map_err(|_| anyhow::anyhow!("the attacker panicked"))??;
        attacked
    })?;
    println!(
        "{}",
        serde_json::json!({
            "quiet_p50_us": quiet.micros_at(0.5),
            "quiet_p99_us": quiet.micros_at(0.99),
            "attacked_p50_us": attacked.micros_at(0.5),
            "attacked_p99_us": attacked.micros_at(0.99),
        })
    );
    Ok(())
}

/// Requests for `/hello`, as long as there is time `left`.
fn honest(server: SocketAddr, left: impl Fn() -> Duration) -> anyhow::Result<Quantiles> {
    let mut client = connect(server)?;
    let mut latencies = Latencies::with_capacity(100_000);
    let begun = Instant::now();
    for turn in 1.. {
        if left().is_zero() {
            break;
        }
        let sent = Instant::now();
        let answer = ask(&mut client).context("the honest client is not served")?;
        latencies.record(sent.elapsed());
        if answer.contains("connection: close") {
            client = connect(server)?; // it has had as many as a connection may
        }
        std::thread::sleep((begun + HONEST_EVERY * turn).saturating_duration_since(Instant::now()));
    }
    Ok(latencies.sorted())
}

/// The answer to a request for `/hello`.
fn ask(client: &mut TcpStream) -> anyhow::Result<String> {
    client.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut some = [0; 1024];
    while !answer.ends_with(b"\n") || !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = client.read(&mut some)?;
        ensure!(count > 0, "it ends after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&some[..count]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    ensure!(answer.starts_with("http/1.1 200"), "{answer:?}");
    Ok(answer)
}

/// A connection that is closed by a reset, which leaves no `TIME_WAIT` behind.
fn connect(server: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&server.into()).context("cannot connect")?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(TcpStream::from(socket))
}

fn run(attack: Attack, server: SocketAddr) -> anyhow::Result<()> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    let post = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    match attack {
        Attack::Slowloris => crowd(server, CLIENTS, b"GET / HTTP/1.1\r\nX: ", b"x"),
        Attack::SlowBody => crowd(server, CLIENTS, post, b"x"),
        Attack::SlowRead => crowd(server, CLIENTS, &get("/download?bytes=10485760"), b""),
        Attack::Events => crowd(server, CLIENTS, &get("/sse"), b""),
        Attack::StalledWindow => crowd(server, 10, &stalled(), b""),
        Attack::RapidReset => floods(server, &[], |number| {
            let stream = 2 * number + 1;
            let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET), cancel].concat()
        }),
        Attack::Continuation => {
            floods(server, &frame(HEADERS, 0, 1, GET), |_| frame(CONTINUATION, 0, 1, &[]))
        }
        Attack::Ping => floods(server, &[], |_| frame(PING, 0, 0, &[0; 8])),
        Attack::Sequence => in_sequence(server),
        Attack::DroppedBody => dropped_bodies(server),
    }
}

/// Clients that say `first`, and each second `more`, and never read.
fn crowd(server: SocketAddr, clients: usize, first: &[u8], more: &[u8]) -> anyhow::Result<()> {
    let mut crowd = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut client = connect(server)?;
        client.write_all(first)?;
        client.set_nonblocking(true)?;
        crowd.push(client);
    }
    while !ENOUGH.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(1));
        for client in &mut crowd {
            let _ = client.write(more); // it may have been cut, which is as it should be
        }
    }
    Ok(())
}

/// Connections that flood the server with frames, until each is closed.
fn floods(server: SocketAddr, first: &[u8], next: fn(u32) -> Vec<u8>) -> anyhow::Result<()> {
    let flood: Vec<u8> = (0..FRAMES).flat_map(next).collect();
    let mut next_at = Instant::now();
    while !ENOUGH.load(Ordering::Relaxed) {
        let mut client = connect(server)?;
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat())?;
        // Where the server was quicker, there is nothing left to say.
        let survived = client.write_all(&flood).is_ok()
            && client.shutdown(Shutdown::Write).is_ok()
            && !is_closed(&mut client);
        ensure!(!survived, "a flood was not closed");
        next_at += FLOOD_EVERY;
        std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn is_closed(client: &mut TcpStream) -> bool {
    let mut some = [0; 16_384];
    loop {
        match client.read(&mut some) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn in_sequence(server: SocketAddr) -> anyhow::Result<()> {
    for number in 0..CONNECTIONS_IN_SEQUENCE {
        ask(&mut connect(server)?).with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}

fn dropped_bodies(server: SocketAddr) -> anyhow::Result<()> {
    const HEAD: &[u8] = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    let whole = [HEAD, &[b'x'; 1000]].concat();
    for point in (0..whole.len()).cycle() {
        if ENOUGH.load(Ordering::Relaxed) {
            return Ok(());
        }
        connect(server)?.write_all(&whole[..point])?;
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("there are points without end")
}

// HTTP/2 by hand (RFC 9113, 4.1 and 6).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method` GET, `:scheme` http, `:path` /, by HPACK's static table.
const GET: &[u8] = &[0x82, 0x86, 0x84];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A hundred downloads on a connection whose streams have no window.
fn stalled() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u8 = 4;
    const PATH: &[u8] = b"/download?bytes=10485760";
    let settings = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
    // A literal `:path` that is not indexed (RFC 7541, 6.2.2).
    let head = [&[0x82, 0x86, 0x04, PATH.len() as u8], PATH].concat();
    let streams = (0..100).map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head));
    [PREFACE, &settings].into_iter().map(<[u8]>::to_vec).chain(streams).flatten().collect()
}
