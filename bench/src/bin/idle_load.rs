//! Holds idle connections to a line echo server.
//!
//! Opens them one after the other, sends one line on each and checks its answer, so that every
//! connection has been in use once. Then it prints `ready` and holds them until standard input
//! ends. They are closed by a reset, which leaves no `TIME_WAIT` behind: the next round finds all
//! ports free.

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
}

fn main() -> anyhow::Result<()> {
    let Args { server, connections } = Args::parse();
    fd_limit::raise_for(connections)?;
    let held = (0..connections)
        .map(|number| open(server, number).with_context(|| format!("connection {number}")))
        .collect::<anyhow::Result<Vec<TcpStream>>>()?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

/// A connection that has been answered once.
fn open(server: SocketAddrV4, number: usize) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((source(number), 0)).into())?;
    socket.connect(&SocketAddr::V4(server).into())?;
    socket.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(REQUEST)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer == ANSWER, "wrong answer {:?}", String::from_utf8_lossy(&answer));
    Ok(stream)
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
