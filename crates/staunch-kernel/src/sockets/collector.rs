//! What a query keeps of the sockets that a source offers, and the bound on it.
//!
//! The kernel keeps its place in a table between two reads by counting. When sockets come and
//! go meanwhile the count is off, and the same socket is offered again; on a busy machine
//! `/proc/net/tcp` does so all the time. The collector takes each socket once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::socket::{Protocol, Socket};

/// The conditions of a query, all of which must hold; `None` is no condition.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    /// Bits of [`TcpState::mask`](super::TcpState::mask).
    pub(super) states: u32,
    pub(super) inodes: Option<HashSet<u64>>,
    pub(super) local_ports: Option<HashSet<u16>>,
}

impl Conditions {
    fn admit(&self, socket: &Socket) -> bool {
        let inode = |inodes: &HashSet<u64>| socket.inode.is_some_and(|i| inodes.contains(&i));
        let port = |ports: &HashSet<u16>| {
            socket.local.inet().is_some_and(|local| ports.contains(&local.port()))
        };
        self.states & socket.state.mask() != 0
            && self.inodes.as_ref().is_none_or(inode)
            && self.local_ports.as_ref().is_none_or(port)
    }
}

/// Takes the sockets that a source offers, as far as the conditions and the limit allow.
pub(super) struct Collector<'q> {
    conditions: &'q Conditions,
    limit: usize,
    sockets: Vec<Socket>,
    taken: HashSet<Identity>,
    truncated: bool,
}

impl<'q> Collector<'q> {
    pub(super) fn new(conditions: &'q Conditions, limit: usize) -> Collector<'q> {
        Collector {
            conditions,
            limit,
            sockets: Vec::new(),
            taken: HashSet::new(),
            truncated: false,
        }
    }

    /// Takes the socket if it is wanted and new; breaks if there is no room for it.
    pub(super) fn offer(&mut self, socket: Socket) -> ControlFlow<()> {
        let identity = Identity::of(&socket);
        let known = identity.as_ref().is_some_and(|identity| self.taken.contains(identity));
        if known || !self.conditions.admit(&socket) {
            return ControlFlow::Continue(());
        }
        if self.sockets.len() >= self.limit {
            self.truncated = true;
            return ControlFlow::Break(());
        }
        self.taken.extend(identity);
        self.sockets.push(socket);
        ControlFlow::Continue(())
    }

    /// How many it has taken.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Gives back all but the first `len` that it has taken.
    pub(super) fn rewind(&mut self, len: usize) {
        for identity in self.sockets.drain(len..).filter_map(|socket| Identity::of(&socket)) {
            self.taken.remove(&identity);
        }
    }

    /// The sockets, and whether there were more than the limit.
    pub(super) fn finish(self) -> (Vec<Socket>, bool) {
        (self.sockets, self.truncated)
    }
}

/// What two sightings of one socket have in common, and two sockets have not.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Inode(u64),
    /// Without an inode, as in `TIME_WAIT`, a connection is its pair of addresses.
    Connection(Protocol, SocketAddr, SocketAddr),
}

impl Identity {
    /// `None` for a Unix socket that waits to be accepted: nothing tells it from the next.
    fn of(socket: &Socket) -> Option<Identity> {
        match (socket.inode, socket.local.inet(), socket.remote) {
            (Some(inode), ..) => Some(Identity::Inode(inode)),
            (None, Some(local), Some(remote)) => {
                Some(Identity::Connection(socket.protocol, local, remote))
            }
            (None, ..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse_proc_net_tcp, parse_proc_net_unix};

    const ANY: Conditions = Conditions { states: u32::MAX, inodes: None, local_ports: None };

    /// A connection in TIME_WAIT or ESTABLISHED, without or with an inode.
    fn tcp(remote_port: u16, inode: u64) -> Socket {
        let state = if inode == 0 { "06" } else { "01" };
        let text =
            format!("\n0: 0100007F:0050 0100007F:{remote_port:04X} {state} 0:0 00:0 0 0 0 {inode}");
        parse_proc_net_tcp(text.as_bytes()).unwrap().remove(0)
    }

    fn unaccepted() -> Socket {
        parse_proc_net_unix(b"\n0: 3 0 0 0001 02 0 /run/app.sock").unwrap().remove(0)
    }

    fn check(conditions: &Conditions, limit: usize, offered: &[Socket], expected: (usize, bool)) {
        let mut collector = Collector::new(conditions, limit);
        let _ = offered.iter().try_for_each(|socket| collector.offer(socket.clone()));
        let (sockets, truncated) = collector.finish();
        assert_eq!((sockets.len(), truncated), expected);
    }

    #[test]
    fn each_socket_is_taken_once() {
        check(&ANY, 9, &[tcp(1, 7), tcp(1, 7), tcp(2, 8)], (2, false));
        check(&ANY, 9, &[tcp(1, 0), tcp(1, 0), tcp(2, 0)], (2, false));
        check(&ANY, 9, &[unaccepted(), unaccepted()], (2, false));
    }

    #[test]
    fn the_limit_counts_what_is_wanted_and_new() {
        check(&ANY, 2, &[tcp(1, 7), tcp(2, 8), tcp(1, 7)], (2, false));
        check(&ANY, 2, &[tcp(1, 7), tcp(2, 8), tcp(3, 9)], (2, true));
        let one = Conditions { inodes: Some([8].into()), ..ANY };
        check(&one, 1, &[tcp(1, 7), tcp(2, 8), tcp(3, 0), unaccepted()], (1, false));
    }

    #[test]
    fn all_conditions_must_hold() {
        let offered = [tcp(1, 7), tcp(2, 0), unaccepted()];
        let port = Conditions { local_ports: Some([80].into()), ..ANY };
        check(&port, 9, &offered, (2, false));
        check(&Conditions { local_ports: Some([81].into()), ..ANY }, 9, &offered, (0, false));
        let established = Conditions { states: 1 << 1, ..port };
        check(&established, 9, &offered, (1, false));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut collector = Collector::new(&ANY, 9);
        let _ = [tcp(1, 7), tcp(2, 8)].into_iter().try_for_each(|socket| collector.offer(socket));
        collector.rewind(1);
        let _ = [tcp(1, 7), tcp(2, 8)].into_iter().try_for_each(|socket| collector.offer(socket));
        assert_eq!(collector.len(), 2);
    }
}
