//! One of the servers of a service.

use std::time::Duration;

/// One of the servers of a service.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_registry::Instance;
///
/// let instance = Instance { ttl: Duration::from_secs(5), ..Instance::new("shop", "shop-1", "10.0.0.7:80") };
/// assert_eq!(instance.weight, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The service.
    pub service: String,
    /// What it is called; no other instance of the service is called so.
    pub id: String,
    /// Where it is to be reached, as `host:port`.
    pub address: String,
    /// How many requests it gets, compared with the others: 1 to 1000. Default 1.
    pub weight: u32,
    /// How long it is still in the registry when it has died. Default 15 s: it is asked every 5 s, and two
    /// answers may be lost. From 2 s, which is the least that etcd grants, to an hour.
    pub ttl: Duration,
}

/// An instance that cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInstance {
    /// Its name, or its service's.
    #[error("`{name}` must be 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`")]
    Name {
        /// What was given.
        name: String,
    },
    /// Its address.
    #[error("`{address}` must be a host and a port such as `10.0.0.7:8080`")]
    Address {
        /// What was given.
        address: String,
    },
    /// Its weight.
    #[error("a weight of {weight} must be from 1 to {WEIGHT_MAX}")]
    Weight {
        /// What was given.
        weight: u32,
    },
    /// Its time to live.
    #[error("a ttl of {ttl:?} must be from {TTL_MIN:?} to {TTL_MAX:?}")]
    Ttl {
        /// What was given.
        ttl: Duration,
    },
}

const WEIGHT_MAX: u32 = 1_000;
const TTL_MIN: Duration = Duration::from_secs(2);
const TTL_MAX: Duration = Duration::from_hours(1);

impl Instance {
    /// One with the default weight and time to live.
    pub fn new(
        service: impl Into<String>,
        id: impl Into<String>,
        address: impl Into<String>,
    ) -> Instance {
        Instance {
            service: service.into(),
            id: id.into(),
            address: address.into(),
            weight: 1,
            ttl: Duration::from_secs(15),
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidInstance> {
        for name in [&self.service, &self.id] {
            let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if !(1..=128).contains(&name.len()) || !name.bytes().all(is_right) {
                return Err(InvalidInstance::Name { name: name.chars().take(200).collect() });
            }
        }
        if self.host_and_port().is_none() {
            let address = self.address.chars().take(300).collect();
            return Err(InvalidInstance::Address { address });
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(InvalidInstance::Weight { weight: self.weight });
        }
        if !(TTL_MIN..=TTL_MAX).contains(&self.ttl) {
            return Err(InvalidInstance::Ttl { ttl: self.ttl });
        }
        Ok(())
    }

    /// The host without brackets, and the port.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_host = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => (1..=253).contains(&host.len()) && host.bytes().all(is_right),
        };
        is_host.then_some((bare.unwrap_or(host), port))
    }

    /// Whole seconds, as registries count; a part of one is one more.
    pub(super) fn ttl_seconds(&self) -> u64 {
        self.ttl.as_millis().div_ceil(1000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_registered_says_why() {
        let check = |change: fn(&mut Instance), expected: &str| {
            let mut instance = Instance::new("shop", "shop-1", "10.0.0.7:8080");
            assert_eq!(instance.check(), Ok(()));
            change(&mut instance);
            assert_eq!(
                instance.check().map_err(|error| error.to_string()),
                Err(expected.to_owned())
            );
        };
        let names = "must be 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`";
        check(|it| it.service = "a/b".to_owned(), &format!("`a/b` {names}"));
        check(|it| it.id = String::new(), &format!("`` {names}"));
        for address in ["a", "a:0", "a:65536", ":1", "::1:1", "[a]:1", "a b:1", "unix:/s"] {
            let expected = format!("`{address}` must be a host and a port such as `10.0.0.7:8080`");
            let instance = Instance::new("s", "i", address);
            assert_eq!(instance.check().map_err(|error| error.to_string()), Err(expected));
        }
        check(|it| it.weight = 0, "a weight of 0 must be from 1 to 1000");
        check(|it| it.ttl = Duration::from_secs(1), "a ttl of 1s must be from 2s to 3600s");
        let six = Instance::new("s", "i", "[::1]:80");
        assert_eq!((six.check(), six.host_and_port()), (Ok(()), Some(("::1", 80))));
        let half = Instance { ttl: Duration::from_millis(2500), ..six };
        assert_eq!(half.ttl_seconds(), 3);
    }
}
