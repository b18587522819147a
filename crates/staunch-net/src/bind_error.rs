//! Why a socket could not be bound.

use std::{fmt, io};

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there.
    #[error(
        "{endpoint}: already in use; find the other process with `ss -lptun`, or choose another address"
    )]
    InUse {
        /// Where.
        endpoint: String,
    },
    /// The port is below 1024 and this process may not use it.
    #[error(
        "{endpoint}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another port"
    )]
    NotPermitted {
        /// Where.
        endpoint: String,
    },
    /// No interface has the address.
    #[error("{endpoint}: no interface of this machine has that address; `ip addr` lists them")]
    NotAvailable {
        /// Where.
        endpoint: String,
    },
    /// Anything else.
    #[error("{endpoint}: cannot listen: {source}")]
    Io {
        /// Where.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn new(endpoint: &impl fmt::Display, source: io::Error) -> BindError {
        let endpoint = endpoint.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { endpoint },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { endpoint },
            io::ErrorKind::AddrNotAvailable => BindError::NotAvailable { endpoint },
            _ => BindError::Io { endpoint, source },
        }
    }
}
