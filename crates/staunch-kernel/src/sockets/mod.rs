//! The sockets that the kernel holds, and the states they are in.
//!
//! There are two ways to ask, and one type for the answer:
//!
//! - `sock_diag(7)`, a netlink protocol: binary, filtered by state inside the kernel, and the
//!   only one that knows the peers and queues of Unix sockets;
//! - the text tables `/proc/net/{tcp,tcp6,udp,udp6,unix}` (`proc_net(5)`), which every kernel
//!   and every imitation of one has, and which can be read for a process in another network
//!   namespace.
//!
//! [`SocketQuery`] asks the first and falls back on the second. The modules are layered: `query`
//! is the question and the choice; below it `sock_diag` and `proc_net` do the I/O of one source
//! each, and their children turn bytes into sockets without any; both fill a `collector`, which
//! keeps what the query wants; at the bottom are `socket`, the answer, and `table`, the kernel's
//! division of it.

mod collector;
mod proc_net;
mod query;
mod sock_diag;
mod socket;
mod table;

pub use self::proc_net::{
    MalformedLine, ProcNetError, parse_proc_net_tcp, parse_proc_net_udp, parse_proc_net_unix,
};
pub use self::query::{SocketQuery, SocketTable, SocketsError, Source, sockets};
pub use self::sock_diag::{
    DumpEnd, DumpReply, MalformedDump, SockDiagError, parse_inet_diag, parse_unix_diag,
};
pub use self::socket::{Address, Protocol, Queue, Socket, TcpState, Timer, TimerKind};
