//! What the Linux kernel says a process holds: its open files, its sockets and their TCP
//! states, its memory, CPU time and limits.
//!
//! The crate is the second witness of Staunch. The ledger says what the program believes it
//! holds; this crate says what the kernel holds for it, and the difference is a leak that one
//! of the two did not see. It works for the calling process and for any other that the caller
//! may inspect.
//!
//! It only reads: no async runtime, no threads, no logging, nothing kept between two calls.
//! Every call blocks for as long as the kernel takes to answer. Most take microseconds; a listing
//! takes some 6 us an fd and 2 us a socket, so that one of 100,000 takes a good part of a second.
//! On an async runtime, call it from a place where blocking is allowed.
//!
//! | question | door | read from |
//! | --- | --- | --- |
//! | which fds are open, and on what? | [`Process::fds`] | `/proc/PID/fd` |
//! | how many fds? | [`Process::fd_count`] | `/proc/PID/fd` |
//! | how many may be open? | [`Process::limits`] | `/proc/PID/limits` |
//! | how much memory, how many threads? | [`Process::status`] | `/proc/PID/status` |
//! | how much CPU? since when? | [`Process::times`] | `/proc/PID/stat` |
//! | how near is the memory limit? | [`Process::cgroup_memory`] | `/proc/PID/cgroup`, cgroupfs |
//! | which sockets, in which state? | [`SocketQuery`], [`sockets`] | sock_diag, else `/proc/net` |
//!
//! Fds and sockets are joined by inode. For example, the connections that this process has
//! forgotten to close after their peers had gone:
//!
//! ```
//! use staunch_kernel::{FdKind, Process, SocketQuery, TcpState};
//!
//! let process = Process::current();
//! let inodes = process.fds()?.into_iter().filter_map(|fd| match fd.kind {
//!     FdKind::Socket { inode } => Some(inode),
//!     _ => None,
//! });
//! let forgotten = SocketQuery::new().states([TcpState::CloseWait]).inodes(inodes).run()?;
//! for socket in &forgotten.sockets {
//!     println!("{} still holds {:?}", process.pid(), socket.remote);
//! }
//! # assert!(forgotten.sockets.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Pure parsers
//!
//! Everything that interprets bytes is a pure function, public so that it can be fuzzed and
//! fed with captures: [`parse_proc_net_tcp`], [`parse_proc_net_udp`], [`parse_proc_net_unix`],
//! [`parse_inet_diag`], [`parse_unix_diag`], [`FdKind::parse`], [`Status::parse`],
//! [`Times::parse`], [`Limits::parse`]. None of them panics on any input.
//!
//! # Not a snapshot
//!
//! The kernel walks its tables while sockets and files come and go. Each entry is true for the
//! instant at which it was read; two entries may belong to different instants, and one that
//! moves in its table during the walk may not be seen at all. A caller that is about to call a
//! difference a leak asks a second time.

mod file;
mod process;
mod sockets;

pub use file::read_file;
pub use process::{
    CgroupMemory, CgroupVersion, Fd, FdKind, Limit, Limits, MalformedText, Process, ProcessError,
    Status, Times,
};
pub use sockets::{
    Address, DumpEnd, DumpReply, MalformedDump, MalformedLine, ProcNetError, Protocol, Queue,
    SockDiagError, Socket, SocketQuery, SocketTable, SocketsError, Source, TcpState, Timer,
    TimerKind, parse_inet_diag, parse_proc_net_tcp, parse_proc_net_udp, parse_proc_net_unix,
    parse_unix_diag, sockets,
};
