//! Datagrams, handed on as they are: each client has a socket of its own to the server, as long as
//! the listener remembers it.
//!
//! The listener remembers so many, and forgets who was silent for longest when another one comes
//! (`staunch-net`'s `udp`). Whose client is forgotten closes its socket; who is new waits for that.
//!
//! **Invariant.** A listener has no more sockets to servers than it may remember clients: each has
//! a place from before it is made until after it is closed.

mod receiver;

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;
use staunch_config::EndpointAddress;
use staunch_guard::{Admission, Guard, Priority, Refused};
use staunch_ledger::{Account, State};
use staunch_net::{Datagram, DatagramError, DialError, DialOptions, UdpPeer, UdpServer, dial_udp};
use staunch_scope::{Cancelled, Context, Wait, with_current_account};
use tokio::{
    sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub(crate) use self::receiver::Receiver;
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

/// A client's way to its server.
#[derive(Debug, Default)]
struct Link {
    open: OnceCell<Open>,
    /// A send has heard that nobody listens.
    broken: Notify,
}

/// A client's socket to its server.
#[derive(Debug)]
struct Open {
    socket: UdpPeer,
    chosen: Chosen,
    account: Account,
    _admission: Option<Admission>,
    /// Given back last.
    _place: OwnedSemaphorePermit,
}

/// The server that a client's datagrams go to.
#[derive(Debug)]
struct Chosen {
    service: Arc<ServicePlan>,
    server: Arc<ServerPlan>,
}

/// What a datagram is handed on by.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) core: Arc<Shared>,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) guard: Option<Guard>,
}

/// Why a datagram was not handed on, or its client has no more answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UdpError {
    #[error("its client had to make room for others before it had a socket")]
    Full,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no socket: {0}")]
    NoSocket(#[source] DialError),
    #[error("no server of the service is well, or none is reached by UDP")]
    NoServer,
    #[error(transparent)]
    Dial(DialError),
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The server, which takes no clients that are new as long as `guard` refuses connections.
pub fn guarded_datagrams(server: UdpServer, guard: Option<&Guard>) -> UdpServer {
    let Some(guard) = guard.cloned() else { return server };
    server.refuse_while(move || guard.refuses_connections())
}

/// Hands a datagram on. The first one of a client stays, to hand back what the server says, until
/// the client is forgotten.
pub(crate) async fn serve(ways: Ways, datagram: Datagram<Session>) -> Result<(), UdpError> {
    let link = datagram.state().link();
    let mut is_first = false;
    let handed_on = hand_on(&ways, &link, &datagram, &mut is_first).await;
    if let Err(error) = &handed_on {
        ways.receiver.lost(error);
    }
    let Some(open) = link.open.get().filter(|_| is_first) else { return handed_on };
    let answered = answers(&ways.receiver, &link, open, &datagram).await;
    datagram.state().forget(&link); // who comes next begins anew, perhaps with another server
    handed_on.and(answered)
}

/// `is_first` becomes true if it is the one that has opened the socket.
async fn hand_on(
    ways: &Ways,
    link: &Link,
    datagram: &Datagram<Session>,
    is_first: &mut bool,
) -> Result<(), UdpError> {
    let opening = link.open.get_or_try_init(async || {
        let opened = open(ways, datagram).await?;
        *is_first = true;
        Ok::<_, UdpError>(opened)
    });
    let open = tokio::select! {
        biased;
        forgotten = datagram.forgotten() => {
            forgotten?;
            return Err(UdpError::Full);
        }
        open = opening => open?,
    };
    open.account.touch();
    let sent = open.socket.send(datagram.bytes()).await;
    if matches!(&sent, Err(DatagramError::Io(error)) if is_unreachable(error)) {
        link.broken.notify_one();
    }
    Ok(sent?)
}

async fn open(ways: &Ways, datagram: &Datagram<Session>) -> Result<Open, UdpError> {
    let Ways { core, receiver, guard } = ways;
    let place = place(&receiver.places).await?;
    let admission = guard.as_ref().map(|it| it.admit(Priority::High)).transpose()?;
    let state = core.state();
    let (_, upstream) = state.upstream(&receiver.service).ok_or(UdpError::NoServer)?;
    // It stays for the session, and so does its name of the client.
    with_current_account(|task| task.peer(datagram.peer()));
    let account = accounts::exchange(&receiver.service, &[]);
    let (socket, chosen) = dial(upstream, datagram).await?;
    account.set_upstream(&chosen.server.name);
    Ok(Open { socket, chosen, account, _admission: admission, _place: place })
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Cancelled> {
    let mut wait = Wait::new();
    let mut acquire = pin!(Arc::clone(places).acquire_owned());
    poll_fn(|cx| wait.poll(cx, State::Waiting, |cx| acquire.as_mut().poll(cx)))
        .await?
        .map_err(|_| Cancelled::Requested) // it is never closed
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
        Ok(socket) => Ok((socket, chosen)),
        Err(DialError::Cancelled(cause)) => Err(cause.into()),
        Err(error) if error.is_local() => Err(UdpError::NoSocket(error)),
        Err(error) => {
            chosen.failed(Failure::of_dial(&error), &error);
            Err(UdpError::Dial(error))
        }
    }
}

/// Hands back what the server says.
async fn answers(
    receiver: &Receiver,
    link: &Link,
    open: &Open,
    datagram: &Datagram<Session>,
) -> Result<(), UdpError> {
    let mut buffer = vec![0; receiver.longest];
    let mut has_answered = false;
    loop {
        let received = tokio::select! {
            biased;
            forgotten = datagram.forgotten() => return Ok(forgotten?),
            () = link.broken.notified() => Err(io::Error::from(Errno::CONNREFUSED).into()),
            received = open.socket.receive(&mut buffer) => received,
        };
        let length = match received {
            Ok(length) => Ok(length),
            Err(error @ DatagramError::TooLong { .. }) => Err(error),
            // Nobody listens there (ICMP, udp(7)).
            Err(DatagramError::Io(error)) if is_unreachable(&error) => {
                open.chosen.failed(Failure::Unreachable, &error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if !std::mem::replace(&mut has_answered, true) {
            open.chosen.answered();
        }
        match length {
            Ok(length) => {
                open.account.touch();
                datagram.reply(buffer.get(..length).unwrap_or_default()).await?;
            }
            Err(too_long) => receiver.lost(&too_long.into()),
        }
    }
}

/// Whether it says that no datagram arrives there.
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

impl Chosen {
    /// It has said something, the first thing to this client.
    fn answered(&self) {
        self.server.counts.answered();
        self.service.succeeded(&self.server, Instant::now());
    }

    fn failed(&self, failure: Failure, why: &dyn fmt::Display) {
        if failure.is_servers() {
            self.service.unanswered(&self.server, failure, why, Instant::now());
        }
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> Arc<Link> {
        Arc::clone(self.lock().get_or_insert_default())
    }

    /// Whoever comes next begins anew.
    fn forget(&self, link: &Arc<Link>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *current = None;
        }
    }
}

impl UdpError {
    /// The place of its reason in [`receiver::LOSSES`].
    fn place(&self) -> usize {
        match self {
            UdpError::Datagram(DatagramError::TooLong { .. }) => 0,
            UdpError::Full => 1,
            UdpError::Refused(_) => 2,
            UdpError::NoSocket(_) => 3,
            UdpError::NoServer => 4,
            UdpError::Dial(_) | UdpError::Datagram(_) | UdpError::Io(_) => 5,
            UdpError::Cancelled(_) => 6,
        }
    }
}
