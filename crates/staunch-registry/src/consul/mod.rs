//! Consul's HTTP API, version 1, as far as it is used here.
//!
//! Source: <https://developer.hashicorp.com/consul/api-docs>.

#[cfg(feature = "discover")]
mod health;

use std::{convert::Infallible, path::PathBuf};

use hyper::Method;
use serde::Serialize;
use staunch_http::{Client, ClientRequest};
use staunch_scope::Scope;

use crate::{
    ask::{self, AskError},
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

    /// The token is read again after a failure, and so is whom to believe: they may be others by now.
    fn forget_on_failure<T>(&mut self, answered: Result<T, AskError>) -> Result<T, AskError> {
        if let Err(error) = &answered {
            self.token = None;
            self.client.take_if(|_| error.may_be_of_trust());
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
