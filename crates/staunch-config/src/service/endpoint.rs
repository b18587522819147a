//! The servers of a service.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

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

const ENDPOINTS_MAX: usize = 1_000;
const WEIGHT_MAX: u32 = 1_000;
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
            let endpoint = endpoint(source, written)
                .ok_or_else(|| format!("must be {EXPECTED}; `{written}` is no server"))?;
            if endpoints.iter().any(|earlier| earlier.address == endpoint.address) {
                return Err(format!("must name each server once; `{written}` is there twice"));
            }
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }
}

fn endpoint(source: &Source<'_>, written: &str) -> Option<Endpoint> {
    let (address, weight) = match written.split_once(" weight=") {
        Some((address, weight)) => {
            let weight = weight.parse::<NonZeroU32>().ok()?;
            (address, Some(weight).filter(|weight| weight.get() <= WEIGHT_MAX)?)
        }
        None => (written, WEIGHT),
    };
    let address = match address.strip_prefix("unix:") {
        Some("") => return None,
        Some(path) => EndpointAddress::Unix(source.resolve(path)),
        None => {
            let (host, port) = address.rsplit_once(':')?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
            let is_host = matches!(host.parse(), Ok(HostPattern::Exact(_)));
            EndpointAddress::Tcp(Some(address).filter(|_| is_host && is_port)?.to_owned())
        }
    };
    Some(Endpoint { address, weight })
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
