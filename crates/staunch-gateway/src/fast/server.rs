//! Connections to a server on which one request follows the other.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Poller, Waker},
};

use staunch_config::EndpointAddress;
use staunch_net::{DialError, Dialer, ReadFor};
use staunch_pool::{Condition, Manager, OwnedInUse, Pool};
use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop::unconstrained,
};

use crate::{
    forward::Failure,
    link::{Carries, Link, LinkTls},
};

/// Dials a server.
#[derive(Debug)]
pub(crate) struct Dials {
    dialer: Arc<Dialer>,
    address: EndpointAddress,
    tls: Option<Arc<LinkTls>>,
}

/// A connection to a server: in the middle of an exchange it is good for nobody else.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(crate) io: Link,
    is_in_exchange: bool,
    has_been_used: bool,
}

/// There is no connection.
#[derive(Debug)]
pub(crate) struct Unleased {
    pub(crate) failure: Failure,
    /// For our own log.
    pub(crate) why: String,
}

/// The right to use one.
pub(crate) type Leased = OwnedInUse<Dials>;

impl Dials {
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        address: EndpointAddress,
        tls: Option<Arc<LinkTls>>,
    ) -> Dials {
        Dials { dialer, address, tls }
    }
}

impl Manager for Dials {
    type Connection = ServerConnection;
    type Error = DialError;

    async fn connect(&self) -> Result<ServerConnection, DialError> {
        let tls = self.tls.as_deref();
        let io = Link::dial(&self.dialer, &self.address, tls, (Carries::Http, None)).await?;
        Ok(ServerConnection { io, is_in_exchange: false, has_been_used: false })
    }

    fn is_local(&self, error: &DialError) -> bool {
        error.is_local()
    }

    fn condition(&self, connection: &mut ServerConnection) -> Condition {
        if connection.is_in_exchange { Condition::Broken } else { Condition::Clean }
    }

    fn killer(&self, connection: &ServerConnection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let closer = connection.io.closer();
        Some(Box::new(move || closer.close()))
    }
}

impl ServerConnection {
    /// An exchange begins; whether the connection has had one before.
    fn begin(&mut self) -> bool {
        self.is_in_exchange = true;
        std::mem::replace(&mut self.has_been_used, true)
    }

    /// The exchange is over, to the last byte of both sides.
    pub(crate) fn complete(&mut self) {
        self.is_in_exchange = false;
        self.io.reads_for(ReadFor::Message);
    }

    /// Whether the server says nothing, not even that it has gone. Without a system call if the
    /// kernel has told nothing.
    fn is_quiet(&mut self) -> bool {
        let (mut cx, mut byte) = (Poller::from_waker(Waker::noop()), [0]);
        let read = poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        // Without a budget: a task that has none left would see nothing.
        pin!(unconstrained(read)).poll(&mut cx).is_pending()
    }
}

/// A connection that begins an exchange, and whether it has had one before. Those that the server
/// has closed meanwhile are left out.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn lease(pool: &Pool<Dials>) -> Result<(Leased, bool), Unleased> {
    loop {
        let lease = pool.acquire().await.map_err(|error| Unleased {
            failure: Failure::of_acquire(&error),
            why: error.to_string(),
        })?;
        let mut leased = lease
            .into_use()
            .map_err(|error| Unleased { failure: Failure::Closed, why: error.to_string() })?;
        let is_good = !leased.has_been_used || leased.is_quiet();
        let has_been_used = leased.begin();
        if is_good {
            return Ok((leased, has_been_used));
        }
    }
}
