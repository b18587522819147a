//! Sockets from `sock_diag(7)`, the kernel's netlink interface for them.
//!
//! A *dump* is one request and a series of datagrams, each of many messages, one a socket; the
//! last message says that the dump is complete, or why it is not. Each dump has its own netlink
//! socket, connected to the kernel: so nobody else can send to it (`netlink(7)`), every message
//! on it belongs to this dump, and what is left of a dump that we leave early goes with it.
//!
//! `wire` splits datagrams into messages, `inet` and `unix` write the requests and read the
//! messages of their families; all three are pure.

mod inet;
mod unix;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, recv, send,
    socket_with,
};

use super::collector::Collector;
use super::socket::Protocol;
use super::table::Table;

pub use self::inet::parse_inet_diag;
pub use self::unix::parse_unix_diag;
pub use self::wire::{DumpEnd, DumpReply, MalformedDump};

/// The kernel caps the datagrams of a dump at 32 KiB (`netlink_recvmsg`, `netlink_dump`).
const DATAGRAM_BYTES_MAX: usize = 32 * 1024;

/// How often a dump is tried while the kernel says that its table has changed under it. A table
/// that does not hold still for three will not for a fourth.
const ATTEMPTS_MAX: u32 = 3;

/// The kernel answers while we ask, so that no wait is due at all. The limit is for sandboxes
/// that accept the question and never answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A dump of sockets that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SockDiagError {
    /// The netlink socket could not be made: a sandbox forbids it, or no fd is left.
    #[error("cannot open a NETLINK_SOCK_DIAG socket: allow AF_NETLINK, or read /proc/net instead")]
    Open(#[source] io::Error),

    /// Sending the request or receiving the answer failed.
    #[error("sock_diag dump of {table} failed")]
    Exchange {
        /// The table asked for, such as `tcp6`.
        table: &'static str,
        /// The operating system's error.
        source: io::Error,
    },

    /// The kernel refused. `ENOENT` says that it was built without sock_diag for this protocol.
    #[error("the kernel refused a sock_diag dump of {table}: read /proc/net instead")]
    Refused {
        /// The table asked for.
        table: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },

    /// The answer was not understood.
    #[error(
        "the sock_diag dump of {table} is not as sock_diag(7) describes it: read /proc/net instead"
    )]
    Malformed {
        /// The table asked for.
        table: &'static str,
        /// What was wrong with it.
        source: MalformedDump,
    },

    /// sock_diag answers for the caller's own network namespace only.
    #[error(
        "process {pid} is in another network namespace, or hides its own: \
         read /proc/{pid}/net instead"
    )]
    OtherNamespace {
        /// The process asked about.
        pid: u32,
    },
}

/// How a dump went that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dumped {
    /// All of the table was offered.
    Whole,
    /// All of the table was offered, but it changed during each of the attempts: sockets may be
    /// missing.
    Interrupted,
    /// The collector was full.
    Full,
}

/// Offers the sockets of `table` that are in one of the states of the mask.
pub(super) fn read(
    table: Table,
    states: u32,
    collector: &mut Collector<'_>,
) -> Result<Dumped, SockDiagError> {
    until_uninterrupted(collector, |collector| dump(table, states, collector))
}

/// Repeats an interrupted dump, within bounds. What an interrupted one has offered is taken
/// back, but for the last.
fn until_uninterrupted(
    collector: &mut Collector<'_>,
    mut dump: impl FnMut(&mut Collector<'_>) -> Result<Dumped, SockDiagError>,
) -> Result<Dumped, SockDiagError> {
    let start = collector.len();
    for _ in 1..ATTEMPTS_MAX {
        match dump(collector)? {
            Dumped::Interrupted => collector.rewind(start),
            done => return Ok(done),
        }
    }
    dump(collector)
}

fn dump(table: Table, states: u32, collector: &mut Collector<'_>) -> Result<Dumped, SockDiagError> {
    let exchange =
        |errno: Errno| SockDiagError::Exchange { table: table.file_name(), source: errno.into() };
    let kernel = open().map_err(|errno| SockDiagError::Open(errno.into()))?;
    let request = request(table, states);
    retry_on_intr(|| send(&kernel, &request, SendFlags::empty())).map_err(exchange)?;
    gather(table, collector, |buffer| receive(&kernel, buffer).map_err(exchange))
}

/// Offers the sockets of all datagrams up to the end of the dump. `receive` puts the next
/// datagram into the buffer and says how long it is.
fn gather(
    table: Table,
    collector: &mut Collector<'_>,
    mut receive: impl FnMut(&mut [u8]) -> Result<usize, SockDiagError>,
) -> Result<Dumped, SockDiagError> {
    let name = table.file_name();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut interrupted = false;
    loop {
        let length = receive(&mut buffer)?;
        let reply = parse(table, &buffer[..length])
            .map_err(|source| SockDiagError::Malformed { table: name, source })?;
        interrupted |= reply.interrupted;
        for socket in reply.sockets {
            if collector.offer(socket).is_break() {
                return Ok(Dumped::Full);
            }
        }
        match reply.end {
            None => {}
            Some(DumpEnd::Complete) if interrupted => return Ok(Dumped::Interrupted),
            Some(DumpEnd::Complete) => return Ok(Dumped::Whole),
            Some(DumpEnd::Failed { errno }) => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(SockDiagError::Refused { table: name, source });
            }
        }
    }
}

/// The netlink address of the kernel.
const KERNEL: u32 = 0;

fn open() -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    connect(&socket, &netlink::SocketAddrNetlink::new(KERNEL, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

/// Receives one datagram; one that does not fit is an error, not cut off.
fn receive(kernel: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // With TRUNC the length is that of the datagram, even if it did not fit.
    let (_, length) = retry_on_intr(|| recv(kernel, &mut *buffer, RecvFlags::TRUNC))?;
    if length <= buffer.len() { Ok(length) } else { Err(Errno::MSGSIZE) }
}

fn request(table: Table, states: u32) -> Vec<u8> {
    match table.protocol() {
        Protocol::Unix => unix::request(states),
        protocol => inet::request(table.is_ipv6(), protocol, states),
    }
}

fn parse(table: Table, datagram: &[u8]) -> Result<DumpReply, MalformedDump> {
    match table.protocol() {
        Protocol::Unix => parse_unix_diag(datagram),
        protocol => parse_inet_diag(protocol, datagram),
    }
}

#[cfg(test)]
mod tests {
    use super::super::collector::Conditions;
    use super::wire::tests::{done_message, socket_message};
    use super::*;

    const ANY: Conditions = Conditions { states: u32::MAX, inodes: None, local_ports: None };

    /// A Unix socket: established, with this inode.
    fn socket(inode: u32) -> Vec<u8> {
        let payload = [[1, 1, 1, 0], inode.to_ne_bytes(), [0; 4], [0; 4]].concat();
        socket_message(&payload)
    }

    /// Runs a dump that consists of these datagrams.
    fn gather_all(
        collector: &mut Collector<'_>,
        datagrams: &[Vec<u8>],
    ) -> Result<Dumped, SockDiagError> {
        let mut datagrams = datagrams.iter();
        gather(Table::Unix, collector, |buffer| {
            let datagram = datagrams.next().expect("no datagram is asked for after the end");
            buffer[..datagram.len()].copy_from_slice(datagram);
            Ok(datagram.len())
        })
    }

    fn inodes(collector: Collector<'_>) -> Vec<u64> {
        collector.finish().0.iter().filter_map(|socket| socket.inode).collect()
    }

    #[test]
    fn a_dump_goes_on_to_its_end() {
        let mut collector = Collector::new(&ANY, 10);
        let datagrams = [socket(1), [socket(2), socket(3)].concat(), done_message(0)];
        assert_eq!(gather_all(&mut collector, &datagrams).unwrap(), Dumped::Whole);
        assert_eq!(inodes(collector), [1, 2, 3]);
    }

    #[test]
    fn a_full_collector_ends_a_dump() {
        let mut collector = Collector::new(&ANY, 1);
        let datagrams = [[socket(1), socket(2)].concat()];
        assert_eq!(gather_all(&mut collector, &datagrams).unwrap(), Dumped::Full);
        assert_eq!(inodes(collector), [1]);
    }

    #[test]
    fn a_refusal_keeps_the_kernels_reason() {
        let mut collector = Collector::new(&ANY, 1);
        let error = gather_all(&mut collector, &[done_message(-2)]).unwrap_err();
        let SockDiagError::Refused { table: "unix", source } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_interrupted_dump_is_repeated_and_its_sockets_taken_back() {
        let mut collector = Collector::new(&ANY, 10);
        gather_all(&mut collector, &[[socket(7), done_message(0)].concat()]).unwrap();
        let mut attempts =
            [(socket(1), Dumped::Interrupted), (socket(2), Dumped::Whole)].into_iter();
        let dumped = until_uninterrupted(&mut collector, |collector| {
            let (datagram, dumped) = attempts.next().expect("two attempts are enough");
            gather_all(collector, &[datagram, done_message(0)])?;
            Ok(dumped)
        });
        assert_eq!(dumped.unwrap(), Dumped::Whole);
        assert_eq!(inodes(collector), [7, 2]);
    }

    #[test]
    fn repeating_has_an_end() {
        let mut collector = Collector::new(&ANY, 10);
        let mut attempts = 0;
        let dumped = until_uninterrupted(&mut collector, |collector| {
            attempts += 1;
            gather_all(collector, &[socket(attempts), done_message(0)])?;
            Ok(Dumped::Interrupted)
        });
        assert_eq!(dumped.unwrap(), Dumped::Interrupted);
        assert_eq!((attempts, inodes(collector)), (ATTEMPTS_MAX, vec![3]));
    }
}
