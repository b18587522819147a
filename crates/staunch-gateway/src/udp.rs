//! Datagrams, handed on as they are: each client has a socket of its own to the server, as long as
//! something goes either way.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch_config::EndpointAddress;
use staunch_ledger::Account;
use staunch_net::{Datagram, DatagramError, DialError, DialOptions, UdpPeer, dial_udp};
use staunch_scope::{Context, with_current_account};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use crate::{
    accounts,
    core::Shared,
    forward::Failure,
    plan::{ServerPlan, ServicePlan},
    upstream::Upstream,
};

/// What is remembered of a client.
#[derive(Debug, Default)]
pub(crate) struct Session {
    link: Mutex<Option<Arc<Link>>>,
}

/// A client's socket to its server.
#[derive(Debug)]
struct Link {
    socket: OnceCell<(UdpPeer, Chosen, Account)>,
    last: Mutex<Instant>,
}

/// The server that a client's datagrams go to.
#[derive(Debug)]
struct Chosen {
    service: Arc<ServicePlan>,
    server: Arc<ServerPlan>,
}

impl Chosen {
    fn failed(&self, failure: Failure, why: &dyn fmt::Display) {
        if failure.is_servers() {
            self.service.unanswered(&self.server, failure, why, Instant::now());
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UdpError {
    #[error("no server of the service is well, or none is reached by UDP")]
    NoServer,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Hands a datagram on. The first one of a client stays, to hand back what the server says, until
/// neither has said anything for `idle`.
pub(crate) async fn serve(
    core: Arc<Shared>,
    service: &str,
    (idle, longest): (Duration, usize),
    datagram: Datagram<Session>,
) -> Result<(), UdpError> {
    let link = datagram.state().link();
    let mut is_first = false;
    let open = || {
        is_first = true;
        let (core, datagram) = (&core, &datagram);
        async move {
            let state = core.state();
            let (_, upstream) = state.upstream(service).ok_or(UdpError::NoServer)?;
            // It stays for the session, and so does its name of the client.
            with_current_account(|task| task.peer(datagram.peer()));
            let account = accounts::exchange(service, &[]);
            let (socket, chosen) = dial(upstream, datagram).await?;
            account.set_upstream(&chosen.server.name);
            Ok::<_, UdpError>((socket, chosen, account))
        }
    };
    let (socket, chosen, _) = link.socket.get_or_try_init(open).await?;
    link.touch();
    let sent = socket.send(datagram.bytes()).await;
    if is_first {
        let answered = answers(&link, socket, (idle, longest), &datagram).await;
        datagram.state().forget(&link);
        match answered {
            // Nobody listens there (ICMP, udp(7)): whoever comes next begins with another server.
            Err(UdpError::Datagram(DatagramError::Io(error))) if is_refused(&error) => {
                chosen.failed(Failure::Unreachable, &error);
            }
            other => other?,
        }
    }
    Ok(sent?)
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

async fn dial(
    upstream: &Upstream,
    datagram: &Datagram<Session>,
) -> Result<(UdpPeer, Chosen), UdpError> {
    let client = datagram.peer().ip();
    let (_, server) = upstream.pick(&[], Some(client), Instant::now()).ok_or(UdpError::NoServer)?;
    let EndpointAddress::Tcp(address) = server.address() else { return Err(UdpError::NoServer) };
    let options =
        DialOptions { timeout: upstream.plan.service.timeouts.connect, ..DialOptions::default() };
    let (service, chosen) = (Arc::clone(&upstream.plan), Arc::clone(&server.plan));
    let chosen = Chosen { service, server: chosen };
    match dial_udp(&Context::current(), address.as_str(), &options).await {
        Ok(socket) => {
            chosen.server.counts.answered();
            Ok((socket, chosen))
        }
        Err(error) => {
            chosen.failed(Failure::of_dial(&error), &error);
            Err(error.into())
        }
    }
}

/// Hands back what the server says.
async fn answers(
    link: &Link,
    socket: &UdpPeer,
    (idle, longest): (Duration, usize),
    datagram: &Datagram<Session>,
) -> Result<(), UdpError> {
    let mut buffer = vec![0; longest];
    loop {
        let until = link.last() + idle;
        match timeout_at(until, socket.receive(&mut buffer)).await {
            Ok(Ok(length)) => {
                link.touch();
                datagram.reply(buffer.get(..length).unwrap_or_default()).await?;
            }
            Ok(Err(DatagramError::TooLong { .. })) => {} // it is lost, as it would be on the way
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if link.last() + idle <= Instant::now() => return Ok(()),
            Err(_) => {} // the client has said something meanwhile
        }
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> Arc<Link> {
        let new = || Link { socket: OnceCell::new(), last: Mutex::new(Instant::now()) };
        Arc::clone(self.lock().get_or_insert_with(|| Arc::new(new())))
    }

    /// Whoever comes next begins anew.
    fn forget(&self, link: &Arc<Link>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *current = None;
        }
    }
}

impl Link {
    fn touch(&self) {
        if let Some((.., account)) = self.socket.get() {
            account.touch();
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
