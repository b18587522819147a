//! TLS by rustls, with ring: listeners whose certificates can be replaced while they run, and
//! connections that are watched like any other.
//!
//! A [`TlsConnection`] is a [`Connection`](crate::Connection) with a TLS session around it. The
//! listener, its limits, the watchdog and the drain know nothing of TLS: `handshake` runs in the
//! connection's own task, and says on the ledger that it is a handshake, which is the state the
//! watchdog applies `Limits::handshake` to.
//!
//! | file | what |
//! | --- | --- |
//! | `config` | what a listener presents: certificate, key, protocols |
//! | `trust` | what a dialer believes: roots, protocols |
//! | `files` | both read PEM files; errors name file and remedy |
//! | `validity` | when a certificate is valid, read from its DER |
//! | `reload` | looks after the files of a listener while it runs |
//! | `handshake` | from a connection to a TLS connection, on either side |
//! | `failure` | why handshakes fail, for those who count |
//! | `serve` | the TLS listener |
//! | `connection` | the stream that handlers get |

mod config;
mod connection;
mod failure;
mod files;
mod handshake;
mod reload;
mod serve;
mod trust;
mod validity;

pub(crate) use self::handshake::connect;
pub use self::{
    config::{ClientAuth, TlsConfig},
    connection::TlsConnection,
    failure::HandshakeFailure,
    files::LoadTlsError,
    handshake::HandshakeError,
    trust::TlsTrust,
};
