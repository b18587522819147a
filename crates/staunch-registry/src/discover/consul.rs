//! Instances of a service in Consul that pass their checks, by blocking queries: a question is answered when
//! something has changed since the index that it names, or after a while.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs/features/blocking>, whose rules for clients
//! [`next_index`] follows: begin afresh when the index goes backwards, and have none that is 0.

use std::{convert::Infallible, time::Duration};

use hyper::HeaderMap;
use staunch_config::ConsulDiscovery;
use staunch_scope::{Scope, sleep_until};
use tokio::time::Instant;

use super::{DiscoveryError, Found, Source};
use crate::{ask::AskError, consul::Consul};

/// How long an answer is waited for. Consul's own default is 5 min; after one we know that it is there.
const WAIT: Duration = Duration::from_mins(1);

/// Between two questions at least: a service in which something changes all the time is asked ten times a
/// second.
const BETWEEN: Duration = Duration::from_millis(100);

pub(super) struct ConsulSource {
    consul: Consul,
    server: String,
    service: String,
    /// Of the last answer; 0 to have one at once.
    index: u64,
    asked: Option<Instant>,
}

impl ConsulSource {
    pub(super) fn new(scope: &Scope<Infallible>, consul: &ConsulDiscovery) -> ConsulSource {
        let (ca, token) = (consul.ca.as_ref(), consul.token_file.as_ref());
        ConsulSource {
            consul: Consul::new(scope, &consul.server, ca, token),
            server: consul.server.clone(),
            service: consul.service.clone(),
            index: 0,
            asked: None,
        }
    }
}

impl Source for ConsulSource {
    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        if let Some(asked) = self.asked {
            let _asked_to_stop = sleep_until(asked + BETWEEN).await; // which asking fails by
        }
        self.asked = Some(Instant::now());
        let before = std::mem::take(&mut self.index); // after an error it begins afresh
        let (headers, entries) = self.consul.healthy(&self.service, before, WAIT).await?;
        let told = index(&headers).ok_or_else(|| {
            let reason = "no X-Consul-Index: is it Consul?".to_owned();
            AskError::Nonsense { url: self.server.clone(), reason }
        })?;
        self.index = next_index(before, told);
        let mut found = Found::default();
        for entry in &entries {
            let (address, weight) = entry.address();
            found.add_address(&self.service, &address, weight);
        }
        Ok(found)
    }
}

fn index(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-consul-index")?.to_str().ok()?.parse().ok()
}

fn next_index(before: u64, told: u64) -> u64 {
    if told < before { 0 } else { told.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_goes_on_or_begins_afresh() {
        for (before, told, next) in
            [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 3, 0), (0, 0, 1), (1, 0, 0)]
        {
            assert_eq!(next_index(before, told), next, "{before}, {told}");
        }
    }
}
