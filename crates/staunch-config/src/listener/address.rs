//! Where a listener listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use crate::overlap::Transport;
use crate::reader::Source;
use crate::reader::kinds::{Parsed, text};

/// Where connections come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAddress {
    /// An IP address and a TCP port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What `sun_path` holds, less its final NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

const EXAMPLE: &str = "an IP address and port such as \"127.0.0.1:9000\"";

impl StreamAddress {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Tcp(address) => Transport::Tcp(*address),
            Self::Unix(path) => Transport::Unix(path.clone()),
        }
    }
}

impl fmt::Display for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport().fmt(f)
    }
}

/// The kind `"127.0.0.1:9000"`.
pub(crate) fn socket_address(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    let written = text(value, EXAMPLE)?;
    written.parse().map_err(|_| format!("must be {EXAMPLE}{}", why_no_address(written)))
}

/// What is wrong with an address, if that is easily told.
fn why_no_address(written: &str) -> &'static str {
    if written.parse::<IpAddr>().is_ok() {
        return " (it has no port)";
    }
    let Some((host, port)) = written.rsplit_once(':') else { return "" };
    let is_ip = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        " (ports are 0 to 65535)"
    } else if host.is_empty() || host == "*" {
        " (for all addresses write 0.0.0.0 or [::])"
    } else if is_ip {
        ""
    } else {
        " (a name can have many addresses: write the one to listen on)"
    }
}

/// The kind `"127.0.0.1:9000"` or `"unix:/run/staunch.sock"`.
pub(super) fn stream_address<'s>(
    source: &'s Source<'_>,
) -> impl Fn(&DeValue<'_>) -> Parsed<StreamAddress> + 's {
    move |value| match value.as_str().and_then(|text| text.strip_prefix("unix:")) {
        Some(path) => unix_path(source, path).map(StreamAddress::Unix),
        None => socket_address(value)
            .map(StreamAddress::Tcp)
            .map_err(|expected| format!("{expected}, or \"unix:/path\"")),
    }
}

fn unix_path(source: &Source<'_>, written: &str) -> Parsed<PathBuf> {
    let path = source.resolve(written);
    let fits = path.as_os_str().len() <= UNIX_PATH_BYTES_MAX;
    Some(path)
        .filter(|_| fits && !written.is_empty() && !written.contains('\0'))
        .ok_or_else(|| format!("must name a path of 1 to {UNIX_PATH_BYTES_MAX} bytes"))
}
