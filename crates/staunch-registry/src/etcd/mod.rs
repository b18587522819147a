//! etcd's version 3 over HTTP: what its gateway makes of gRPC. Keys and values are base64, and whole
//! numbers may be texts, since those of JSON have 53 bits (protobuf's JSON mapping).
//!
//! Source: <https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>.

#[cfg(feature = "discover")]
mod keys;

use std::{convert::Infallible, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::json;
use staunch_http::{Answer, Client};
use staunch_scope::{Context, Scope};

#[cfg(feature = "discover")]
pub(crate) use self::keys::{Changes, EventKind, KeyValue, Watch};
use crate::{
    ask::{self, ANSWER_MAX, ANSWER_TIME, AskError, shown},
    reading::Secret,
};

/// A cluster, as one task asks it.
pub(crate) struct Etcd {
    scope: Scope<Infallible>,
    servers: Vec<String>,
    /// Which of them is asked next: who answered last, or who comes after one that has not.
    at: usize,
    ca: Option<PathBuf>,
    /// Name, and where the password is.
    login: Option<(String, PathBuf)>,
    client: Option<Client>,
    token: Option<Secret>,
}

/// A part of an answer that goes on.
#[derive(Deserialize)]
struct Streamed<T> {
    result: Option<T>,
    error: Option<StreamedError>,
}

#[derive(Deserialize)]
struct StreamedError {
    #[serde(default)]
    message: String,
}

/// A lease, and how many seconds it has left: none if there is no such lease.
#[derive(Debug, Deserialize)]
pub(crate) struct Lease {
    #[serde(rename = "ID", default, deserialize_with = "int")]
    pub(crate) id: i64,
    #[serde(rename = "TTL", default, deserialize_with = "int")]
    pub(crate) ttl: i64,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

impl Etcd {
    pub(crate) fn new(
        scope: &Scope<Infallible>,
        servers: &[String],
        ca: Option<&PathBuf>,
        login: Option<(&str, &PathBuf)>,
    ) -> Etcd {
        Etcd {
            scope: scope.clone(),
            servers: servers.to_vec(),
            at: 0,
            ca: ca.cloned(),
            login: login.map(|(user, password)| (user.to_owned(), password.clone())),
            client: None,
            token: None,
        }
    }

    /// A new lease of so many seconds.
    pub(crate) async fn grant(&mut self, seconds: u64) -> Result<Lease, AskError> {
        self.call("/v3/lease/grant", &json!({ "TTL": seconds })).await
    }

    /// Renews a lease.
    pub(crate) async fn keep_alive(&mut self, lease: i64) -> Result<Lease, AskError> {
        let url = format!("{}/v3/lease/keepalive", self.server(self.at));
        let question = json!({ "ID": lease.to_string() });
        let kept: Streamed<Lease> = self.call("/v3/lease/keepalive", &question).await?;
        kept.or_nonsense(&url)
    }

    /// Ends a lease, and with it the keys that were put under it.
    pub(crate) async fn revoke(&mut self, lease: i64) -> Result<(), AskError> {
        let question = json!({ "ID": lease.to_string() });
        self.call::<serde_json::Value>("/v3/lease/revoke", &question).await.map(drop)
    }

    /// Puts a value under a lease.
    pub(crate) async fn put(&mut self, key: &str, value: &str, lease: i64) -> Result<(), AskError> {
        let [key, value] = [key, value].map(|text| STANDARD.encode(text));
        let question = json!({ "key": key, "value": value, "lease": lease.to_string() });
        self.call::<serde_json::Value>("/v3/kv/put", &question).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<T, AskError> {
        let (asked, answer) = self.send(path, question, false).await?;
        let told = answer.json(ANSWER_MAX).await?;
        self.at = asked;
        Ok(told)
    }

    /// The first server that has an answer, from the one that answered last on, and its answer; `is_endless`
    /// has no time to end. Who is content with the answer says so by setting [`at`](Self::at) to that server.
    async fn send(
        &mut self,
        path: &str,
        question: &impl Serialize,
        is_endless: bool,
    ) -> Result<(usize, Answer), AskError> {
        // A token may be too old: one more try is with another one.
        let mut tries = self.servers.len() + usize::from(self.token.is_some());
        loop {
            let asked = self.at;
            // Before it answers: whoever loses patience drops this, and has left the one that hangs.
            self.at = (asked + 1) % self.servers.len().max(1);
            let error = match self.send_once(asked, path, question, is_endless).await {
                Ok(answer) => return Ok((asked, answer)),
                Err(error) => error,
            };
            self.client.take_if(|_| error.may_be_of_trust()); // which is read again
            tries = tries.saturating_sub(1);
            if tries == 0 || Context::current().is_cancelled() {
                return Err(error);
            }
            if self.token.take().is_some() {
                self.at = asked;
            }
        }
    }

    async fn send_once(
        &mut self,
        asked: usize,
        path: &str,
        question: &impl Serialize,
        is_endless: bool,
    ) -> Result<Answer, AskError> {
        let client = self.client()?;
        let token = self.token(asked, &client).await?;
        let url = format!("{}{path}", self.server(asked));
        let mut request = client.post(&url).json(question);
        if let Some(token) = token {
            request = request.header("authorization", token.reveal());
        }
        if is_endless {
            // The head comes at once; and whoever reads the rest sees to it that it goes on.
            let asked = ask::send(request.timeout(std::time::Duration::MAX).max_body(u64::MAX));
            let late = |_| AskError::Nonsense { url, reason: "no answer".to_owned() };
            return staunch_scope::timeout(ANSWER_TIME, asked).await.map_err(late)?;
        }
        ask::send(request).await
    }

    fn client(&mut self) -> Result<Client, AskError> {
        if let Some(known) = &self.client {
            return Ok(known.clone());
        }
        let client = ask::client(&self.scope, &self.servers, self.ca.as_ref())?;
        Ok(self.client.insert(client).clone())
    }

    /// What tells who asks.
    async fn token(&mut self, asked: usize, client: &Client) -> Result<Option<Secret>, AskError> {
        if let (None, Some((name, password))) = (&self.token, &self.login) {
            let password = Secret::read(&self.scope, password).await?;
            let question = json!({ "name": name, "password": password.reveal() });
            let url = format!("{}/v3/auth/authenticate", self.server(asked));
            let (_, Token { token }) = ask::json(client.post(url).json(&question)).await?;
            self.token = Some(token.into());
        }
        Ok(self.token.clone())
    }

    fn server(&self, at: usize) -> &str {
        self.servers.get(at).map_or("", String::as_str)
    }
}

impl<T> Streamed<T> {
    fn or_nonsense(self, url: &str) -> Result<T, AskError> {
        let nonsense = |reason| AskError::Nonsense { url: url.to_owned(), reason };
        match (self.result, self.error) {
            (Some(result), _) => Ok(result),
            (None, Some(error)) => Err(nonsense(shown(error.message.as_bytes()))),
            (None, None) => Err(nonsense("neither a result nor an error".to_owned())),
        }
    }
}

fn int<'d, D: Deserializer<'d>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Int {
        Number(i64),
        Text(String),
    }
    match Int::deserialize(deserializer)? {
        Int::Number(number) => Ok(number),
        Int::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
