//! The servers of a service.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::WEIGHT;
use crate::reader::Source;
use crate::reader::kinds::Parsed;
use crate::route::HostPattern;

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// How many requests it gets, compared with the others. \[1\]
    pub weight: NonZeroU32,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A name or an IP address, with a port. A name is resolved for each new connection.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What is written is no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a server such as `10.0.0.7:8080`, `files.internal:80 weight=2`, `unix:/run/files.sock`"
)]
pub struct ParseEndpointError;

impl Endpoint {
    /// The most servers that a service may have. Each has a pool of connections on each core; what has
    /// more is a list given by mistake, or is better behind a balancer of its own.
    pub const MAX: usize = 1_000;

    /// The greatest weight.
    pub const WEIGHT_MAX: u32 = 1_000;

    /// The server that `written` names: `host:port` or `unix:path`, and perhaps ` weight=2`. The path of a
    /// socket is resolved against `folder`.
    ///
    /// # Errors
    /// [`ParseEndpointError`]
    ///
    /// # Examples
    /// ```
    /// use std::path::Path;
    /// use staunch_config::Endpoint;
    ///
    /// let server = Endpoint::parse("10.0.0.7:8080 weight=2", Path::new("/")).unwrap();
    /// assert_eq!((server.address.to_string().as_str(), server.weight.get()), ("10.0.0.7:8080", 2));
    /// assert!(Endpoint::parse("10.0.0.7", Path::new("/")).is_err());
    /// ```
    pub fn parse(written: &str, folder: &Path) -> Result<Self, ParseEndpointError> {
        read(written, folder).ok_or(ParseEndpointError)
    }
}

const ENDPOINTS_MAX: usize = Endpoint::MAX;
const EXPECTED: &str = "a list of servers such as [\"10.0.0.7:8080\", \"files.internal:80 weight=2\", \
                        \"unix:/run/files.sock\"]";

/// The kind `["10.0.0.7:8080", "unix:/run/files.sock weight=2"]`.
pub(super) fn endpoints<'s>(
    source: &'s Source<'_>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Vec<Endpoint>> + 's {
    move |value| {
        let entries = value.as_array().ok_or_else(|| format!("must be {EXPECTED}"))?;
        if !(1..=ENDPOINTS_MAX).contains(&entries.len()) {
            return Err(format!("must name 1 to {ENDPOINTS_MAX} servers"));
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(entries.len());
        for entry in entries {
            let written = entry.get_ref().as_str().ok_or_else(|| format!("must be {EXPECTED}"))?;
            let endpoint = Endpoint::parse(written, source.folder())
                .map_err(|_| format!("must be {EXPECTED}; `{written}` is no server"))?;
            if endpoints.iter().any(|earlier| earlier.address == endpoint.address) {
                return Err(format!("must name each server once; `{written}` is there twice"));
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }
}

fn read(written: &str, folder: &Path) -> Option<Endpoint> {
    let (address, weight) = match written.split_once(" weight=") {
        Some((address, weight)) => {
            let weight = weight.parse::<NonZeroU32>().ok()?;
            (address, Some(weight).filter(|weight| weight.get() <= Endpoint::WEIGHT_MAX)?)
        }
        None => (written, WEIGHT),
    };
    let address = match address.strip_prefix("unix:") {
        Some("") => return None,
        Some(path) => EndpointAddress::Unix(folder.join(path)),
        None => {
            host_and_port(address)?;
            EndpointAddress::Tcp(address.to_owned())
        }
    };
    Some(Endpoint { address, weight })
}

/// The parts of `host:port`, where the port is not 0.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    matches!(host.parse(), Ok(HostPattern::Exact(_))).then_some((host, port))
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
