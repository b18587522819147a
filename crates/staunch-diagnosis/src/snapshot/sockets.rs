//! Sockets and descriptors, as the kernel has them.

use std::net::SocketAddr;
use std::time::Duration;

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What makes it the same socket in the next snapshot: its inode, or a hash of its two addresses
    /// where the source knows no more.
    pub id: Option<u64>,
    /// Its TCP state.
    pub state: SocketState,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Their end.
    pub remote: Option<SocketAddr>,
    /// Bytes that came and were not read; for a listener, connections not accepted.
    pub receive_queue: u64,
    /// Bytes not acknowledged; for a listener, how many connections may wait.
    pub send_queue: u64,
    /// For how long it is known to have been in its state.
    pub age: Option<Duration>,
}

/// A TCP state (RFC 9293, 3.3.2), or a socket that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SocketState {
    /// A connection.
    Established,
    /// Our SYN is out.
    SynSent,
    /// Their SYN came.
    SynReceived,
    /// We have closed.
    FinWait1,
    /// We have closed, and they know.
    FinWait2,
    /// Both have closed; the port rests.
    TimeWait,
    /// Closed or not connected.
    Close,
    /// They have closed, we have not.
    CloseWait,
    /// They closed first, then we.
    LastAck,
    /// It accepts connections.
    Listen,
    /// Both closed at once.
    Closing,
    /// Not TCP.
    Other,
}

/// Descriptors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdCount {
    /// `socket`, `pipe`, `file`, `eventfd`, ...
    pub kind: String,
    /// How many are open.
    pub count: u64,
    /// For how long the oldest has been open.
    pub oldest: Option<Duration>,
}
