//! Clients that download and read slowly.
//!
//! Each asks for `/download?bytes=N` on a connection of its own and then reads a few bytes ten times a
//! second. After the time given it prints one line of JSON, `{"read":..,"starved":..}`: bytes read by all,
//! and how often one found nothing to read. Then the clients hold still until standard input ends, and
//! are closed by a reset.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use socket2::{Domain, Socket, Type};
use staunch_bench::fd_limit;

/// Reads a second of each client.
const READS: usize = 10;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Args {
    server: SocketAddr,
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Bytes that each asks for.
    #[arg(long, default_value_t = 10 << 20)]
    bytes: u64,
    /// Bytes a second that each reads.
    #[arg(long, default_value_t = 1024)]
    rate: usize,
    /// Seconds for which they read.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fd_limit::raise_for(args.clients)?;
    let mut clients = (0..args.clients)
        .map(|number| begin(&args).with_context(|| format!("client {number}")))
        .collect::<anyhow::Result<Vec<TcpStream>>>()?;
    let (read, starved) = read_slowly(&args, &mut clients)?;
    println!("{}", serde_json::json!({ "read": read, "starved": starved }));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A client whose answer has begun.
fn begin(args: &Args) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(args.server), Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&args.server.into())?;
    socket.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let mut client = TcpStream::from(socket);
    write!(client, "GET /download?bytes={} HTTP/1.1\r\nHost: localhost\r\n\r\n", args.bytes)?;
    let mut status = [0; 12];
    client.read_exact(&mut status).context("no answer")?;
    let said = String::from_utf8_lossy(&status);
    ensure!(said == "HTTP/1.1 200", "it is refused: {said:?}");
    client.set_nonblocking(true)?;
    Ok(client)
}

fn read_slowly(args: &Args, clients: &mut [TcpStream]) -> anyhow::Result<(usize, usize)> {
    let mut some = vec![0; (args.rate / READS).max(1)];
    let (mut read, mut starved) = (0, 0);
    let begun = Instant::now();
    for turn in 1..=args.seconds * READS as u64 {
        for client in &mut *clients {
            match client.read(&mut some) {
                Ok(0) => anyhow::bail!("an answer ended early"),
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => starved += 1,
                Err(error) => return Err(error).context("an answer broke off"),
            }
        }
        let next = begun + Duration::from_millis(turn * 1000 / READS as u64);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok((read, starved))
}
