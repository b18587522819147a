//! Who passes their checks.

use std::time::Duration;

use hyper::{HeaderMap, Method};
use serde::Deserialize;

use super::Consul;
use crate::ask::{self, ANSWER_TIME, AskError};

/// An instance that passes its checks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    node: Node,
    service: Instance,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    weights: Weights,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { passing: 1 }
    }
}

impl Entry {
    /// Where it is, as `host:port`, and its weight.
    pub(crate) fn address(&self) -> (String, u32) {
        let own = Some(self.service.address.as_str()).filter(|own| !own.is_empty());
        let host = own.unwrap_or(&self.node.address); // as it is to be, when it has none of its own
        let port = self.service.port;
        let address =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        (address, self.service.weights.passing)
    }
}

impl Consul {
    /// The instances of a service that pass their checks: at once if `index` is 0, else when they have
    /// changed since, or after about `wait`. With the headers, which have the next index.
    pub(crate) async fn healthy(
        &mut self,
        service: &str,
        index: u64,
        wait: Duration,
    ) -> Result<(HeaderMap, Vec<Entry>), AskError> {
        let seconds = wait.as_secs();
        let path = format!("/v1/health/service/{service}?passing=1&index={index}&wait={seconds}s");
        let request = self.request(Method::GET, &path).await?;
        let answered = ask::json(request.timeout(answer_time(index, wait))).await;
        self.forget_on_failure(answered)
    }
}

/// How long an answer may take: one that Consul does not wait with is due at once.
fn answer_time(index: u64, wait: Duration) -> Duration {
    match index {
        0 => ANSWER_TIME,
        // Up to a sixteenth is added, so that not all come back at once.
        _ => wait + wait / 16 + ANSWER_TIME,
    }
}
