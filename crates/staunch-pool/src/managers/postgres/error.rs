//! Why there is no connection to PostgreSQL.

use std::{error::Error, io};

use staunch_net::{DialError, HandshakeError};

/// There is no connection to PostgreSQL, or it does not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectPostgresError {
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It said no, or the connection broke.
    #[error("postgresql: {}", described(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The configuration names no server.
    #[error("the PostgreSQL configuration names no host: write host=NAME, or host=/run/postgresql")]
    NoHost,
    /// TLS is demanded, and nothing says whom to trust.
    #[error(
        "postgresql: sslmode=require, but whom to trust is not said: call Postgres::tls, or write sslmode=disable"
    )]
    NoTrust,
    /// TLS is demanded, and the server does not speak it.
    #[error(
        "postgresql: {server}: sslmode=require, but it does not speak TLS: set ssl=on there, or write sslmode=prefer"
    )]
    NoTls {
        /// Which server.
        server: String,
    },
    /// The two sides did not come to speak TLS with each other.
    #[error(
        "postgresql: {server}: {source}; its certificate must be for this name, and of an issuer that the ClientConfig trusts"
    )]
    Handshake {
        /// Which server.
        server: String,
        /// Why.
        source: HandshakeError,
    },
    /// A certificate cannot be for such a name.
    #[error(
        "postgresql: host {host} is neither a DNS name nor an IP address: no certificate can be for it"
    )]
    ServerName {
        /// `host`
        host: String,
    },
}

impl ConnectPostgresError {
    /// What went wrong while TLS was wanted; `began` says whether the handshake had.
    pub(super) fn secure(
        server: String,
        error: tokio_postgres::Error,
        is_required: bool,
        began: bool,
    ) -> ConnectPostgresError {
        if error.source().is_some_and(<dyn Error>::is::<HandshakeError>) {
            let source = error.into_source().and_then(|source| source.downcast().ok());
            let closed = || HandshakeError::Io(io::ErrorKind::ConnectionAborted.into());
            let source = source.map_or_else(closed, |source| *source);
            return ConnectPostgresError::Handshake { server, source };
        }
        let broke = error.is_closed() || error.source().is_some_and(<dyn Error>::is::<io::Error>);
        if is_required && !began && !broke {
            return ConnectPostgresError::NoTls { server };
        }
        error.into()
    }
}

/// tokio-postgres says `db error`; what the server said is its source.
pub(super) fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {} ({})", said.severity(), said.message(), said.code().code()),
        None => error.to_string(),
    }
}
