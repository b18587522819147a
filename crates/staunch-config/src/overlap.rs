//! Two listeners on one address: the second could not bind, or would take half of the first
//! one's connections.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::reader::{Section, Span};

/// The addresses that the configuration listens on, and where each is written.
#[derive(Default)]
pub(crate) struct Claims(Vec<Claim>);

struct Claim {
    /// The table it stands in, as a message names it.
    owner: String,
    key: String,
    span: Span,
    written: bool,
    transport: Transport,
}

/// An address together with what is spoken there: TCP and UDP ports do not meet.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl Claims {
    /// Records what the key `listen` of `section` stands for.
    pub(crate) fn add(&mut self, section: &Section<'_>, transport: Transport) {
        self.0.push(Claim {
            owner: section.title(),
            key: section.path("listen"),
            span: section.place("listen"),
            written: section.has("listen"),
            transport,
        });
    }

    /// Reports each address that overlaps one written above it.
    pub(crate) fn report_overlaps(mut self, root: &Section<'_>) {
        // What stands nowhere in the file goes first, so that the blame is on what does.
        self.0.sort_by_key(|claim| (claim.written, claim.span.start));
        for (index, claim) in self.0.iter().enumerate() {
            let earlier = &self.0[..index];
            if let Some(first) = earlier.iter().find(|e| e.transport.overlaps(&claim.transport)) {
                let line = root.source().position(first.span.start).line;
                let place =
                    if first.written { format!("line {line}") } else { "by default".to_owned() };
                let message = format!(
                    "`listen` in {} is {}: {} has {} ({place}); choose another",
                    claim.owner, claim.transport, first.owner, first.transport,
                );
                root.report(&claim.span, &claim.key, message);
            }
        }
    }
}

impl Transport {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) | (Self::Udp(a), Self::Udp(b)) => {
                // The kernel gives each listener on port 0 a port of its own.
                a.port() == b.port() && a.port() != 0 && ips_overlap(a.ip(), b.ip())
            }
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ => false,
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `0.0.0.0` takes every IPv4 address of a port. `[::]` takes the IPv6 ones and, as Linux sets
/// its sockets up, the IPv4 ones as well.
fn ips_overlap(a: IpAddr, b: IpAddr) -> bool {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    let takes =
        |any: IpAddr, other: IpAddr| any.is_unspecified() && (any.is_ipv6() || other.is_ipv4());
    a == b || takes(a, b) || takes(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: bool) {
        let [a, b] = [a, b].map(|text| Transport::Tcp(text.parse().unwrap()));
        assert_eq!(a.overlaps(&b), expected, "{a} {b}");
        assert_eq!(b.overlaps(&a), expected, "{b} {a}");
    }

    #[test]
    fn which_addresses_meet() {
        check("127.0.0.1:9000", "127.0.0.1:9000", true);
        check("127.0.0.1:9000", "127.0.0.1:9001", false);
        check("127.0.0.1:9000", "127.0.0.2:9000", false);
        check("0.0.0.0:9000", "127.0.0.1:9000", true);
        check("[::]:9000", "127.0.0.1:9000", true);
        check("[::]:9000", "0.0.0.0:9000", true);
        check("0.0.0.0:9000", "[::1]:9000", false);
        check("[::ffff:127.0.0.1]:9000", "127.0.0.1:9000", true);
        check("127.0.0.1:0", "127.0.0.1:0", false);
    }

    #[test]
    fn tcp_and_udp_do_not_meet() {
        let address = "127.0.0.1:9000".parse().unwrap();
        assert!(!Transport::Tcp(address).overlaps(&Transport::Udp(address)));
        assert!(Transport::Udp(address).overlaps(&Transport::Udp(address)));
    }
}
