//! Servers that name servers tell of: addresses of a name (A and AAAA), or SRV records (RFC 2782).
//!
//! An answer is good for as long as the record that lasts the shortest, within `ttl_min` and `ttl_max`;
//! then it is asked again. That there is no such name is an answer, too: one without servers.
//!
//! `message` writes questions and reads answers, without I/O; `resolver` decides who is asked, and for how
//! long. Both are small enough to be our own, so that each socket is on the ledger and each wait has its
//! owner, which a resolver that spawns its own tasks cannot give.

mod message;
mod resolver;
mod system;

use std::{
    collections::HashMap, convert::Infallible, net::IpAddr, ops::RangeInclusive, time::Duration,
};

use hickory_proto::rr::{RecordType, rdata::SRV};
use staunch_config::{DnsDiscovery, DnsName, Endpoint};
use staunch_scope::{Scope, sleep_until};
use tokio::time::Instant;

use self::{
    message::Told,
    resolver::{Resolve, Resolver},
};
use super::{DiscoveryError, Found, Source};

pub(super) struct DnsSource<R = Resolver> {
    resolver: R,
    name: DnsName,
    ttl: RangeInclusive<Duration>,
    /// Until when the last answer is good.
    good_until: Option<Instant>,
}

impl DnsSource {
    pub(super) fn new(scope: &Scope<Infallible>, dns: &DnsDiscovery) -> DnsSource {
        DnsSource::with(Resolver::new(scope, dns.resolver), dns)
    }
}

impl<R: Resolve> DnsSource<R> {
    fn with(resolver: R, dns: &DnsDiscovery) -> DnsSource<R> {
        DnsSource {
            resolver,
            name: dns.name.clone(),
            ttl: dns.ttl_min..=dns.ttl_max,
            good_until: None,
        }
    }

    async fn look_up(&mut self) -> Result<(Found, Duration), DiscoveryError> {
        let mut found = Found::default();
        let ttl = match self.name.clone() {
            DnsName::Addresses { host, port } => {
                let (addresses, ttl) = self.addresses(&host).await?;
                for address in addresses {
                    found.add_address(&host, &socket(address, port), 1);
                }
                ttl
            }
            DnsName::Services(name) => self.services(&name, &mut found).await?,
        };
        Ok((found, ttl))
    }

    /// Of both families; that one cannot be told is no answer, or half of the servers would be lost by it.
    async fn addresses(&mut self, host: &str) -> Result<(Vec<IpAddr>, Duration), DiscoveryError> {
        let [v4, v6] = self.resolver.resolve(host, [RecordType::A, RecordType::AAAA]).await?;
        Ok(([v4.addresses(), v6.addresses()].concat(), v4.ttl.min(v6.ttl)))
    }

    /// Those of the first priority.
    async fn services(
        &mut self,
        name: &str,
        found: &mut Found,
    ) -> Result<Duration, DiscoveryError> {
        let [told] = self.resolver.resolve(name, [RecordType::SRV]).await?;
        let services = first_priority(&told);
        if services.len() > Endpoint::MAX {
            return Err(DiscoveryError::TooMany);
        }
        let heaviest = services.iter().map(|it| it.weight).max().unwrap_or(1);
        let (mut ttl, mut known) = (told.ttl, HashMap::new());
        for service in services {
            let target = service.target.to_ascii();
            if !known.contains_key(&target) {
                let mut addresses = told.addresses_beside(&service.target);
                if addresses.is_empty() {
                    let (asked, its_ttl) = self.addresses(&target).await?;
                    (addresses, ttl) = (asked, ttl.min(its_ttl));
                }
                known.insert(target.clone(), addresses);
            }
            for address in known.get(&target).into_iter().flatten() {
                let weight = scaled(service.weight, heaviest);
                found.add_address(name, &socket(*address, service.port), weight);
            }
        }
        Ok(ttl)
    }
}

impl<R: Resolve> Source for DnsSource<R> {
    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        if let Some(good_until) = self.good_until.take() {
            let _asked_to_stop = sleep_until(good_until).await; // which looking up fails by
        }
        let (found, ttl) = self.look_up().await?;
        self.good_until = Some(Instant::now() + ttl.clamp(*self.ttl.start(), *self.ttl.end()));
        Ok(found)
    }
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Those with the least number (RFC 2782); a target of `.` says that there is no such service.
fn first_priority(told: &Told) -> Vec<&SRV> {
    let services = told.services();
    let least = services.iter().map(|it| it.priority).min();
    let is_meant = |it: &&SRV| Some(it.priority) == least && !it.target.is_root();
    services.into_iter().filter(is_meant).collect()
}

/// Weights of SRV records have 16 bits; where one is too great all are made smaller. One of 0 gets little,
/// and not nothing.
fn scaled(weight: u16, heaviest: u16) -> u32 {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    let scaled = if heaviest > Endpoint::WEIGHT_MAX {
        weight * Endpoint::WEIGHT_MAX / heaviest
    } else {
        weight
    };
    scaled.max(1)
}

#[cfg(test)]
mod tests;
