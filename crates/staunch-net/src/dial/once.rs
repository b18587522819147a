//! Dials one connection that nobody watches.

use std::{fmt, future::Future, panic::Location, path::Path};

use staunch_scope::Context;
use tokio::net::ToSocketAddrs;

use crate::{
    connection::Connection,
    dial::{DialError, DialOptions, Dialer},
    tls::{TlsConnection, TlsTrust},
};

/// Dials one TCP connection that nobody watches; for more, or for limits, see [`Dialer`]. It
/// belongs to the task that dials it: one that outlives its task is a leak.
///
/// # Errors
/// As [`Dialer::tcp`].
///
/// # Cancel safety
/// As [`Dialer::tcp`].
///
/// # Examples
/// ```no_run
/// use staunch_net::{DialOptions, dial_tcp};
/// use staunch_scope::Context;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let connection =
///     dial_tcp(&Context::current(), "localhost:9000", &DialOptions::default()).await?;
/// connection.write_all([b"hi there\n"]).await?;
/// println!("{:?}", connection.lines().next().await?);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn dial_tcp<A: ToSocketAddrs + fmt::Display>(
    context: &Context,
    address: A,
    options: &DialOptions,
) -> impl Future<Output = Result<Connection, DialError>> + use<A> {
    let (born_at, context) = (Location::caller(), context.clone());
    let dialer = Dialer::unwatched(options.clone());
    async move { dialer.tcp_at(born_at, context, address).await }
}

/// Dials one Unix socket, with nobody to watch the connection; for more, or for limits, see
/// [`Dialer`].
///
/// # Errors
/// As [`Dialer::unix`].
///
/// # Cancel safety
/// As [`Dialer::tcp`].
#[track_caller]
pub fn dial_unix<P: AsRef<Path>>(
    context: &Context,
    path: P,
    options: &DialOptions,
) -> impl Future<Output = Result<Connection, DialError>> + use<P> {
    let (born_at, context) = (Location::caller(), context.clone());
    let dialer = Dialer::unwatched(options.clone());
    async move { dialer.unix_at(born_at, context, path).await }
}

/// Dials one TLS connection that nobody watches; for more, or for limits, see [`Dialer`].
///
/// # Errors
/// As [`Dialer::tls`].
///
/// # Cancel safety
/// As [`Dialer::tcp`].
#[track_caller]
pub fn dial_tls<A: ToSocketAddrs + fmt::Display>(
    context: &Context,
    address: A,
    server_name: &str,
    trust: &TlsTrust,
    options: &DialOptions,
) -> impl Future<Output = Result<TlsConnection, DialError>> + use<A> {
    let (born_at, context) = (Location::caller(), context.clone());
    let peer = (server_name.to_owned(), trust.clone());
    let dialer = Dialer::unwatched(options.clone());
    async move { dialer.tls_at(born_at, context, address, peer).await }
}
