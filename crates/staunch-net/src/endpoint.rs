//! Where a listener listens, and how that is written.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What is written is no endpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no endpoint: write an address with its port, as 127.0.0.1:9000 or [::1]:9000, or unix:PATH"
)]
pub struct ParseEndpointError {
    text: String,
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    /// An IP address with its port, or `unix:` and a path.
    fn from_str(text: &str) -> Result<Endpoint, ParseEndpointError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Endpoint::Unix(path.into())),
            _ => {
                let address = text.parse();
                address.map(Endpoint::Tcp).map_err(|_| ParseEndpointError { text: text.to_owned() })
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
