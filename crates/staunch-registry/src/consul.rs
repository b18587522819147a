//! Consul's HTTP API, version 1, as far as it is used here.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs>.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use hyper::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use staunch_http::{Client, ClientRequest};
use staunch_scope::Scope;

use crate::{
    ask::{self, ANSWER_TIME, AskError},
    reading::Secret,
};

/// An agent, as one task asks it.
pub(crate) struct Consul {
    scope: Scope<Infallible>,
    server: String,
    ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    client: Option<Client>,
    token: Option<Secret>,
}

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
    pub(crate) fn new(
        scope: &Scope<Infallible>,
        server: &str,
        ca: Option<&PathBuf>,
        token_file: Option<&PathBuf>,
    ) -> Consul {
        Consul {
            scope: scope.clone(),
            server: server.to_owned(),
            ca: ca.cloned(),
            token_file: token_file.cloned(),
            client: None,
            token: None,
        }
    }

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
        // Up to a sixteenth is added, so that not all come back at once.
        let answered = ask::json(request.timeout(wait + wait / 16 + ANSWER_TIME)).await;
        self.forget_on_failure(answered)
    }

    /// PUTs what has no answer.
    pub(crate) async fn put(
        &mut self,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(), AskError> {
        let mut request = self.request(Method::PUT, path).await?;
        if let Some(body) = body {
            request = request.json(body);
        }
        let answered = ask::send(request).await;
        // Read, so that its connection can be used again.
        let read = async { Ok(answered?.bytes(ask::ANSWER_MAX).await?) };
        self.forget_on_failure(read.await).map(drop)
    }

    /// The token is read again after a failure: it may be another one by now.
    fn forget_on_failure<T>(&mut self, answered: Result<T, AskError>) -> Result<T, AskError> {
        if answered.is_err() {
            self.token = None;
        }
        answered
    }

    fn client(&mut self) -> Result<Client, AskError> {
        if let Some(known) = &self.client {
            return Ok(known.clone());
        }
        let servers = std::slice::from_ref(&self.server);
        let client = ask::client(&self.scope, servers, self.ca.as_ref())?;
        Ok(self.client.insert(client).clone())
    }

    async fn request(&mut self, method: Method, path: &str) -> Result<ClientRequest, AskError> {
        let client = self.client()?;
        if let (None, Some(file)) = (&self.token, &self.token_file) {
            self.token = Some(Secret::read(&self.scope, file).await?);
        }
        let request = client.request(method, format!("{}{path}", self.server));
        Ok(match &self.token {
            Some(token) => request.header("x-consul-token", token.reveal()),
            None => request,
        })
    }
}
