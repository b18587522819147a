//! Whom the system asks: `/etc/resolv.conf` (resolv.conf(5)).

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Whom to ask, how often and for how long, and what for.
#[derive(Debug, PartialEq)]
pub(super) struct System {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    pub(super) attempts: usize,
    ndots: usize,
    search: Vec<String>,
}

/// More are not asked, as in glibc.
const SERVERS_MAX: usize = 3;
/// More are not tried: each name costs as many questions as there are suffixes.
const SEARCH_MAX: usize = 6;

impl Default for System {
    /// One name server on this machine, asked as resolv.conf(5) says.
    fn default() -> System {
        System::parse("")
    }
}

impl System {
    /// One server, and names as they are written.
    pub(super) fn only(server: SocketAddr) -> System {
        System { servers: vec![server], ..System::default() }
    }

    /// What a resolv.conf says; what is wrong in it is left out, as the system does.
    pub(super) fn parse(text: &str) -> System {
        let (config, _left_out) = resolv_conf::Config::parse_with_errors(text.as_bytes());
        let address =
            |server: &resolv_conf::ScopedIp| SocketAddr::new(IpAddr::from(server.clone()), 53);
        let mut servers: Vec<_> =
            config.nameservers.iter().take(SERVERS_MAX).map(address).collect();
        if servers.is_empty() {
            servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        let search = config.get_last_search_or_domain().take(SEARCH_MAX).cloned();
        System {
            servers,
            timeout: Duration::from_secs(config.timeout.clamp(1, 5).into()),
            attempts: config.attempts.clamp(1, 3) as usize,
            ndots: config.ndots as usize,
            search: search.collect(),
        }
    }

    /// The names that `name` may mean, in the order in which they are asked for.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let longer = self.search.iter().map(|suffix| format!("{name}.{suffix}"));
        let as_written = [name.to_owned()];
        if name.matches('.').count() >= self.ndots {
            as_written.into_iter().chain(longer).collect()
        } else {
            longer.chain(as_written).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_as_the_system_would() {
        let pod = System::parse(
            "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\n\
             options ndots:2 timeout:9 attempts:9\nnonsense\n",
        );
        assert_eq!(pod.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!((pod.timeout, pod.attempts), (Duration::from_secs(5), 3), "within bounds");
        assert_eq!(
            pod.candidates("cart"),
            ["cart.shop.svc.cluster.local", "cart.svc.cluster.local", "cart"]
        );
        assert_eq!(pod.candidates("a.b.c")[0], "a.b.c");
        assert_eq!(pod.candidates("cart.").len(), 1);
        assert_eq!(System::default().servers, ["127.0.0.1:53".parse().unwrap()]);
        let other = System::only("[::1]:5353".parse().unwrap());
        assert_eq!((other.candidates("cart"), other.servers.len()), (vec!["cart".to_owned()], 1));
    }
}
