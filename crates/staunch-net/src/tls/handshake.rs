//! From a connection to a TLS connection, on either side.

use std::{
    future::{Future, poll_fn},
    io,
    sync::Arc,
};

use rustls::{ClientConfig, InvalidMessage, ServerConfig, pki_types::ServerName};
use staunch_scope::{Cancelled, State, Wait};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    activity::Reading,
    connection::Connection,
    first_words::until_drained,
    linger::linger,
    tls::{
        connection::{TlsConnection, Wire},
        failure::HandshakeFailure,
    },
};

/// The two sides did not come to speak TLS with each other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What came is no TLS.
    #[error(
        "the peer does not speak TLS: plain HTTP to a TLS port, or a TLS client to a plain one?"
    )]
    NotTls,
    /// One side did not accept the other.
    #[error("TLS handshake failed: {0}")]
    Failed(rustls::Error),
    /// The connection ended before they had agreed.
    #[error("the connection ended during the TLS handshake: {0}")]
    Io(io::Error),
    /// The task was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        match error.downcast::<rustls::Error>() {
            Ok(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                HandshakeError::NotTls
            }
            Ok(error) => HandshakeError::Failed(error),
            Err(error) => HandshakeError::Io(error),
        }
    }
}

impl HandshakeError {
    /// Whether the peer was told of it, by an alert (RFC 8446, 6.2).
    fn is_told(&self) -> bool {
        match self {
            HandshakeError::NotTls => true,
            HandshakeError::Failed(error) => !matches!(error, rustls::Error::AlertReceived(_)),
            HandshakeError::Io(_) | HandshakeError::Cancelled(_) => false,
        }
    }
}

/// The server's side. A peer that is refused has the time to read why.
///
/// # Cancel safety
/// Not cancel safe: the connection is lost with the future.
pub(crate) async fn accept(
    connection: Connection,
    config: Arc<ServerConfig>,
) -> Result<TlsConnection, HandshakeError> {
    let accept = TlsAcceptor::from(config).accept(Wire::new(connection)).into_fallible();
    let accepted = until_drained(async {
        match accept.await {
            Ok(stream) => Ok(stream),
            Err((error, wire)) => Err(refuse(wire, error.into()).await),
        }
    });
    // As after accepting: what comes next is the first byte.
    Ok(TlsConnection::new(accepted.await??, Reading::New))
}

/// Ends what came to no session.
async fn refuse(mut wire: Wire, error: HandshakeError) -> HandshakeError {
    count(&wire, &error);
    if error.is_told() && wire.shutdown_write().is_ok() {
        linger(&mut wire).await; // so that it reads the alert
    }
    error
}

/// But for those who have said nothing: they have looked whether the port is open.
fn count(wire: &Wire, error: &HandshakeError) {
    let (connection, why) = (wire.connection(), HandshakeFailure::of(error));
    let says_nothing = !wire.is_heard() && why == Some(HandshakeFailure::Closed);
    if let (Some(counts), Some(why), false) = (connection.counts(), why, says_nothing) {
        counts.handshake_failed(why, connection.known_peer(), error);
    }
}

/// The client's side, with a server that must prove to be `name`.
///
/// # Cancel safety
/// Not cancel safe: the connection is lost with the future.
pub(crate) async fn connect(
    connection: Connection,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> Result<TlsConnection, HandshakeError> {
    let connect = TlsConnector::from(config).connect(name, Wire::new(connection));
    Ok(TlsConnection::new(until_stop(connect).await??, Reading::Unused))
}

/// Runs the handshake unless the task is asked to stop. In memory of its own, which is given
/// back when it is over: the task's stays as long as the connection does.
async fn until_stop<F: Future>(handshake: F) -> Result<F::Output, Cancelled> {
    let mut handshake = Box::pin(handshake);
    let mut wait = Wait::new();
    poll_fn(|cx| wait.poll(cx, State::Handshake, |cx| handshake.as_mut().poll(cx))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every TLS connection has room for it in its task, for as long as it lives.
    #[test]
    fn a_handshake_takes_little_of_the_task() {
        fn size<F>(_: fn(Connection, Arc<ServerConfig>) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(accept);
        assert!(size <= 200, "{size} bytes");
    }
}
