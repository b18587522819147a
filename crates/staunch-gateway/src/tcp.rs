//! A connection, handed on as it is.

use std::{io, net::SocketAddr, sync::Arc};

use staunch_ledger::Account;
use staunch_net::{Closer, DialError};
use staunch_scope::shield;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    access::{End, Entry, Source},
    accounts,
    balance::InFlight,
    core::View,
    forward::Failure,
    link::{Carries, Link},
    relay::{Closers, relay},
    upstream::Upstream,
};

/// Why a connection led nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TcpError {
    #[error("no server of the service is well")]
    NoServer,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who has connected, and with whom.
pub(crate) type Ends = Option<(SocketAddr, SocketAddr)>;

/// Connects with a server of `service`, and copies both ways until both have said their last.
pub(crate) async fn serve<C>(
    core: Arc<View>,
    service: &str,
    (client, closer): (C, Closer),
    ends: Ends,
    access: Option<&Arc<Source>>,
) -> Result<(), TcpError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let peer = ends.map(|(client, _)| client.ip());
    let mut entry = access.map(|source| Entry::connection(source, peer));
    let account = accounts::exchange(service, &[]);
    let (server, _in_flight) = {
        let state = core.state(); // not for as long as the connection lives
        let (place, upstream) = state.upstream(service).ok_or(TcpError::NoServer)?;
        if let Some(entry) = &mut entry {
            entry.leads_to(&state, place);
        }
        // What was accepted is handed on, also by one that is about to stop.
        let connected = shield(connect(upstream, ends, entry.as_mut(), &account)).await;
        if let (Err(_), Some(entry)) = (&connected, &mut entry) {
            entry.ends(End::Server);
        }
        connected?
    };
    drop(core);
    let moved = |received, sent| {
        account.touch();
        if let Some(entry) = &mut entry {
            entry.moved(received, sent);
        }
    };
    let closers = Closers { a: Some(closer), b: Some(server.closer()) };
    relay(client, server, closers, moved).await?;
    if let Some(entry) = &mut entry {
        entry.ends(End::Whole);
    }
    Ok(())
}

/// A connection to the first server that takes it.
async fn connect(
    upstream: &Upstream,
    ends: Ends,
    mut entry: Option<&mut Entry>,
    account: &Account,
) -> Result<(Link, InFlight), TcpError> {
    let plan = &upstream.plan;
    plan.budget.deposit();
    let mut tried = Vec::new();
    let peer = ends.map(|(client, _)| client.ip());
    loop {
        let Some((index, server)) = upstream.pick(&tried, peer, Instant::now()) else {
            if let Some(entry) = &mut entry {
                entry.failed(Failure::NoServer);
            }
            return Err(TcpError::NoServer);
        };
        let in_flight = server.begin(Instant::now());
        if let Some(entry) = &mut entry {
            entry.asks(index);
        }
        account.set_upstream(&server.plan.name);
        let error = match upstream.dial(server, Carries::Bytes(ends)).await {
            Ok(connection) => {
                let now = Instant::now();
                in_flight.answered(now);
                server.plan.counts.answered();
                plan.succeeded(&server.plan, now);
                return Ok((connection, in_flight));
            }
            Err(error) => error,
        };
        if matches!(error, DialError::Cancelled(_)) {
            return Err(error.into());
        }
        let failure = Failure::of_dial(&error);
        if failure.is_servers() {
            plan.unanswered(&server.plan, failure, &error, Instant::now());
        }
        if let Some(entry) = &mut entry {
            entry.failed(failure);
        }
        tried.push(index);
        if tried.len() >= plan.service.retry.tries.get() || !plan.budget.withdraw() {
            return Err(error.into());
        }
    }
}
