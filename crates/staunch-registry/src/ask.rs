//! How registries are asked over HTTP: within bounds of time and size, by whom they can trust.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use hyper::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use staunch_http::{
    Answer, Client, ClientError, ClientOptions, ClientOptionsError, ClientRequest, ReadAnswerError,
    RetryOptions,
};
use staunch_net::{LoadTlsError, TlsTrust};
use staunch_pool::{HttpOptions, HttpProtocol, KeyedPoolOptions, PoolOptions};
use staunch_scope::Scope;

use crate::reading::ReadFileError;

/// A registry has not answered, or what is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its answer cannot be read.
    #[error(transparent)]
    Body(#[from] ReadAnswerError),
    /// Nobody can be asked.
    #[error(transparent)]
    Options(#[from] ClientOptionsError),
    /// It is not known whom to believe.
    #[error(transparent)]
    Trust(#[from] LoadTlsError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] ReadFileError),
    /// It refuses.
    #[error("{url}: {status}: {said}")]
    Status {
        /// Who.
        url: String,
        /// Its status.
        status: StatusCode,
        /// What it says, at most so much of it that it is readable.
        said: String,
    },
    /// It answers what is no answer.
    #[error("{url}: {reason}")]
    Nonsense {
        /// Who.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl AskError {
    /// Whether there was no connection over TLS: whom to believe may be another one by now.
    pub(crate) fn may_be_of_trust(&self) -> bool {
        matches!(self, AskError::Client(ClientError::Http { url, .. }) if url.starts_with("https:"))
    }
}

/// The most bytes of an answer: a thousand instances with all that Consul says of each.
pub(crate) const ANSWER_MAX: u64 = 8 << 20;

/// How long an answer may take that is not one to wait for.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The longest that nothing may come of an answer that goes on for ever. Who reads one looks sooner
/// whether it is still there.
const STALL: Duration = Duration::from_mins(5);

/// Whom a client for `servers` believes; `None` if it speaks no TLS. Reads files, and so blocks for a moment.
pub(crate) fn trust(
    servers: &[String],
    ca: Option<&PathBuf>,
) -> Result<Option<TlsTrust>, LoadTlsError> {
    const SPOKEN: &[&str] = &["http/1.1"];
    let is_secure = servers.iter().any(|server| server.starts_with("https://"));
    match ca {
        Some(ca) => TlsTrust::load(ca, SPOKEN).map(Some),
        None if is_secure => TlsTrust::system(SPOKEN).map(Some),
        None => Ok(None),
    }
}

/// A client for `servers`. Whom to believe is read from files, and so it blocks for a moment.
pub(crate) fn client(
    scope: &Scope<Infallible>,
    servers: &[String],
    ca: Option<&PathBuf>,
) -> Result<Client, AskError> {
    let trust = trust(servers, ca)?;
    let per_key =
        PoolOptions { name: "registry", max_total: 4, max_idle: 2, ..PoolOptions::default() };
    let options = ClientOptions {
        pool: KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() },
        http: HttpOptions {
            protocol: HttpProtocol::Http1,
            head_timeout: Duration::MAX, // each request has a time of its own
            body_stall: STALL,
            ..HttpOptions::default()
        },
        total_timeout: ANSWER_TIME,
        trust,
        // A token is not carried elsewhere, and there is a backoff above.
        max_redirects: 0,
        retry: RetryOptions { max_retries: 0, ..RetryOptions::default() },
        decode: false,
        ..ClientOptions::default()
    };
    Ok(Client::new(scope, options)?)
}

/// The answer, if it is one.
pub(crate) async fn send(request: ClientRequest) -> Result<Answer, AskError> {
    let answer = request.send().await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let url = answer.url().to_owned();
    let said = shown(&answer.bytes(1 << 10).await.unwrap_or_default());
    Err(AskError::Status { url, status, said })
}

/// The answer as JSON, and its headers.
pub(crate) async fn json<T: DeserializeOwned>(
    request: ClientRequest,
) -> Result<(HeaderMap, T), AskError> {
    let answer = send(request).await?;
    let headers = answer.headers().clone();
    Ok((headers, answer.json(ANSWER_MAX).await?))
}

/// What a log repeats of what somebody else has said: one line, not too long.
pub(crate) fn shown(said: &[u8]) -> String {
    const MOST: usize = 200;
    let said = String::from_utf8_lossy(said);
    let line: String = said.trim().chars().take(MOST).flat_map(char::escape_debug).collect();
    if said.trim().chars().nth(MOST).is_some() { format!("{line}…") } else { line }
}
