//! Datagrams, handed on as they are: each client has a socket of its own to the server, as long as
//! the listener remembers it and the server is one that it may be sent to.
//!
//! The listener remembers so many, and forgets who was silent for longest when another one comes
//! (`staunch-net`'s `udp`). Whose client is forgotten closes its socket; who is new waits for that.
//! Once the gateway is to end, no datagram is taken, and the answers of the last ones are waited for.
//!
//! **Invariant.** A listener has no more sockets to servers than it may remember clients: each has
//! a place from before it is made until after it is closed.

mod names;
mod open;
mod receiver;
mod session;

use std::{io, sync::Arc};

use rustix::io::Errno;
use staunch_guard::{Guard, Refused};
use staunch_net::{Datagram, DatagramError, DialError, UdpServer};
use staunch_scope::{Cancelled, shield};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::{receiver::Receiver, session::Session};
use self::{
    receiver::{DESCRIPTORS, FULL, NO_SERVER, PRESSURE, STOPPING, TOO_LONG, UNREACHABLE},
    session::{Link, Open},
};
use crate::{core::Shared, forward::Failure};

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
    #[error("too many others were waiting for a socket to their server")]
    Crowded,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no socket: {0}")]
    NoSocket(#[source] DialError),
    #[error("no server of the service is well, or none is reached by UDP")]
    NoServer,
    #[error(transparent)]
    Dial(DialError),
    #[error(transparent)]
    Datagram(DatagramError),
    #[error("its client was not sent an answer: {0}")]
    Reply(#[source] io::Error),
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

/// Hands a datagram on if its client has a socket that takes it at once. So they keep their order.
pub(crate) fn serve_at_once(ways: &Ways, datagram: &Datagram<Session>) -> bool {
    let Some(link) = datagram.state().open_link(ways) else { return false };
    let Some(open) = link.open.get() else { return false };
    open.account.touch();
    let Err(error) = open.socket.try_send(datagram.bytes()) else { return true };
    link.has_one_less();
    if error.kind() == io::ErrorKind::WouldBlock {
        return false;
    }
    if is_unreachable(&error) {
        link.broken.cancel();
    }
    ways.receiver.lost(&error.into());
    true
}

/// Hands a datagram on. The first one of a client stays, to hand back what the server says, until
/// the client is forgotten; once the task is asked to stop, until what was asked is answered, or the
/// time for that is over.
pub(crate) async fn serve(ways: Ways, datagram: Datagram<Session>) -> Result<(), UdpError> {
    let link = datagram.state().link(&ways);
    let mut is_first = false;
    let handed_on = hand_on(&ways, &link, &datagram, &mut is_first).await;
    if let Err(error) = &handed_on {
        link.has_one_less();
        ways.receiver.lost(error);
    }
    let Some(open) = link.open.get().filter(|_| is_first) else { return handed_on };
    let back = Back { ways: &ways, link: &link, open, datagram: &datagram };
    let answered = match back.until_forgotten().await {
        Err(UdpError::Cancelled(_)) => shield(back.until_answered()).await,
        answered => answered,
    };
    datagram.state().forget(&link); // who comes next begins anew, perhaps with another server
    handed_on.and(answered)
}

/// `is_first` becomes true if it is the one that has opened the socket. What was received is handed
/// on, also by one that is about to stop.
async fn hand_on(
    ways: &Ways,
    link: &Link,
    datagram: &Datagram<Session>,
    is_first: &mut bool,
) -> Result<(), UdpError> {
    let open = match link.open.get() {
        Some(open) => open,
        None => opened(ways, link, datagram, is_first).await?,
    };
    open.account.touch();
    let sent = shield(open.socket.send(datagram.bytes())).await;
    if matches!(&sent, Err(DatagramError::Io(error)) if is_unreachable(error)) {
        link.broken.cancel();
    }
    Ok(sent?)
}

/// The socket of the datagram's client, which is opened by the first that comes.
async fn opened<'l>(
    ways: &Ways,
    link: &'l Link,
    datagram: &Datagram<Session>,
    is_first: &mut bool,
) -> Result<&'l Open, UdpError> {
    // Who waits is among those that are handed on, who are only so many at a time.
    let _waits = ways.receiver.waiting.try_acquire().map_err(|_| UdpError::Crowded)?;
    let opening = link.open.get_or_try_init(async || {
        let opened = open::open(ways, datagram).await?;
        *is_first = true;
        Ok::<_, UdpError>(opened)
    });
    tokio::select! {
        biased;
        _ = shield(datagram.forgotten()) => Err(UdpError::Full),
        open = opening => open,
    }
}

/// The way back.
struct Back<'s> {
    ways: &'s Ways,
    link: &'s Link,
    open: &'s Open,
    datagram: &'s Datagram<Session>,
}

/// Whether there is more to hand back.
enum Then {
    More,
    /// Nothing came, and nothing more will.
    End,
}

impl Back<'_> {
    /// Hands back what the server says, until nobody is there who wants it.
    async fn until_forgotten(&self) -> Result<(), UdpError> {
        let mut buffer = self.buffer();
        while let Then::More = self.next(&mut buffer).await? {
            let is_owed = self.link.is_owed_for(self.ways.receiver.last_answers).is_some();
            if !is_owed && !self.open.chosen.is_listed(&self.ways.core) {
                break;
            }
        }
        Ok(())
    }

    /// Hands back what is on its way: as many answers as datagrams were sent, if they come in time.
    async fn until_answered(&self) -> Result<(), UdpError> {
        let last_answers = self.ways.receiver.last_answers;
        let last = Instant::now() + last_answers;
        let mut buffer = self.buffer();
        while let Some(left) = self.link.is_owed_for(last_answers) {
            let until = last.min(Instant::now() + left);
            match timeout_at(until, self.next(&mut buffer)).await {
                Ok(Ok(Then::More)) => {}
                Ok(Ok(Then::End)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn buffer(&self) -> Vec<u8> {
        vec![0; self.ways.receiver.longest]
    }

    /// Hands back one datagram.
    async fn next(&self, buffer: &mut [u8]) -> Result<Then, UdpError> {
        let Back { ways: Ways { receiver, .. }, link, open, datagram } = *self;
        let received = tokio::select! {
            biased;
            forgotten = datagram.forgotten() => return Ok(forgotten.map(|()| Then::End)?),
            () = link.broken.cancelled() => Err(io::Error::from(Errno::CONNREFUSED).into()),
            () = link.left.cancelled() => return Ok(Then::End),
            received = open.socket.receive(buffer) => received,
        };
        let answer = match received {
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
            Err(error @ DatagramError::TooLong { .. }) => Err(error),
            // Nobody listens there (ICMP, udp(7)).
            Err(DatagramError::Io(error)) if is_unreachable(&error) => {
                link.broken.cancel();
                open.chosen.failed(Failure::Unreachable, &error);
                return Ok(Then::End);
            }
            Err(DatagramError::Io(error)) if is_passing(&error) => {
                receiver.lost(&error.into());
                return Ok(Then::More);
            }
            Err(error) => return Err(error.into()),
        };
        if link.answered() {
            open.chosen.answered();
        }
        let handed_back = match answer {
            Ok(answer) => datagram.reply(answer).await.map_err(UdpError::Reply),
            Err(too_long) => Err(too_long.into()),
        };
        match handed_back {
            Ok(()) => open.account.touch(),
            Err(error) => receiver.lost(&error), // the next one may fit, or have room
        }
        Ok(Then::More)
    }
}

/// Whether it says that no datagram arrives there.
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// Whether it is about one datagram, and says nothing about the next one.
fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MSGSIZE | Errno::NOBUFS | Errno::NOMEM | Errno::INTR))
}

/// The place of what a socket says.
fn of_socket(error: &io::Error) -> usize {
    match Errno::from_io_error(error) {
        Some(Errno::MSGSIZE) => TOO_LONG,
        Some(Errno::NOBUFS | Errno::NOMEM) => DESCRIPTORS,
        _ => UNREACHABLE,
    }
}

impl From<DatagramError> for UdpError {
    fn from(error: DatagramError) -> UdpError {
        match error {
            DatagramError::Cancelled(cause) => UdpError::Cancelled(cause),
            error => UdpError::Datagram(error),
        }
    }
}

impl UdpError {
    /// The place of its reason in [`receiver::LOSSES`].
    fn place(&self) -> usize {
        match self {
            UdpError::Datagram(DatagramError::TooLong { .. }) => TOO_LONG,
            UdpError::Datagram(DatagramError::Io(error))
            | UdpError::Reply(error)
            | UdpError::Io(error) => of_socket(error),
            UdpError::Full | UdpError::Crowded => FULL,
            UdpError::Refused(_) => PRESSURE,
            UdpError::NoSocket(_) => DESCRIPTORS,
            UdpError::NoServer => NO_SERVER,
            UdpError::Dial(_) | UdpError::Datagram(_) => UNREACHABLE,
            UdpError::Cancelled(_) => STOPPING,
        }
    }
}
