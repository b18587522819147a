//! Plain TCP connections.

use std::{
    panic::Location,
    pin::Pin,
    task::{Context as Poller, Waker},
};

use staunch_net::{Connection, DialError, Dialer};
use staunch_scope::Context;
use tokio::io::{AsyncRead, ReadBuf};

use crate::manager::{Condition, Manager};

/// Dials TCP connections to one address.
///
/// Of what is spoken on them it knows nothing. A connection that comes back with bytes unread, or
/// closed by the peer, is broken; whoever stops in the middle of an exchange before the answer has
/// come must [`destroy`](crate::Lease::destroy) its lease.
///
/// # Examples
/// ```no_run
/// use staunch_net::{DialOptions, Dialer, Limits};
/// use staunch_pool::{Pool, PoolOptions, Tcp};
/// use staunch_scope::{BoxError, Context, scope};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// scope(&Context::current(), |s| async move {
///     let dialer = Dialer::watched(&s, DialOptions::default(), Limits::default());
///     let pool = Pool::new(&s, Tcp::new(dialer, "cache:11211"), PoolOptions::default())?;
///     let mut lease = pool.acquire().await?;
///     let connection = lease.connection()?;
///     connection.write_all([b"version\r\n"]).await?;
///     println!("{:?}", connection.lines().next().await?);
///     Ok::<_, BoxError>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tcp {
    dialer: Dialer,
    address: String,
    born_at: &'static Location<'static>,
}

impl Tcp {
    /// Dials `host:port` with `dialer`. The connections are born on the caller's line.
    #[track_caller]
    pub fn new(dialer: Dialer, address: impl Into<String>) -> Tcp {
        Tcp { dialer, address: address.into(), born_at: Location::caller() }
    }
}

impl Manager for Tcp {
    type Connection = Connection;
    type Error = DialError;

    async fn connect(&self) -> Result<Connection, DialError> {
        self.dialer.tcp_at(self.born_at, Context::current(), &self.address).await
    }

    async fn validate(&self, connection: &mut Connection) -> Result<(), DialError> {
        match self.condition(connection) {
            Condition::Clean => Ok(()),
            _ => Err(DialError::Refused { address: self.address.clone() }),
        }
    }

    fn condition(&self, connection: &mut Connection) -> Condition {
        let mut cx = Poller::from_waker(Waker::noop());
        let mut byte = [0];
        let read = Pin::new(connection).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        if read.is_pending() { Condition::Clean } else { Condition::Broken }
    }

    fn killer(&self, connection: &Connection) -> Option<Box<dyn Fn() + Send + Sync>> {
        let closer = connection.closer();
        Some(Box::new(move || closer.close()))
    }
}
