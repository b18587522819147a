//! The question for sockets, the choice between the two sources, and the bounds.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::collector::{Collector, Conditions};
use super::proc_net::{self, ProcNetError};
use super::sock_diag::{self, Dumped, SockDiagError};
use super::socket::{Protocol, Socket, TcpState};
use super::table::Table;
use crate::Process;

/// Default of [`SocketQuery::limit`]: both ends of 100,000 loopback connections with room to
/// spare, in less than 100 MiB.
const LIMIT_DEFAULT: usize = 1 << 18;

/// Every socket of the calling process's network namespace, with the defaults of
/// [`SocketQuery`].
///
/// ```
/// let table = staunch_kernel::sockets()?;
/// println!("{} sockets by {:?}", table.sockets.len(), table.source);
/// # Ok::<(), staunch_kernel::SocketsError>(())
/// ```
///
/// # Errors
///
/// As for [`SocketQuery::run`].
pub fn sockets() -> Result<SocketTable, SocketsError> {
    SocketQuery::new().run()
}

/// Where sockets are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Netlink, `sock_diag(7)`.
    SockDiag,
    /// The text tables of `/proc/PID/net`.
    ProcNet,
}

/// The sockets that a query found.
#[derive(Debug)]
#[non_exhaustive]
pub struct SocketTable {
    /// The sockets, in the kernel's order, which means nothing.
    pub sockets: Vec<Socket>,
    /// The source that answered.
    pub source: Source,
    /// The limit was reached, and there are more.
    pub truncated: bool,
    /// The kernel said that its tables had changed while it dumped them, every time we asked:
    /// sockets may be missing. (With [`Source::ProcNet`] that can happen unsaid.)
    pub interrupted: bool,
    /// Why sock_diag did not answer, where it was asked first and [`Source::ProcNet`] answered
    /// in its place.
    pub fallback: Option<SockDiagError>,
}

/// Neither source could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketsError {
    /// sock_diag failed, and no other source was allowed.
    #[error("cannot list sockets by sock_diag")]
    SockDiag(#[from] SockDiagError),

    /// `/proc/net` could not be read.
    #[error(
        "cannot list sockets from /proc/net{}",
        fallback.as_ref().map(|error| format!(" (tried because {error})")).unwrap_or_default()
    )]
    ProcNet {
        /// What is wrong with it.
        source: ProcNetError,
        /// Why sock_diag did not answer, where it was asked first.
        fallback: Option<SockDiagError>,
    },
}

/// A question for sockets: of which protocols, in which states, held by whom.
///
/// Without conditions it asks for every TCP, UDP and Unix socket of the caller's network
/// namespace. All of the conditions must hold. Protocols and states make the question cheaper;
/// inodes and ports only the answer.
///
/// A socket that is neither bound nor connected is in no table of the kernel: such an fd has
/// an inode that no query finds.
///
/// ```
/// use staunch_kernel::{Protocol, SocketQuery, TcpState};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let port = listener.local_addr()?.port();
///
/// let table = SocketQuery::new()
///     .protocols([Protocol::Tcp])
///     .states([TcpState::Listen])
///     .local_ports([port])
///     .run()?;
/// assert_eq!(table.sockets.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is run"]
pub struct SocketQuery {
    process: Process,
    source: Option<Source>,
    protocols: Vec<Protocol>,
    conditions: Conditions,
    limit: usize,
}

impl Default for SocketQuery {
    fn default() -> SocketQuery {
        SocketQuery::new()
    }
}

impl SocketQuery {
    /// Asks for every socket in the caller's network namespace.
    pub fn new() -> SocketQuery {
        SocketQuery {
            process: Process::current(),
            source: None,
            protocols: vec![Protocol::Tcp, Protocol::Udp, Protocol::Unix],
            conditions: Conditions { states: u32::MAX, inodes: None, local_ports: None },
            limit: LIMIT_DEFAULT,
        }
    }

    /// Asks in the network namespace of this process, as for one in a container. All sockets
    /// of that namespace are meant, not the process's alone: for these give their
    /// [`inodes`](SocketQuery::inodes).
    pub fn namespace_of(mut self, process: Process) -> SocketQuery {
        self.process = process;
        self
    }

    /// Asks this source and no other. The default is [`Source::SockDiag`] and, where that does
    /// not answer, [`Source::ProcNet`].
    pub fn source(mut self, source: Source) -> SocketQuery {
        self.source = Some(source);
        self
    }

    /// Only sockets of these protocols. By default all three.
    pub fn protocols(mut self, protocols: impl IntoIterator<Item = Protocol>) -> SocketQuery {
        self.protocols = protocols.into_iter().collect();
        self
    }

    /// Only sockets in these states. By default all.
    pub fn states(mut self, states: impl IntoIterator<Item = TcpState>) -> SocketQuery {
        self.conditions.states = states.into_iter().fold(0, |mask, state| mask | state.mask());
        self
    }

    /// Only sockets with these inodes, as [`Process::fds`] lists them.
    pub fn inodes(mut self, inodes: impl IntoIterator<Item = u64>) -> SocketQuery {
        self.conditions.inodes = Some(inodes.into_iter().collect());
        self
    }

    /// Only TCP and UDP sockets bound to one of these ports: a listener and the connections it
    /// has accepted.
    pub fn local_ports(mut self, ports: impl IntoIterator<Item = u16>) -> SocketQuery {
        self.conditions.local_ports = Some(ports.into_iter().collect());
        self
    }

    /// At most this many sockets that fulfil all conditions; one more sets
    /// [`SocketTable::truncated`]. By default 262,144.
    pub fn limit(mut self, limit: usize) -> SocketQuery {
        self.limit = limit;
        self
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// [`SocketsError`], if the source asked for did not answer, or by default neither did.
    pub fn run(&self) -> Result<SocketTable, SocketsError> {
        match self.source {
            Some(Source::SockDiag) => Ok(self.run_sock_diag()?),
            Some(Source::ProcNet) => self.run_proc_net(None),
            None => self.run_sock_diag().or_else(|error| self.run_proc_net(Some(error))),
        }
    }

    fn run_sock_diag(&self) -> Result<SocketTable, SockDiagError> {
        if !self.is_own_namespace() {
            return Err(SockDiagError::OtherNamespace { pid: self.process.pid() });
        }
        let mut collector = Collector::new(&self.conditions, self.limit);
        let mut interrupted = false;
        for table in self.tables() {
            match sock_diag::read(table, self.conditions.states, &mut collector)? {
                Dumped::Whole => {}
                Dumped::Interrupted => interrupted = true,
                Dumped::Full => break,
            }
        }
        let (sockets, truncated) = collector.finish();
        let source = Source::SockDiag;
        Ok(SocketTable { sockets, source, truncated, interrupted, fallback: None })
    }

    fn run_proc_net(&self, fallback: Option<SockDiagError>) -> Result<SocketTable, SocketsError> {
        let dir = self.thread_or_process_path("net");
        let mut collector = Collector::new(&self.conditions, self.limit);
        for table in self.tables() {
            match proc_net::read(&dir, table, &mut collector) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(source) => return Err(SocketsError::ProcNet { source, fallback }),
            }
        }
        let (sockets, truncated) = collector.finish();
        let source = Source::ProcNet;
        Ok(SocketTable { sockets, source, truncated, interrupted: false, fallback })
    }

    /// Whether sock_diag, which answers for the calling thread's namespace, is the right one to
    /// ask. A namespace that we may not see is not ours.
    fn is_own_namespace(&self) -> bool {
        if self.process.is_current() {
            return true;
        }
        let namespace = |path: PathBuf| fs::read_link(path).ok();
        let own = namespace(PathBuf::from("/proc/thread-self/ns/net"));
        own.is_some() && own == namespace(self.process.path("ns/net"))
    }

    /// A path of the process, or of the calling thread: threads can be in different namespaces,
    /// and both sources should answer for the same one.
    fn thread_or_process_path(&self, name: &str) -> PathBuf {
        if self.process.is_current() {
            PathBuf::from("/proc/thread-self").join(name)
        } else {
            self.process.path(name)
        }
    }

    fn tables(&self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(|table| self.protocols.contains(&table.protocol()))
    }
}
