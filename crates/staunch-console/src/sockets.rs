//! `/debug/sockets`: the process's sockets as the kernel sees them, each with its entry on the
//! ledger, and where the two disagree ([`Ledger::reconcile`]).
//!
//! A socket without an entry is held by code that does not use the ledger, or is forgotten. One
//! without a descriptor is held by the kernel alone, for the listener that is its owner: it waits
//! to be accepted, or we have closed it and the peer has yet to agree.
//!
//! [`Ledger::reconcile`]: staunch_ledger::Ledger::reconcile

use std::collections::BTreeMap;

use serde::Serialize;
use staunch_kernel::{Queue, Socket, TcpState};
use staunch_ledger::{Entry, Reconciliation, UnaccountedFd};
use staunch_net::kept_by_the_kernel;

use crate::{
    ledger::Brief,
    query::{Query, QueryError},
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) const PARAMETERS: &[&str] = &["state", "limit"];

/// Sockets that are shown, and items of each other list, unless told otherwise.
const LIMIT_DEFAULT: u64 = 1_000;
const LIMIT_MAX: u64 = 100_000;

#[derive(Serialize)]
struct SocketsView {
    /// The ledger and the kernel know the same sockets and files.
    agrees: bool,
    /// Sockets in each state that pass the filter, those not shown included.
    states: BTreeMap<&'static str, usize>,
    sockets: Vec<SocketView>,
    /// There are more sockets than are shown.
    truncated: bool,
    /// Files, and sockets in no state, that the kernel has and the ledger lacks.
    unaccounted: Vec<String>,
    /// Entries whose descriptor is closed.
    phantoms: Vec<Brief>,
    /// Entries that name one descriptor.
    contested: Vec<Brief>,
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
    /// None when the kernel alone holds it.
    fd: Option<i32>,
    /// Its entry on the ledger, or that of its listener when the kernel alone holds it.
    owner: Option<Brief>,
}

pub(crate) fn sockets(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let limit = visit.query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let state = state(visit.query)?;
    let reconciliation = visit.shared.ledger.reconcile().map_err(Refusal::failed)?;
    let kept = kept_by_the_kernel(&reconciliation).map_err(Refusal::failed)?;
    reply::json(&view(&reconciliation, &kept, state, limit as usize)).map_err(Refusal::failed)
}

fn state(query: &Query) -> Result<Option<TcpState>, QueryError> {
    let names = || format!("one of {}", TcpState::ALL.map(TcpState::name).join(", "));
    let find = |name: &str| TcpState::ALL.into_iter().find(|state| state.name() == name);
    query.value("state", names, find)
}

fn view(
    reconciliation: &Reconciliation,
    kept: &[(Option<Entry>, Socket)],
    state: Option<TcpState>,
    limit: usize,
) -> SocketsView {
    let owned = reconciliation.sockets.iter().map(|(entry, socket)| Held {
        socket,
        fd: entry.fd(),
        owner: Some(entry),
    });
    let (without, other): (Vec<_>, Vec<_>) =
        reconciliation.unaccounted.iter().partition(|found| found.socket.is_some());
    let forgotten = without.iter().filter_map(|found| {
        Some(Held { socket: found.socket.as_ref()?, fd: Some(found.fd), owner: None })
    });
    let kept = kept.iter().map(|(owner, socket)| Held { socket, fd: None, owner: owner.as_ref() });
    let wanted = |held: &Held<'_>| state.is_none_or(|state| held.socket.state == state);
    let held: Vec<Held<'_>> = owned.chain(forgotten).chain(kept).filter(wanted).collect();
    let mut states = BTreeMap::new();
    for held in &held {
        *states.entry(held.socket.state.name()).or_default() += 1;
    }
    let brief = |entries: &[Entry]| entries.iter().take(limit).map(Brief::new).collect();
    SocketsView {
        agrees: reconciliation.agrees(),
        states,
        truncated: held.len() > limit,
        sockets: held.iter().take(limit).map(SocketView::new).collect(),
        unaccounted: other.iter().copied().take(limit).map(UnaccountedFd::to_string).collect(),
        phantoms: brief(&reconciliation.phantoms),
        contested: brief(&reconciliation.contested),
    }
}

/// A socket that the process holds, or the kernel for it.
struct Held<'r> {
    socket: &'r Socket,
    fd: Option<i32>,
    owner: Option<&'r Entry>,
}

impl SocketView {
    fn new(held: &Held<'_>) -> SocketView {
        let socket = held.socket;
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
            fd: held.fd,
            owner: held.owner.map(Brief::new),
        }
    }
}
