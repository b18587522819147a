//! One socket, as both sources describe it.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// A socket that the kernel holds, whether or not a process still has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socket {
    /// TCP, UDP or Unix.
    pub protocol: Protocol,
    /// The address it is bound to.
    pub local: Address,
    /// The address it is connected to, for TCP and UDP. Unix sockets are known by
    /// [`peer_inode`](Socket::peer_inode) instead.
    pub remote: Option<SocketAddr>,
    /// Its state. The kernel uses TCP's words for every protocol: a UDP or Unix socket is
    /// [`Established`](TcpState::Established) when connected, else
    /// [`Close`](TcpState::Close); a Unix one that accepts is [`Listen`](TcpState::Listen).
    pub state: TcpState,
    /// What finds it among [`Process::fds`](crate::Process::fds). `None` if no fd is open on
    /// it: the program has closed it and the kernel finishes alone
    /// ([`TimeWait`](TcpState::TimeWait), [`FinWait1`](TcpState::FinWait1), ...), or has not
    /// accepted it yet.
    pub inode: Option<u64>,
    /// What waits in its queues.
    pub queue: Queue,
    /// The user who made it. `None` for Unix sockets where the source does not say
    /// (`/proc/net/unix`, and sock_diag before Linux 5.3).
    pub uid: Option<u32>,
    /// The timer that is running for it, for TCP.
    pub timer: Option<Timer>,
    /// For TCP, how often what is unanswered has been sent again, or a silent peer probed.
    /// It is back at zero when the peer answers.
    pub retransmits: u32,
    /// The inode of the other end of a connected Unix socket, from sock_diag only.
    pub peer_inode: Option<u64>,
}

impl Socket {
    /// Bytes received that the program has not read. Zero for listeners, and where unknown.
    ///
    /// A FIN counts as one byte: an unread connection in [`TcpState::CloseWait`] has at least
    /// one. For UDP it is the memory that the datagrams take, more than their payload.
    pub fn recv_queue_bytes(&self) -> u32 {
        match self.queue {
            Queue::Data { recv_bytes, .. } => recv_bytes,
            Queue::Accept { .. } | Queue::Unknown => 0,
        }
    }

    /// Bytes written that the peer has not acknowledged. Zero for listeners, and where unknown.
    pub fn send_queue_bytes(&self) -> u32 {
        match self.queue {
            Queue::Data { send_bytes, .. } => send_bytes,
            Queue::Accept { .. } | Queue::Unknown => 0,
        }
    }
}

/// The protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// UDP, over IPv4 or IPv6.
    Udp,
    /// A Unix domain socket: stream, datagram or sequenced packets.
    Unix,
}

impl Protocol {
    /// Its name in lower case: `tcp`, `udp`, `unix`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Unix => "unix",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The address that a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// IPv4 or IPv6. An IPv4 connection of an IPv6 listener has a mapped address
    /// (`::ffff:127.0.0.1`). Scope ids are not known and are zero.
    Inet(SocketAddr),
    /// The path of a Unix socket, as it was given to `bind`.
    Path(PathBuf),
    /// The abstract name of a Unix socket, without its leading NUL. The text source shows NULs
    /// inside a name as `@`.
    Abstract(Vec<u8>),
    /// A Unix socket that was never bound, as the client's end of a connection.
    Unnamed,
}

impl Address {
    /// The TCP or UDP address; `None` for Unix sockets.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::Path(_) | Address::Abstract(_) | Address::Unnamed => None,
        }
    }

    /// Takes the bytes of a name that is not empty and not abstract.
    pub(super) fn from_path_bytes(name: &[u8]) -> Address {
        Address::Path(PathBuf::from(OsString::from_vec(name.to_vec())))
    }
}

impl fmt::Display for Address {
    /// As `ss` prints it: `127.0.0.1:80`, `/run/app.sock`, `@abstract`, `*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Path(path) => path.display().fmt(f),
            Address::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("*"),
        }
    }
}

/// What waits in a socket's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Queue {
    /// Of a socket that carries data.
    Data {
        /// See [`Socket::recv_queue_bytes`].
        recv_bytes: u32,
        /// See [`Socket::send_queue_bytes`].
        send_bytes: u32,
    },
    /// Of a listener.
    Accept {
        /// Connections that are established and that the program has not accepted.
        waiting: u32,
        /// How many may wait before the kernel turns new ones away (the `backlog` of
        /// `listen(2)`, capped by `net.core.somaxconn`). From sock_diag only.
        limit: Option<u32>,
    },
    /// The source does not say (`/proc/net/unix`).
    Unknown,
}

/// The state of a socket (RFC 9293, section 3.3.2), in the words and order of the kernel's
/// `tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    /// Open in both directions.
    Established = 1,
    /// Connecting: our SYN is unanswered.
    SynSent = 2,
    /// Being connected to: the handshake's last step is missing.
    SynRecv = 3,
    /// We have closed our direction; the peer has not acknowledged that.
    FinWait1 = 4,
    /// We have closed our direction, and wait for the peer to close its own.
    FinWait2 = 5,
    /// Over; the address pair is kept for a minute so that late segments do no harm.
    TimeWait = 6,
    /// Not connected. A TCP socket that is only bound is seen through sock_diag from Linux 6.8
    /// on, and otherwise not at all.
    Close = 7,
    /// The peer has closed its direction and waits for us to close ours. A socket that stays
    /// here is one that the program forgot.
    CloseWait = 8,
    /// After `CloseWait` we have closed too; the peer has not acknowledged that.
    LastAck = 9,
    /// Accepting connections.
    Listen = 10,
    /// Both sides closed at once; the peer has not acknowledged.
    Closing = 11,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [TcpState; 11] = [
        TcpState::Established,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::Listen,
        TcpState::Closing,
    ];

    /// The state of the kernel's number. The two numbers above the protocol's eleven are
    /// internal: 12 is how the kernel keeps a connection in `SynRecv`, and 13 is a socket that
    /// is bound and no more.
    pub(super) fn from_kernel(number: u8) -> Option<TcpState> {
        match number {
            1..=11 => Some(TcpState::ALL[usize::from(number) - 1]),
            12 => Some(TcpState::SynRecv),
            13 => Some(TcpState::Close),
            _ => None,
        }
    }

    /// The state's bits in the mask of a sock_diag request.
    pub(super) fn mask(self) -> u32 {
        let internal = match self {
            TcpState::SynRecv => 1 << 12,
            TcpState::Close => 1 << 13,
            _ => 0,
        };
        1 << (self as u8) | internal
    }

    /// The name that the kernel and `netstat` use, such as `CLOSE_WAIT`.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::Established => "ESTABLISHED",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::FinWait1 => "FIN_WAIT1",
            TcpState::FinWait2 => "FIN_WAIT2",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::Listen => "LISTEN",
            TcpState::Closing => "CLOSING",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A timer that runs for a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Timer {
    /// What will happen.
    pub kind: TimerKind,
    /// In how long, in steps of 10 ms (text) or 1 ms (sock_diag).
    pub expires: Duration,
}

/// What a TCP timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimerKind {
    /// To send again what is unacknowledged.
    Retransmit,
    /// To probe a silent peer, or to end an orphan in `FinWait2`.
    KeepAlive,
    /// To forget the connection.
    TimeWait,
    /// To ask a peer that has no room whether it has some now.
    ZeroWindowProbe,
}

impl TimerKind {
    /// The timer of the kernel's number; `None` when none is running.
    pub(super) fn from_kernel(number: u8) -> Option<TimerKind> {
        match number {
            1 => Some(TimerKind::Retransmit),
            2 => Some(TimerKind::KeepAlive),
            3 => Some(TimerKind::TimeWait),
            4 => Some(TimerKind::ZeroWindowProbe),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_kernels_numbers() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_kernel(state as u8), Some(state));
            assert_ne!(state.mask() & (1 << (state as u8)), 0);
        }
        assert_eq!(TcpState::from_kernel(12), Some(TcpState::SynRecv));
        assert_eq!(TcpState::from_kernel(13), Some(TcpState::Close));
        assert_eq!(TcpState::from_kernel(0), None);
        assert_eq!(TcpState::from_kernel(14), None);
    }

    #[test]
    fn addresses_print_as_ss_prints_them() {
        let check = |address: Address, expected: &str| assert_eq!(address.to_string(), expected);
        check(Address::Inet(([127, 0, 0, 1], 80).into()), "127.0.0.1:80");
        check(Address::Path("/run/app.sock".into()), "/run/app.sock");
        check(Address::Abstract(b"bus\n\0x".to_vec()), "@bus\\n\\x00x");
        check(Address::Unnamed, "*");
    }
}
