//! What a client may take.

use std::time::Duration;

use staunch_net::TlsTrust;
use staunch_pool::{HttpOptions, KeyedPoolOptions, PoolOptions};

use super::proxies::Proxies;

/// How a [`Client`](crate::Client) behaves.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_http::ClientOptions;
///
/// let options = ClientOptions { total_timeout: Duration::from_secs(5), ..ClientOptions::default() };
/// assert_eq!(options.max_redirects, 10);
/// ```
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The connections, of each origin and of all together: how many, how long an idle one is
    /// kept, how long it is waited for one (`acquire_timeout`) and for a connect
    /// (`connect_timeout`). Defaults as of a pool, its name is `http-client`.
    pub pool: KeyedPoolOptions,
    /// What is spoken, the time to the head of an answer (`head_timeout`, 30 s), and the time
    /// without a byte of its body (`body_stall`, 30 s).
    pub http: HttpOptions,
    /// Time for all of it, from [`send`](crate::ClientRequest::send) to the last byte of the body,
    /// retries and redirects included. Default 60 s: what is meant to take longer, such as a
    /// download, says so by [`timeout`](crate::ClientRequest::timeout).
    pub total_timeout: Duration,
    /// Bytes of a body, decoded, that are read piece by piece
    /// ([`chunk`](crate::AnswerBody::chunk), [`lines`](crate::Answer::lines)). Default 256 MiB: an
    /// endless answer ends there, and hardly anything else.
    pub max_body: u64,
    /// Whom to trust over TLS. Default `None`: whom the system does, with `h2` and `http/1.1`.
    pub trust: Option<TlsTrust>,
    /// Whom to go through. Default: nobody, whatever the environment says; a service that is started
    /// with other variables is not to go another way. See [`Proxies::from_environment`].
    pub proxies: Proxies,
    /// What is done with bodies that are dropped unread.
    pub drain: DrainOptions,
    /// Redirects that are followed. Default 10: nobody means more, and loops have more. 0: they are
    /// answers like any other.
    pub max_redirects: usize,
    /// When a request is sent again.
    pub retry: RetryOptions,
    /// Ask for gzip, br and zstd, and decode them; not for requests that have an `Accept-Encoding`
    /// or a `Range` of their own. Default on: what is read is bounded by its size when decoded.
    pub decode: bool,
}

/// What is done with bodies that are dropped unread.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// Bytes that are read to save a connection. Default 64 KiB: about what is under way when the
    /// body is dropped; to read more costs more than to connect again. 0: none is saved.
    pub max_bytes: u64,
    /// Time to read them. Default 500 ms, a few round trips.
    pub max_time: Duration,
    /// Bodies at a time; the connections of more are closed. Default 32.
    pub max_bodies: usize,
}

impl Default for DrainOptions {
    fn default() -> DrainOptions {
        DrainOptions { max_bytes: 64 << 10, max_time: Duration::from_millis(500), max_bodies: 32 }
    }
}

/// When a request is sent again: if that does what sending it once does (RFC 9110, section
/// 9.2.2), or it was never sent; and its body can be had again.
#[derive(Clone, Copy, Debug)]
pub struct RetryOptions {
    /// Retries of one request. Default 2: what fails three times fails for a reason.
    pub max_retries: u32,
    /// Retries per hundred requests of the client, over time. Default 10: a server that is down is
    /// not to get three times the load as well.
    pub budget_percent: u32,
    /// Retries that a client has at its start and at most saves up. Default 10.
    pub reserve: u32,
    /// Pause before the first; doubles with each, up to `backoff_max`. A random half of it is left
    /// out, so that clients do not come all at once. Default 50 ms.
    pub backoff: Duration,
    /// The longest pause. Default 1 s.
    pub backoff_max: Duration,
    /// The longest that a server can have it wait (`Retry-After`); its answer is the answer if it
    /// asks for longer, or for longer than there is time. Default 10 s: a user is gone by then.
    pub retry_after_max: Duration,
}

impl Default for RetryOptions {
    fn default() -> RetryOptions {
        RetryOptions {
            max_retries: 2,
            budget_percent: 10,
            reserve: 10,
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(10),
        }
    }
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        let per_key = PoolOptions { name: "http-client", ..PoolOptions::default() };
        ClientOptions {
            pool: KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() },
            http: HttpOptions::default(),
            total_timeout: Duration::from_mins(1),
            max_body: 256 << 20,
            trust: None,
            proxies: Proxies::none(),
            drain: DrainOptions::default(),
            max_redirects: 10,
            retry: RetryOptions::default(),
            decode: true,
        }
    }
}
