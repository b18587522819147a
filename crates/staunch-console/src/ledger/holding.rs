//! What is held for a route, as JSON shows it.

use serde::Serialize;
use staunch_ledger::Holding;

use super::{seconds, site_name};

#[derive(Serialize)]
pub(super) struct HoldingView {
    route: String,
    kind: &'static str,
    born_at: String,
    count: u64,
    bytes: u64,
    oldest_seconds: f64,
    stalest_seconds: f64,
    /// How many have moved nothing for ten minutes.
    still: u64,
    /// Those with the most.
    clients: Vec<Share>,
    upstreams: Vec<Share>,
    /// All of it in one line.
    text: String,
}

#[derive(Serialize)]
struct Share {
    address: String,
    count: u64,
}

impl Share {
    fn new((address, count): &(impl ToString, u64)) -> Share {
        Share { address: address.to_string(), count: *count }
    }
}

impl HoldingView {
    pub(super) fn new(holding: &Holding) -> HoldingView {
        HoldingView {
            route: holding.route.to_string(),
            kind: holding.kind.name(),
            born_at: site_name(holding.born_at),
            count: holding.count,
            bytes: holding.bytes,
            oldest_seconds: seconds(holding.oldest),
            stalest_seconds: seconds(holding.stalest),
            still: holding.still,
            clients: holding.clients.iter().map(Share::new).collect(),
            upstreams: holding.upstreams.iter().map(Share::new).collect(),
            text: holding.to_string(),
        }
    }
}
