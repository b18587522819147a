//! Holds idle connections to a line echo server, or an HTTP server.
//!
//! Opens them one after the other, sends one line or request on each and checks its answer, so that
//! every connection has been in use once. Then it prints `ready` and holds them until standard
//! input ends. They are closed by a reset, which leaves no `TIME_WAIT` behind: the next round finds
//! all ports free.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use socket2::{Domain, Socket, Type};
use staunch_bench::fd_limit;

/// Connections from one source address: below the 28,232 ports the kernel hands out by default.
const PER_SOURCE: usize = 25_000;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"are you there?\r\n";
const ANSWER: &[u8] = b"Echo: are you there?\n";

#[derive(Parser)]
struct Args {
    /// The server's address on the loopback interface.
    server: SocketAddrV4,
    /// Connections to hold.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// It speaks HTTP.
    #[arg(long)]
    http: bool,
    /// What is asked for over HTTP.
    #[arg(long, default_value = "/")]
    path: String,
}

fn main() -> anyhow::Result<()> {
    let Args { server, connections, http, path } = Args::parse();
    fd_limit::raise_for(connections)?;
    let path = http.then_some(path.as_str());
    let held = (0..connections)
        .map(|number| open(server, number, path).with_context(|| format!("connection {number}")))
        .collect::<anyhow::Result<Vec<TcpStream>>>()?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

/// A connection that has been answered once.
fn open(server: SocketAddrV4, number: usize, path: Option<&str>) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((source(number), 0)).into())?;
    socket.connect(&SocketAddr::V4(server).into())?;
    socket.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let mut stream = TcpStream::from(socket);
    if let Some(path) = path {
        ask(&mut stream, path).context("no answer")?;
        return Ok(stream);
    }
    stream.write_all(REQUEST)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer == ANSWER, "wrong answer {:?}", String::from_utf8_lossy(&answer));
    Ok(stream)
}

/// Asks for `path`, and reads all of the answer.
fn ask(stream: &mut TcpStream, path: &str) -> anyhow::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes)?;
        ensure!(count > 0, "it ends after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..count]);
    }
    Ok(())
}

/// Whether an answer that says how long it is has come.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    head.starts_with("http/1.1 200") && length.is_some_and(|length: usize| body.len() >= length)
}

/// Source addresses are used up one after the other: 127.0.0.1, 127.0.0.2, ...
fn source(number: usize) -> Ipv4Addr {
    let offset = (number / PER_SOURCE) as u32;
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_follow_each_other() {
        assert_eq!(source(0), Ipv4Addr::LOCALHOST);
        assert_eq!(source(PER_SOURCE - 1), Ipv4Addr::LOCALHOST);
        assert_eq!(source(PER_SOURCE), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(300 * PER_SOURCE), Ipv4Addr::new(127, 0, 1, 45));
    }
}
