//! TCP and UDP in sock_diag (`linux/inet_diag.h`).
//!
//! ```text
//! struct inet_diag_sockid { be16 sport, dport; be32 src[4], dst[4]; u32 if; u32 cookie[2]; }
//!
//! struct inet_diag_req_v2 { u8 family, protocol, ext, pad; u32 states; sockid; }
//!
//! struct inet_diag_msg { u8 family, state, timer, retrans; sockid;
//!                        u32 expires, rqueue, wqueue, uid, inode; }
//! ```
//!
//! An IPv4 address is the first of the four words. Times are in milliseconds. The attributes that
//! follow a message are not needed here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::wire::{self, DumpReply, MalformedDump, Reader};
use crate::sockets::socket::{Address, Protocol, Queue, Socket, TcpState, Timer, TimerKind};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const SOCKID_BYTES: usize = 48;

/// Asks for the sockets of one protocol and family in the states of the mask.
pub(super) fn request(ipv6: bool, protocol: Protocol, states: u32) -> Vec<u8> {
    let family = if ipv6 { AF_INET6 } else { AF_INET };
    let protocol = if protocol == Protocol::Udp { IPPROTO_UDP } else { IPPROTO_TCP };
    let mut payload = vec![family, protocol, 0, 0];
    payload.extend(states.to_ne_bytes());
    // Which socket: any.
    payload.extend([0; SOCKID_BYTES]);
    wire::request(&payload)
}

/// Reads a datagram of a TCP or UDP dump. Messages do not say their protocol; it is that of the
/// request.
///
/// # Errors
///
/// [`MalformedDump`], if a message is cut off, of an unknown family or in an unknown state.
pub fn parse_inet_diag(protocol: Protocol, datagram: &[u8]) -> Result<DumpReply, MalformedDump> {
    wire::parse(datagram, |payload| socket(protocol, payload))
}

/// The fixed part of a message, as it is on the wire.
struct InetDiagMsg {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    ports: (u16, u16),
    addresses: ([u8; 16], [u8; 16]),
    expires_ms: u32,
    recv_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

impl InetDiagMsg {
    fn read(payload: &[u8]) -> Option<InetDiagMsg> {
        let mut reader = Reader(payload);
        let [family, state, timer, retransmits] = reader.array()?;
        let ports = (reader.u16_be()?, reader.u16_be()?);
        let addresses = (reader.array()?, reader.array()?);
        let _interface = reader.u32()?;
        let _cookie: [u8; 8] = reader.array()?;
        Some(InetDiagMsg {
            family,
            state,
            timer,
            retransmits,
            ports,
            addresses,
            expires_ms: reader.u32()?,
            recv_queue: reader.u32()?,
            send_queue: reader.u32()?,
            uid: reader.u32()?,
            inode: reader.u32()?,
        })
    }

    fn ip(&self, words: [u8; 16]) -> Result<IpAddr, &'static str> {
        let [a, b, c, d, ..] = words;
        match self.family {
            AF_INET => Ok(IpAddr::from([a, b, c, d])),
            AF_INET6 => Ok(IpAddr::from(words)),
            _ => Err("a socket of an unknown family"),
        }
    }
}

fn socket(protocol: Protocol, payload: &[u8]) -> Result<Socket, &'static str> {
    let msg = InetDiagMsg::read(payload).ok_or("half a socket")?;
    let state = TcpState::from_kernel(msg.state).ok_or("a socket in an unknown state")?;
    let local = SocketAddr::new(msg.ip(msg.addresses.0)?, msg.ports.0);
    let remote = SocketAddr::new(msg.ip(msg.addresses.1)?, msg.ports.1);
    let expires = Duration::from_millis(u64::from(msg.expires_ms));
    let queue = match state {
        TcpState::Listen => Queue::Accept { waiting: msg.recv_queue, limit: Some(msg.send_queue) },
        _ => Queue::Data { recv_bytes: msg.recv_queue, send_bytes: msg.send_queue },
    };
    Ok(Socket {
        protocol,
        local: Address::Inet(local),
        remote: Some(remote).filter(|remote| remote.port() != 0),
        state,
        inode: Some(u64::from(msg.inode)).filter(|inode| *inode != 0),
        queue,
        uid: Some(msg.uid),
        timer: TimerKind::from_kernel(msg.timer).map(|kind| Timer { kind, expires }),
        retransmits: u32::from(msg.retransmits),
        peer_inode: None,
    })
}

#[cfg(test)]
mod tests;
