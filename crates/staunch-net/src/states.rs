//! Our own sockets, in the states that the kernel sees them in.
//!
//! The ledger's own join ([`Ledger::reconcile`]) knows the sockets that the process has open.
//! Here those are added that the kernel keeps for our listeners without us: connections that
//! wait to be accepted, and those that we have closed and that it finishes alone (`FIN_WAIT`,
//! `LAST_ACK`, `TIME_WAIT`).

use std::net::SocketAddr;

use staunch_kernel::{Protocol, Socket, SocketQuery, SocketsError, TcpState};
use staunch_ledger::{Entry, Ledger, ReconcileError, Reconciliation};

/// The sockets of this process, each with its entry on `ledger`; `None` for one that the ledger
/// lacks. A connection that only the kernel holds is with the entry of the listener that it came
/// to. One in `CLOSE_WAIT` that stays there is one that its owner forgot.
///
/// Blocks, as [`Ledger::reconcile`] does: on an asynchronous runtime, call it from a place where
/// blocking is allowed.
///
/// # Errors
/// [`ReconcileError`], if the kernel could not be asked.
///
/// # Examples
/// ```
/// use staunch_ledger::Ledger;
/// for (entry, socket) in staunch_net::socket_states(Ledger::global())? {
///     let born_at = entry.map(|entry| entry.born_at());
///     println!("{} {} {:?}", socket.state, socket.local, born_at);
/// }
/// # Ok::<_, staunch_ledger::ReconcileError>(())
/// ```
pub fn socket_states(ledger: Ledger) -> Result<Vec<(Option<Entry>, Socket)>, ReconcileError> {
    let reconciliation = ledger.reconcile()?;
    let kept = kept_by_the_kernel(&reconciliation)?;
    let owned = reconciliation.sockets.into_iter().map(|(entry, socket)| (Some(entry), socket));
    let unaccounted = reconciliation.unaccounted.into_iter();
    let unaccounted = unaccounted.filter_map(|found| Some((None, found.socket?)));
    Ok(owned.chain(unaccounted).chain(kept).collect())
}

/// Those of [`socket_states`] that a reconciliation lacks: the sockets that no process has open
/// and whose local address is that of one of our listeners, each with the listener's entry.
///
/// Blocks, as [`Ledger::reconcile`] does.
///
/// # Errors
/// [`SocketsError`], if the kernel could not be asked.
pub fn kept_by_the_kernel(
    reconciliation: &Reconciliation,
) -> Result<Vec<(Option<Entry>, Socket)>, SocketsError> {
    let ours = reconciliation.sockets.iter().map(|(entry, socket)| (Some(entry), socket));
    let unaccounted = reconciliation.unaccounted.iter();
    let unaccounted = unaccounted.filter_map(|found| Some((None, found.socket.as_ref()?)));
    let listeners: Vec<(Option<&Entry>, SocketAddr)> = ours
        .chain(unaccounted)
        .filter(|(_, socket)| socket.state == TcpState::Listen)
        .filter_map(|(entry, socket)| Some((entry, socket.local.inet()?)))
        .collect();
    if listeners.is_empty() {
        return Ok(Vec::new());
    }
    let ports = listeners.iter().map(|(_, address)| address.port());
    let table = SocketQuery::new().protocols([Protocol::Tcp]).local_ports(ports).run()?;
    let kept = table.sockets.into_iter().filter(|socket| socket.inode.is_none());
    let with_listener = kept.filter_map(|socket| {
        let local = socket.local.inet()?;
        let (entry, _) = listeners.iter().find(|(_, listener)| comes_to(local, *listener))?;
        Some((entry.cloned(), socket))
    });
    Ok(with_listener.collect())
}

/// Whether a connection with the address `local` came to `listener`.
fn comes_to(local: SocketAddr, listener: SocketAddr) -> bool {
    let any = listener.ip().is_unspecified();
    local.port() == listener.port() && (any || local.ip() == listener.ip())
}
