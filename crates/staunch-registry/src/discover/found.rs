//! What a source has found, before it is known whether it can be used.

use std::{path::Path, sync::Arc};

use staunch_config::Endpoint;

use super::DiscoveryError;
use crate::ask::shown;

/// All servers that a source tells, and what it tells that is none.
#[derive(Debug, Default)]
pub(super) struct Found {
    endpoints: Vec<Endpoint>,
    /// The first of the entries that are no servers.
    refused: Option<String>,
}

impl Found {
    pub(super) fn add(&mut self, endpoint: Endpoint) {
        self.endpoints.push(endpoint);
    }

    /// The server at `host:port`, of which `entry` tells; one with a weight beyond the greatest has that.
    pub(super) fn add_address(&mut self, entry: &str, address: &str, weight: u32) {
        match at(address, weight) {
            Some(endpoint) => self.add(endpoint),
            None => self.refuse(entry, address),
        }
    }

    /// An entry tells what is no server.
    pub(super) fn refuse(&mut self, entry: &str, told: &str) {
        let [entry, told] = [entry, told].map(|text| shown(text.as_bytes()));
        self.refused.get_or_insert_with(|| {
            format!("`{entry}` has `{told}`, which is no server such as `10.0.0.7:8080`")
        });
    }

    /// The servers in a certain order, each once, if they are not too many; and what was refused.
    pub(super) fn judged(self) -> Result<(Arc<[Endpoint]>, Option<String>), DiscoveryError> {
        let Found { mut endpoints, refused } = self;
        endpoints.sort_by_cached_key(|endpoint| endpoint.address.to_string());
        endpoints.dedup_by(|next, first| next.address == first.address);
        if endpoints.len() > Endpoint::MAX {
            return Err(DiscoveryError::TooMany);
        }
        Ok((endpoints.into(), refused))
    }
}

/// A server of the network: nobody else chooses a socket of this machine.
pub(super) fn at(address: &str, weight: u32) -> Option<Endpoint> {
    let weight = weight.clamp(1, Endpoint::WEIGHT_MAX);
    let is_of_network = !address.starts_with("unix:") && !address.contains(' ');
    let written = is_of_network.then(|| format!("{address} weight={weight}"))?;
    Endpoint::parse(&written, Path::new("")).ok()
}
