//! `/debug/sockets`: the process's sockets as the kernel sees them, each with its entry on the
//! ledger, found by file descriptor. A socket without one is held by code that does not use
//! the ledger, or is forgotten.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use staunch_kernel::{FdKind, Process, Queue, Socket, SocketQuery, SocketTable, TcpState};
use staunch_ledger::{Entry, Snapshot};

use crate::{
    ledger::Brief,
    query::Query,
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) const PARAMETERS: &[&str] = &["state", "limit"];

/// Sockets that are shown, unless told otherwise.
const LIMIT_DEFAULT: u64 = 1_000;
const LIMIT_MAX: u64 = 100_000;

#[derive(Serialize)]
struct SocketsView {
    /// Where it was read: `SockDiag` or `ProcNet`.
    source: String,
    /// Sockets in each state that pass the filter, those not shown included.
    states: BTreeMap<&'static str, usize>,
    sockets: Vec<SocketView>,
    /// There are more than are shown.
    truncated: bool,
}

#[derive(Serialize)]
struct SocketView {
    protocol: &'static str,
    state: &'static str,
    local: String,
    remote: Option<String>,
    /// Received and not read.
    recv_queue_bytes: u32,
    /// Written and not acknowledged.
    send_queue_bytes: u32,
    /// Of a listener: connections that wait to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_waiting: Option<u32>,
    /// Of a listener: how many may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_limit: Option<u32>,
    retransmits: u32,
    inode: Option<u64>,
    fds: Vec<i32>,
    /// Its entry on the ledger.
    owner: Option<Brief>,
}

pub(crate) fn sockets(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let limit = visit.query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
    let state = state(visit.query)?;
    // The ledger first: what it has then, and the kernel has not, has ended meanwhile.
    let snapshot = visit.shared.ledger.snapshot();
    let fds = socket_fds()?;
    let query = SocketQuery::new().inodes(fds.keys().copied());
    let query = match state {
        Some(state) => query.states([state]),
        None => query,
    };
    let table = query.run().map_err(Refusal::failed)?;
    reply::json(&view(&table, &fds, &snapshot, limit)).map_err(Refusal::failed)
}

fn state(query: &Query) -> Result<Option<TcpState>, Refusal> {
    let names = || {
        let names = TcpState::ALL.map(TcpState::name);
        format!("one of {}", names.join(", "))
    };
    let find = |name: &str| TcpState::ALL.into_iter().find(|state| state.name() == name);
    Ok(query.value("state", names, find)?)
}

/// The process's descriptors of each socket, by inode.
fn socket_fds() -> Result<HashMap<u64, Vec<i32>>, Refusal> {
    let mut by_inode = HashMap::<u64, Vec<i32>>::new();
    for fd in Process::current().fds().map_err(Refusal::failed)? {
        if let FdKind::Socket { inode } = fd.kind {
            by_inode.entry(inode).or_default().push(fd.number);
        }
    }
    Ok(by_inode)
}

fn view(
    table: &SocketTable,
    fds: &HashMap<u64, Vec<i32>>,
    snapshot: &Snapshot,
    limit: usize,
) -> SocketsView {
    let by_fd: HashMap<i32, &Entry> =
        snapshot.entries().iter().filter_map(|entry| Some((entry.fd()?, entry))).collect();
    let mut states = BTreeMap::new();
    for socket in &table.sockets {
        *states.entry(socket.state.name()).or_default() += 1;
    }
    let shown = table.sockets.iter().take(limit).map(|socket| {
        let fds = socket.inode.and_then(|inode| fds.get(&inode)).cloned().unwrap_or_default();
        let owner = fds.iter().find_map(|fd| by_fd.get(fd)).map(|entry| Brief::new(entry));
        SocketView::new(socket, fds, owner)
    });
    SocketsView {
        source: format!("{:?}", table.source),
        states,
        sockets: shown.collect(),
        truncated: table.truncated || table.sockets.len() > limit,
    }
}

impl SocketView {
    fn new(socket: &Socket, fds: Vec<i32>, owner: Option<Brief>) -> SocketView {
        let (accept_waiting, accept_limit) = match socket.queue {
            Queue::Accept { waiting, limit } => (Some(waiting), limit),
            _ => (None, None),
        };
        SocketView {
            protocol: socket.protocol.name(),
            state: socket.state.name(),
            local: socket.local.to_string(),
            remote: socket.remote.map(|remote| remote.to_string()),
            recv_queue_bytes: socket.recv_queue_bytes(),
            send_queue_bytes: socket.send_queue_bytes(),
            accept_waiting,
            accept_limit,
            retransmits: socket.retransmits,
            inode: socket.inode,
            fds,
            owner,
        }
    }
}
