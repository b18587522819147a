//! Connections that somebody else hands on, who says whose they are.
//!
//! Whom that is told of is known here, and not in the connection: those of most listeners have no
//! need of it.

mod header;

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use staunch_scope::{Cancelled, State, with_current_account};
use tokio::io::{AsyncRead, ReadBuf};

pub use self::header::{ParseProxyHeaderError, ProxyHeader};
use crate::{
    admission::{Source, TooMany},
    connection::Connection,
    counts::Refused,
    first_words::until_drained,
    watchdog::Cut,
};

/// Whom a listener believes, and what it was told of connections.
pub(crate) struct Proxies {
    believes: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// By the connection's key.
    told: Mutex<HashMap<u32, Told>>,
}

#[derive(Clone, Copy)]
struct Told {
    peer: SocketAddr,
    /// Whom the limits count it for.
    source: Option<Source>,
}

const REMEDY: &str = "have its peer send the header, or take it out of those that are believed \
                      (`proxy_protocol_from`)";

/// It was not said whose a connection is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntroduceError {
    #[error("{0}; {REMEDY}")]
    Header(#[from] ParseProxyHeaderError),
    #[error("it ended before the PROXY protocol had said whose it is: {0}; {REMEDY}")]
    Io(#[from] io::Error),
    /// Somebody who looks whether the port is open.
    #[error("it ended without having said anything")]
    Silent,
    #[error("{1}")]
    TooMany(SocketAddr, TooMany),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Proxies {
    pub(crate) fn new(believes: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Proxies {
        Proxies { believes: Box::new(believes), told: Mutex::default() }
    }

    pub(crate) fn believes(&self, ip: IpAddr) -> bool {
        (self.believes)(ip)
    }

    fn told(&self) -> MutexGuard<'_, HashMap<u32, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose the connection is, if that was said.
    pub(crate) fn peer(&self, key: u32) -> Option<SocketAddr> {
        self.told().get(&key).map(|told| told.peer)
    }

    /// The connection has ended; whom it was counted for.
    pub(crate) fn forget(&self, key: u32) -> Option<Source> {
        let mut told = self.told();
        let source = told.remove(&key)?.source;
        if told.is_empty() {
            *told = HashMap::new(); // gives its memory back
        }
        source
    }

    pub(crate) fn tell(&self, key: u32, peer: SocketAddr, source: Option<Source>) {
        self.told().insert(key, Told { peer, source });
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

/// Runs `handler` once it is known whose the connection is.
pub(crate) async fn introduced<H, F, E>(
    mut connection: Connection,
    handler: Arc<H>,
) -> Result<(), E>
where
    H: Fn(Connection) -> F,
    F: Future<Output = Result<(), E>>,
{
    // In memory of its own, which is given back when it is over.
    let introduced = until_drained(introduce(&mut connection)).await;
    match introduced.unwrap_or_else(|cancelled| Err(cancelled.into())) {
        Ok(()) => handler(connection).await,
        Err(IntroduceError::Silent) => Ok(()),
        Err(error) => {
            count(&connection, &error);
            let _ = connection.reset_on_close(); // the peer may have gone meanwhile
            Ok(())
        }
    }
}

fn count(connection: &Connection, error: &IntroduceError) {
    let Some(counts) = connection.counts() else { return };
    match error {
        IntroduceError::Io(error) if Cut::is_in(error) => {
            counts.refused_late(Refused::ProxyProtocol);
        }
        IntroduceError::Header(_) | IntroduceError::Io(_) => {
            counts.refused(Refused::ProxyProtocol, connection.known_peer(), error);
        }
        IntroduceError::TooMany(client, _) => counts.refused(Refused::PerIp, Some(client), error),
        IntroduceError::Silent | IntroduceError::Cancelled(_) => {}
    }
}

async fn introduce(connection: &mut Connection) -> Result<(), IntroduceError> {
    if !connection.is_handed_on() {
        return Ok(());
    }
    let header = read(connection).await?;
    if let Some((client, _)) = header.addresses {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        connection.is_of(client).map_err(|error| IntroduceError::TooMany(client, error))?;
        with_current_account(|task| task.peer(client));
    }
    connection.begins_anew();
    Ok(())
}

/// Reads the header, and not a byte more.
async fn read(connection: &mut Connection) -> Result<ProxyHeader, IntroduceError> {
    let mut bytes = Vec::new();
    loop {
        if let Some((header, _)) = ProxyHeader::parse(&bytes)? {
            return Ok(header);
        }
        let before = bytes.len();
        bytes.resize(before + ProxyHeader::may_read(&bytes), 0);
        let mut room = ReadBuf::new(&mut bytes[before..]);
        let read = poll_fn(|cx| {
            let polled = Pin::new(&mut *connection).poll_read(cx, &mut room);
            connection.account().set_state(State::Handshake); // which has a time of its own
            polled
        });
        let read = read.await;
        let came = room.filled().len();
        bytes.truncate(before + came);
        let ended = match read {
            Ok(()) if came > 0 => continue,
            Ok(()) => io::Error::from(io::ErrorKind::UnexpectedEof),
            Err(error) => error,
        };
        let is_silent = bytes.is_empty() && !Cut::is_in(&ended);
        return Err(if is_silent { IntroduceError::Silent } else { ended.into() });
    }
}
