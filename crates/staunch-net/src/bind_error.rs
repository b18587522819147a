//! Why a socket could not be bound.

use std::{fmt, fs, io, os::unix::fs::FileTypeExt};

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there.
    #[error(
        "{endpoint}: already in use; find the other process with `ss -lptunx`, or choose another address"
    )]
    InUse {
        /// Where.
        endpoint: String,
    },
    /// A file is there that is no socket, and so is not removed.
    #[error("{endpoint}: there is a file that is no socket; move it, or choose another path")]
    NotASocket {
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
    /// This process may not make a file there.
    #[error(
        "{endpoint}: not permitted; this user needs write access to the folder, or choose another path"
    )]
    NoAccess {
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
    /// An endpoint that begins with `unix:` is a path.
    pub(crate) fn new(endpoint: &impl fmt::Display, source: io::Error) -> BindError {
        let endpoint = endpoint.to_string();
        let path = endpoint.strip_prefix("unix:");
        match source.kind() {
            io::ErrorKind::AddrInUse if path.is_some_and(is_no_socket) => {
                BindError::NotASocket { endpoint }
            }
            io::ErrorKind::AddrInUse => BindError::InUse { endpoint },
            io::ErrorKind::PermissionDenied if path.is_some() => BindError::NoAccess { endpoint },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { endpoint },
            io::ErrorKind::AddrNotAvailable => BindError::NotAvailable { endpoint },
            _ => BindError::Io { endpoint, source },
        }
    }
}

fn is_no_socket(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| !file.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoint: &str, kind: io::ErrorKind, expected: &str) {
        let text = BindError::new(&endpoint, kind.into()).to_string();
        assert_eq!(text, format!("{endpoint}: {expected}"));
    }

    #[test]
    fn each_says_what_to_do() {
        use io::ErrorKind::{AddrInUse, PermissionDenied};
        let privileged =
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another port";
        check("192.0.2.1:80", PermissionDenied, privileged);
        check("udp:192.0.2.1:53", PermissionDenied, privileged);
        check(
            "unix:/run/a.sock",
            PermissionDenied,
            "not permitted; this user needs write access to the folder, or choose another path",
        );
        check(
            "unix:/proc/self/status",
            AddrInUse,
            "there is a file that is no socket; move it, or choose another path",
        );
        check(
            "192.0.2.1:80",
            AddrInUse,
            "already in use; find the other process with `ss -lptunx`, or choose another address",
        );
    }
}
