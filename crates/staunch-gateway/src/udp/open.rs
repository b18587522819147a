//! A socket for a client that is new.

use std::{future::poll_fn, pin::pin, sync::Arc};

use staunch_config::EndpointAddress;
use staunch_guard::Priority;
use staunch_ledger::State;
use staunch_net::{Datagram, DialError, DialOptions, UdpPeer, dial_udp};
use staunch_scope::{Cancelled, Context, Wait, shield, with_current_account};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Session, UdpError, Ways,
    names::{Names, NotFound},
    session::{Chosen, Open},
};
use crate::{accounts, forward::Failure, upstream::Upstream};

pub(super) async fn open(ways: &Ways, datagram: &Datagram<Session>) -> Result<Open, UdpError> {
    let Ways { core, receiver, guard } = ways;
    let place = place(&receiver.places).await?;
    let admission = guard.as_ref().map(|it| it.admit(Priority::High)).transpose()?;
    let state = core.state();
    let (_, upstream) = state.upstream(&receiver.service).ok_or(UdpError::NoServer)?;
    // It stays for the session, and so does its name of the client.
    with_current_account(|task| task.peer(datagram.peer()));
    let account = accounts::exchange(&receiver.service, &[]);
    let (socket, chosen) = dial(upstream, &receiver.names, datagram).await?;
    account.set_upstream(&chosen.server.name);
    Ok(Open { socket, chosen, account, _admission: admission, _place: place })
}

/// One is free for a datagram that came just before the task was asked to stop, too; it does not
/// wait for one.
async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Cancelled> {
    if let Ok(free) = Arc::clone(places).try_acquire_owned() {
        return Ok(free);
    }
    let mut wait = Wait::new();
    let mut acquire = pin!(Arc::clone(places).acquire_owned());
    poll_fn(|cx| wait.poll(cx, State::Waiting, |cx| acquire.as_mut().poll(cx)))
        .await?
        .map_err(|_| Cancelled::Requested) // it is never closed
}

async fn dial(
    upstream: &Upstream,
    names: &Names,
    datagram: &Datagram<Session>,
) -> Result<(UdpPeer, Chosen), UdpError> {
    let client = datagram.peer().ip();
    let (_, server) = upstream.pick(&[], Some(client), Instant::now()).ok_or(UdpError::NoServer)?;
    let EndpointAddress::Tcp(address) = server.address() else { return Err(UdpError::NoServer) };
    let chosen = Chosen { service: Arc::clone(&upstream.plan), server: Arc::clone(&server.plan) };
    let limit = upstream.plan.service.timeouts.connect;
    let found = match names.find(address, limit).await {
        Ok(found) => Ok(found),
        Err(NotFound { error, is_news: true }) => Err(error),
        Err(NotFound { error, .. }) => return Err(UdpError::Dial(error)),
    };
    let dialled = async {
        let options = DialOptions { timeout: limit, ..DialOptions::default() };
        dial_udp(&Context::current().without_cancel(), found?, &options).await
    };
    match shield(dialled).await {
        Ok(socket) => Ok((socket, chosen)),
        Err(DialError::Cancelled(cause)) => Err(cause.into()),
        Err(error) if error.is_local() => Err(UdpError::NoSocket(error)),
        Err(error) => {
            chosen.failed(Failure::of_dial(&error), &error);
            Err(UdpError::Dial(error))
        }
    }
}
