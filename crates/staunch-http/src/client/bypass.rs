//! What is reached without a proxy.

use std::{net::IpAddr, str::FromStr};

use super::proxies::ProxiesError;

#[derive(Clone, Debug, Default)]
pub(super) struct Bypass(Vec<Exception>);

#[derive(Clone, Debug)]
enum Exception {
    All,
    /// A host, and all below it.
    Host {
        name: String,
        port: Option<u16>,
    },
    Ip {
        address: IpAddr,
        port: Option<u16>,
    },
    Network {
        address: IpAddr,
        prefix: u32,
    },
}

impl Bypass {
    /// Exceptions with commas or spaces between them.
    pub(super) fn parse(list: &str) -> Result<Bypass, ProxiesError> {
        let entries = list.split(|byte: char| byte == ',' || byte.is_whitespace());
        let exceptions = entries.filter(|entry| !entry.is_empty()).map(|entry| {
            let refused = |reason| ProxiesError::Except { entry: entry.to_owned(), reason };
            entry.parse().map_err(refused)
        });
        exceptions.collect::<Result<_, _>>().map(Bypass)
    }

    /// Whether one of them is meant; an IPv6 address has no brackets.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.');
        let address = host.parse().ok().map(|address: IpAddr| address.to_canonical());
        self.0.iter().any(|exception| exception.covers(host, address, port))
    }
}

impl Exception {
    fn covers(&self, host: &str, address: Option<IpAddr>, to: u16) -> bool {
        match (self, address) {
            (Exception::All, _) => true,
            (Exception::Ip { address, port }, Some(found)) => {
                *address == found && port.is_none_or(|port| port == to)
            }
            (Exception::Network { address, prefix }, Some(found)) => {
                network(*address, *prefix) == network(found, *prefix)
            }
            (Exception::Host { name, port }, None) => {
                let above = host.len().checked_sub(name.len());
                let is_below = above.is_some_and(|above| {
                    let (below, rest) = host.as_bytes().split_at(above);
                    rest.eq_ignore_ascii_case(name.as_bytes()) && matches!(below, [] | [.., b'.'])
                });
                is_below && port.is_none_or(|port| port == to)
            }
            _ => false,
        }
    }
}

/// The first bits of an address, and which kind it is.
fn network(address: IpAddr, prefix: u32) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => {
            (false, u128::from(u32::from(v4).checked_shr(32 - prefix.min(32)).unwrap_or(0)))
        }
        IpAddr::V6(v6) => (true, u128::from(v6).checked_shr(128 - prefix.min(128)).unwrap_or(0)),
    }
}

impl FromStr for Exception {
    type Err = &'static str;

    fn from_str(entry: &str) -> Result<Exception, &'static str> {
        if entry == "*" {
            return Ok(Exception::All);
        }
        if let Some((address, prefix)) = entry.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| "before `/` is an IP address")?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits);
            let prefix = prefix.ok_or("after `/` is the number of bits")?;
            return Ok(Exception::Network { address, prefix });
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Exception::Ip { address: address.to_canonical(), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| "after `:` is a port")?))
            }
            _ => (entry, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Exception::Ip { address: address.to_canonical(), port });
        }
        let name = host.strip_prefix("*.").unwrap_or(host).trim_matches('.');
        match name {
            "" => Err("it names no host"),
            name if name.contains(['*', '[', ']', ':']) => {
                Err("a host is a name, or `*.` and a name")
            }
            name => Ok(Exception::Host { name: name.to_owned(), port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom of these the list covers.
    fn check(list: &str, covered: &[&str], not: &[&str]) {
        let bypass = Bypass::parse(list).unwrap();
        let covers = |at: &&&str| {
            let (host, port) = at.rsplit_once(' ').unwrap_or((at, "80"));
            bypass.covers(host, port.parse().unwrap())
        };
        assert_eq!(covered.iter().filter(|at| !covers(at)).collect::<Vec<_>>(), [&""; 0], "{list}");
        assert_eq!(not.iter().filter(covers).collect::<Vec<_>>(), [&""; 0], "{list}");
    }

    #[test]
    fn hosts_stand_for_what_is_below_them() {
        check("", &[], &["a.com", "127.0.0.1"]);
        check("*", &["a.com", "::1", "10.0.0.1"], &[]);
        check("a.com", &["a.com", "b.a.com", "a.com.", "a.com 81"], &["ba.com", "com", "a.com.b"]);
        check(".A.com", &["a.com", "b.a.com"], &["ba.com"]);
        check("*.a.com", &["b.a.com"], &["ba.com"]);
        check(" b , a.com:81,, c", &["b", "a.com 81", "x.c"], &["a.com 80", "d"]);
        check("localhost", &["localhost", "x.localhost"], &["127.0.0.1"]);
    }

    #[test]
    fn addresses_are_compared_as_such() {
        check(
            "10.0.0.1",
            &["10.0.0.1", "::ffff:10.0.0.1"],
            &["10.0.0.10", "x.10.0.0.1", "110.0.0.1"],
        );
        check("10.0.0.1:81", &["10.0.0.1 81"], &["10.0.0.1 80"]);
        check("::1", &["::1", "0:0:0:0:0:0:0:1"], &["::2"]);
        check("[::1]", &["::1"], &["::2"]);
        check("[::1]:81", &["::1 81"], &["::1 80"]);
    }

    #[test]
    fn networks_have_so_many_bits_in_common() {
        check("10.0.0.0/8", &["10.255.0.1", "10.0.0.0 443"], &["11.0.0.1", "::a00:1", "ten"]);
        check("10.1.2.3/32", &["10.1.2.3"], &["10.1.2.2"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check("fd00::/8", &["fd12::1"], &["fe00::1", "1.2.3.4"]);
        check("::/0", &["fd12::1"], &["1.2.3.4"]);
    }

    #[test]
    fn what_is_neither_is_an_error() {
        for (entry, says) in [
            ("10.0.0.0/33", "number of bits"),
            ("10.0.0.0/x", "number of bits"),
            ("a/8", "IP address"),
            ("a:b", "a port"),
            ("a:99999", "a port"),
            ("10.*", "a name"),
            ("[::1", "a name"),
            (".", "no host"),
            ("*.", "no host"),
        ] {
            let error = Bypass::parse(&format!("ok,{entry}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`{entry}`")) && error.contains(says), "{error}");
        }
    }
}
