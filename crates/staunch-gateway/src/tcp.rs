//! A connection, handed on as it is.

use std::{io, net::SocketAddr, sync::Arc};

use staunch_net::Closer;
use staunch_scope::shield;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    access::{End, Entry, Source},
    accounts,
    connect::{Connect, ConnectError, Connected},
    core::View,
    link::Carries,
    relay::{Closers, relay},
};

/// Why a connection led nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TcpError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
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
        let (place, upstream) = state.upstream(service).ok_or(ConnectError::NoServer)?;
        if let Some(entry) = &mut entry {
            entry.leads_to(&state, place);
        }
        let connect =
            Connect { upstream, client: peer, carries: Carries::Bytes(ends), account: &account };
        let asks = |index| {
            if let Some(entry) = &mut entry {
                entry.asks(index);
            }
        };
        // What was accepted is handed on, also by one that is about to stop.
        let connected = shield(connect.first(|_| Some(()), asks)).await;
        if let (Err(error), Some(entry)) = (&connected, &mut entry) {
            entry.failed(error.failure());
            entry.ends(End::Server);
        }
        let Connected { link, server, in_flight, .. } = connected?;
        let now = Instant::now();
        in_flight.answered(now);
        server.plan.counts.answered();
        upstream.plan.succeeded(&server.plan, now);
        (link, in_flight)
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
