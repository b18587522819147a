//! The lines of `/proc/net/{tcp,tcp6,udp,udp6}`.
//!
//! ```text
//!   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
//!   3: 0100007F:D43B 0100007F:A0EC 08 00000000:00000004 00:00000000 00000000     0        0 8448
//! ```
//!
//! Numbers are hexadecimal up to `retrnsmt` and decimal from `uid` on. An address is printed as
//! 32-bit words in the machine's byte order, although its bytes are in network order: on a
//! little-endian machine 127.0.0.1 reads `0100007F`, and an IPv6 address is four such words. The
//! port is an ordinary number. (`get_tcp4_sock` in `net/ipv4/tcp_ipv4.c`, `get_tcp6_sock` in
//! `net/ipv6/tcp_ipv6.c`.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

use super::{LineParser, NotALine};
use crate::process::ticks_to_duration;
use crate::sockets::socket::{Address, Protocol, Queue, Socket, TcpState, Timer, TimerKind};

/// Reads a TCP or UDP table.
pub(super) struct InetTable {
    protocol: Protocol,
    header_seen: bool,
}

impl InetTable {
    pub(super) fn new(protocol: Protocol) -> InetTable {
        InetTable { protocol, header_seen: false }
    }
}

impl LineParser for InetTable {
    fn line(&mut self, line: &[u8]) -> Result<Option<Socket>, NotALine> {
        if !self.header_seen {
            self.header_seen = true;
            return Ok(None);
        }
        let text = str::from_utf8(line).map_err(|_| NotALine)?;
        socket(self.protocol, text).map(Some).ok_or(NotALine)
    }

    fn finish(self) -> Option<Socket> {
        None
    }
}

fn socket(protocol: Protocol, line: &str) -> Option<Socket> {
    let mut columns = line.split_ascii_whitespace();
    let mut next = || columns.next();
    let _slot = next()?.strip_suffix(':')?;
    let local = address(next()?)?;
    let remote = address(next()?)?;
    let state = TcpState::from_kernel(u8::from_str_radix(next()?, 16).ok()?)?;
    let (send, recv) = hex_pair(next()?)?;
    let (timer, expires) = hex_pair(next()?)?;
    let retransmits = hex(next()?)?;
    let uid = next()?.parse().ok()?;
    let _timeout = next()?;
    let inode = next()?.parse().ok()?;
    let timer = TimerKind::from_kernel(u8::try_from(timer).ok()?)
        .map(|kind| Timer { kind, expires: ticks_to_duration(expires) });
    Some(Socket {
        protocol,
        local: Address::Inet(local),
        remote: Some(remote).filter(|remote| remote.port() != 0),
        state,
        inode: Some(inode).filter(|inode| *inode != 0),
        queue: queue(state, recv, send)?,
        uid: Some(uid),
        timer,
        retransmits: u32::try_from(retransmits).ok()?,
        peer_inode: None,
    })
}

/// For a listener the table counts the connections that wait in place of bytes, and does not
/// say how many may.
fn queue(state: TcpState, recv: u64, send: u64) -> Option<Queue> {
    let recv = u32::try_from(recv).ok()?;
    let send_bytes = u32::try_from(send).ok()?;
    Some(match state {
        TcpState::Listen => Queue::Accept { waiting: recv, limit: None },
        _ => Queue::Data { recv_bytes: recv, send_bytes },
    })
}

fn address(column: &str) -> Option<SocketAddr> {
    let (ip, port) = column.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(ip)?)),
        32 => IpAddr::V6(ipv6(ip)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let mut octets = [0; 16];
    for (index, bytes) in octets.chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&word(text.get(index * 8..index * 8 + 8)?)?);
    }
    Some(Ipv6Addr::from(octets))
}

/// Undoes the printing of four bytes of an address as one word.
fn word(text: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn hex_pair(column: &str) -> Option<(u64, u64)> {
    let (left, right) = column.split_once(':')?;
    Some((hex(left)?, hex(right)?))
}

#[cfg(test)]
mod tests;
