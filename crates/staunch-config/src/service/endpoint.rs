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
    "must be a server such as `10.0.0.7:8080`, `files.internal:80 weight=2`, `unix:/run/files.sock` ({0})"
)]
pub struct ParseEndpointError(&'static str);

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
        read(written, folder).map_err(ParseEndpointError)
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
            let endpoint =
                Endpoint::parse(written, source.folder()).map_err(|ParseEndpointError(why)| {
                    format!("must be {EXPECTED}; `{written}` is no server: {why}")
                })?;
            if endpoints.iter().any(|earlier| earlier.address == endpoint.address) {
                return Err(format!("must name each server once; `{written}` is there twice"));
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }
}

/// The server, or what is wrong.
fn read(written: &str, folder: &Path) -> Result<Endpoint, &'static str> {
    let (address, weight) = match written.split_once(" weight=") {
        Some((address, weight)) => (address, self::weight(weight)?),
        None => (written, WEIGHT),
    };
    let address = match address.strip_prefix("unix:") {
        Some("") => return Err("there is no path after `unix:`"),
        Some(path) => EndpointAddress::Unix(folder.join(path)),
        None => {
            parts(address)?;
            EndpointAddress::Tcp(address.to_owned())
        }
    };
    Ok(Endpoint { address, weight })
}

fn weight(written: &str) -> Result<NonZeroU32, &'static str> {
    let weight = written.parse::<NonZeroU32>().ok();
    weight.filter(|weight| weight.get() <= Endpoint::WEIGHT_MAX).ok_or("weights are 1 to 1000")
}

/// The parts of `host:port`, where the port is not 0; or what is wrong.
fn parts(address: &str) -> Result<(&str, u16), &'static str> {
    if address.contains("://") {
        return Err("it is a URL: write its host and port alone");
    }
    let (host, port) = address.rsplit_once(':').ok_or("it has no port")?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or("ports are 1 to 65535")?;
    let is_host = matches!(host.parse(), Ok(HostPattern::Exact(_)));
    if is_host { Ok((host, port)) } else { Err("what is before the port is no host") }
}

/// The parts of `host:port`, where the port is not 0.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    parts(address).ok()
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
