//! The header of the PROXY protocol, read and written.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The header of the PROXY protocol, by which somebody who hands a connection on says whose it is
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, versions 1 and 2).
///
/// # Examples
/// ```
/// use staunch_net::ProxyHeader;
///
/// let header = ProxyHeader::of("192.0.2.1:1234".parse()?, "192.0.2.2:80".parse()?);
/// assert_eq!(header.to_v1(), b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n");
/// let (read, length) = ProxyHeader::parse(&header.to_v2())?.ok_or("there is more to come")?;
/// assert_eq!((read, length), (header, 28));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client, and whom it had connected with; `None` if the connection is that of whoever
    /// hands it on, or nobody knows.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// What came is no header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseProxyHeaderError {
    /// It begins otherwise.
    #[error("it does not begin as the PROXY protocol does, version 1 or 2")]
    NoHeader,
    /// It is not as the protocol has it.
    #[error("the header of the PROXY protocol is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than any that is taken.
    #[error("the header of the PROXY protocol says that it has {0} bytes; {LONGEST} are taken")]
    TooLong(usize),
}

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a version 1 header, with its end (section 2.1).
const V1_LONGEST: usize = 107;

/// Bytes of a version 2 header, with what it tells beside addresses: a certificate's names, for
/// instance.
const LONGEST: usize = 2048;

/// Bytes before the addresses of version 2.
const V2_FIXED: usize = 16;

impl ProxyHeader {
    /// Of a connection of `client`, which it has made with `server`.
    pub fn of(client: SocketAddr, server: SocketAddr) -> ProxyHeader {
        ProxyHeader { addresses: Some((client, server)) }
    }

    /// Of a connection of our own.
    pub fn local() -> ProxyHeader {
        ProxyHeader { addresses: None }
    }

    /// The header that `bytes` begin with, and its length; `None` if it is not there as a whole.
    ///
    /// # Errors
    /// [`ParseProxyHeaderError`]
    pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ParseProxyHeaderError> {
        if bytes.starts_with(&SIGNATURE) {
            v2(bytes)
        } else if SIGNATURE.starts_with(bytes) || b"PROXY ".starts_with(bytes) {
            Ok(None)
        } else if bytes.starts_with(b"PROXY ") {
            v1(bytes)
        } else {
            Err(ParseProxyHeaderError::NoHeader)
        }
    }

    /// How many bytes can be read after `bytes` without reading more than the header, of which
    /// these are the beginning.
    pub(super) fn may_read(bytes: &[u8]) -> usize {
        match bytes {
            [] => SIGNATURE.len(), // no header is shorter
            bytes if bytes.starts_with(&SIGNATURE) => {
                let whole = v2_length(bytes).unwrap_or(V2_FIXED);
                whole.saturating_sub(bytes.len()).max(1)
            }
            [.., b'\r'] => 1,
            short if short.len() < SIGNATURE.len() => SIGNATURE.len() - short.len(),
            _ => 2, // of version 1, which ends in two bytes
        }
    }

    /// As version 1 has it.
    pub fn to_v1(self) -> Vec<u8> {
        let mut text = String::from("PROXY ");
        let line = match self.addresses.map(same_family) {
            None => "UNKNOWN".to_owned(),
            Some((client, server)) => {
                let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (client.ip(), server.ip());
                format!("{family} {from} {to} {} {}", client.port(), server.port())
            }
        };
        let _ = write!(text, "{line}\r\n"); // to memory
        text.into_bytes()
    }

    /// As version 2 has it.
    pub fn to_v2(self) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        let Some((client, server)) = self.addresses.map(same_family) else {
            bytes.extend([0x20, 0, 0, 0]);
            return bytes;
        };
        let ports = [client.port().to_be_bytes(), server.port().to_be_bytes()].concat();
        match (client.ip(), server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                bytes.extend([0x21, 0x11, 0, 12]);
                bytes.extend(client.octets().into_iter().chain(server.octets()));
            }
            (client, server) => {
                bytes.extend([0x21, 0x21, 0, 36]);
                bytes.extend(v6(client).octets().into_iter().chain(v6(server).octets()));
            }
        }
        bytes.extend(ports);
        bytes
    }
}

/// Both of one family: as IPv4 if they can be, else as IPv6.
fn same_family((client, server): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
    let (client, server) = (canonical(client), canonical(server));
    if client.is_ipv4() == server.is_ipv4() {
        return (client, server);
    }
    let as_v6 = |it: SocketAddr| SocketAddr::new(v6(it.ip()).into(), it.port());
    (as_v6(client), as_v6(server))
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

type Parsed = Result<Option<(ProxyHeader, usize)>, ParseProxyHeaderError>;

fn malformed<T>(why: &'static str) -> Result<T, ParseProxyHeaderError> {
    Err(ParseProxyHeaderError::Malformed(why))
}

fn v1(bytes: &[u8]) -> Parsed {
    let within = bytes.get(..V1_LONGEST).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        if bytes.len() < V1_LONGEST {
            return Ok(None);
        }
        return malformed("its line does not end within 107 bytes");
    };
    let Some(line) = within.get(..end).and_then(|line| str::from_utf8(line).ok()) else {
        return malformed("its line is no text");
    };
    let length = end + 2;
    let words: Vec<&str> = line.split(' ').collect();
    let addresses = match words[..] {
        // Whatever else it says is to be ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            pair::<Ipv4Addr>([from, to], [from_port, to_port])?
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            pair::<Ipv6Addr>([from, to], [from_port, to_port])?
        }
        _ => {
            return malformed(
                "its line says neither TCP4 nor TCP6 with two addresses and two ports",
            );
        }
    };
    Ok(Some((ProxyHeader { addresses }, length)))
}

fn pair<A: FromStr + Into<IpAddr>>(
    ips: [&str; 2],
    ports: [&str; 2],
) -> Result<Option<(SocketAddr, SocketAddr)>, ParseProxyHeaderError> {
    let [Ok(from), Ok(to)] = ips.map(str::parse::<A>) else {
        return malformed("an address is none of its family");
    };
    let [Some(from_port), Some(to_port)] = ports.map(port) else {
        return malformed("a port is none");
    };
    Ok(Some((SocketAddr::new(from.into(), from_port), SocketAddr::new(to.into(), to_port))))
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && is_short)
}

/// Bytes of a whole version 2 header; `None` if that has not been said.
fn v2_length(bytes: &[u8]) -> Option<usize> {
    let [high, low] = [*bytes.get(14)?, *bytes.get(15)?];
    Some(V2_FIXED + usize::from(u16::from_be_bytes([high, low])))
}

fn v2(bytes: &[u8]) -> Parsed {
    let Some(length) = v2_length(bytes) else { return Ok(None) };
    if length > LONGEST {
        return Err(ParseProxyHeaderError::TooLong(length));
    }
    let (command, family) = match bytes.get(12..14) {
        Some([command, family]) => (*command, *family),
        _ => return Ok(None),
    };
    if !matches!(command, 0x20 | 0x21) {
        return malformed("its version or command is not known");
    }
    let Some(told) = bytes.get(V2_FIXED..length) else { return Ok(None) };
    let addresses = match (command, family) {
        (0x21, 0x11) => match told.first_chunk::<12>() {
            Some(told) => Some(v4_pair(told)),
            None => return malformed("it has no room for two IPv4 addresses"),
        },
        (0x21, 0x21) => match told.first_chunk::<36>() {
            Some(told) => Some(v6_pair(told)),
            None => return malformed("it has no room for two IPv6 addresses"),
        },
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) | (0x20, _) => None,
        _ => return malformed("its family or transport is not known"),
    };
    Ok(Some((ProxyHeader { addresses }, length)))
}

fn v4_pair(told: &[u8; 12]) -> (SocketAddr, SocketAddr) {
    let address = |at: usize| Ipv4Addr::new(told[at], told[at + 1], told[at + 2], told[at + 3]);
    let port = |at: usize| u16::from_be_bytes([told[at], told[at + 1]]);
    let from = SocketAddr::new(address(0).into(), port(8));
    (from, SocketAddr::new(address(4).into(), port(10)))
}

fn v6_pair(told: &[u8; 36]) -> (SocketAddr, SocketAddr) {
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&told[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    let port = |at: usize| u16::from_be_bytes([told[at], told[at + 1]]);
    let from = SocketAddr::new(address(0).into(), port(32));
    (from, SocketAddr::new(address(16).into(), port(34)))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::Config};

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(&str, &str)>) {
        let addresses = expected.map(|(client, server)| (at(client), at(server)));
        let whole = [bytes, b"GET /"].concat();
        let read = ProxyHeader::parse(&whole);
        assert_eq!(read, Ok(Some((ProxyHeader { addresses }, bytes.len()))), "{bytes:?}");
        for part in 0..bytes.len() {
            assert_eq!(ProxyHeader::parse(&bytes[..part]), Ok(None), "{part} of {bytes:?}");
        }
    }

    #[test]
    fn both_versions_are_read_whole_or_not_at_all() {
        let v4 = Some(("192.0.2.1:65535", "198.51.100.2:80"));
        check(b"PROXY TCP4 192.0.2.1 198.51.100.2 65535 80\r\n", v4);
        check(b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n", Some(("[2001:db8::1]:1", "[::1]:0")));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 whatever\r\n", None);
        let v2 = |rest: &[u8]| [&SIGNATURE[..], rest].concat();
        let mut told = vec![0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 255, 255, 0, 80];
        check(&v2(&told), v4);
        told[3] = 17; // and what else it tells
        told.extend([0x20, 0, 2, 1, 1]);
        check(&v2(&told), v4);
        check(&v2(&[0x20, 0, 0, 0]), None);
        check(&v2(&[0x21, 0, 0, 3, 1, 2, 3]), None);
    }

    #[test]
    fn what_is_no_header_is_not_taken_for_one() {
        use ParseProxyHeaderError as Error;
        let no = |bytes: &[u8]| ProxyHeader::parse(bytes).unwrap_err();
        assert_eq!(no(b"GET / HTTP/1.1\r\n"), Error::NoHeader);
        assert_eq!(no(b"\r\n\r\nGET"), Error::NoHeader);
        for line in [
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert!(matches!(no(line.as_bytes()), Error::Malformed(_)), "{line}");
        }
        assert!(matches!(no(&[b"PROXY TCP6 ", &[b'1'; 96][..]].concat()), Error::Malformed(_)));
        let v2 = |rest: &[u8]| no(&[&SIGNATURE[..], rest].concat());
        assert!(matches!(v2(&[0x11, 0x11, 0, 0]), Error::Malformed(_)));
        assert!(matches!(v2(&[0x22, 0x11, 0, 0]), Error::Malformed(_)));
        assert!(matches!(v2(&[0x21, 0x41, 0, 0]), Error::Malformed(_)));
        assert!(matches!(v2(&[0x21, 0x11, 0, 2, 0, 0]), Error::Malformed(_)));
        assert_eq!(v2(&[0x21, 0x11, 0xff, 0xff]), Error::TooLong(65_551));
    }

    proptest! {
        #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

        /// What is written is read, and never more is asked for than belongs to it.
        #[test]
        fn what_is_written_is_read(client: (IpAddr, u16), server: (IpAddr, u16)) {
            let header = ProxyHeader::of(client.into(), server.into());
            let same = header.addresses.map(same_family);
            for bytes in [header.to_v1(), header.to_v2(), ProxyHeader::local().to_v1()] {
                let mut at = 0;
                while ProxyHeader::parse(&bytes[..at]) == Ok(None) {
                    at += ProxyHeader::may_read(&bytes[..at]);
                    prop_assert!(at <= bytes.len(), "more than {:?}", bytes);
                }
                let (read, length) = ProxyHeader::parse(&bytes).unwrap().unwrap();
                prop_assert_eq!(length, bytes.len());
                prop_assert!(read.addresses.is_none() || read.addresses.map(same_family) == same);
            }
        }
    }
}
