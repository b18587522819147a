//! What is spoken, and how long it may take.

use std::time::Duration;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpProtocol {
    /// Over TLS what both sides agree on (ALPN), else HTTP/1.
    #[default]
    Negotiated,
    /// HTTP/1.1, whatever the other side could.
    Http1,
    /// HTTP/2 without asking (prior knowledge, RFC 9113, section 3.3): on a plain connection
    /// there is nothing to ask by.
    Http2,
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// What is spoken. Default [`HttpProtocol::Negotiated`].
    pub protocol: HttpProtocol,
    /// Requests at a time on one HTTP/2 connection, or fewer if its server says so. Default 100:
    /// the least that RFC 9113 recommends, and what most servers allow.
    pub max_concurrent_streams: usize,
    /// Age from which on an HTTP/2 connection gets no more requests; it ends with those it has. Default 30
    /// min, as the pool's own `max_lifetime`, to which each request on it is a connection. `None`: never.
    pub max_lifetime: Option<Duration>,
    /// Time from a request to the head of its answer; a request body counts. Default 30 s: what a
    /// proxy before us waits, or less. [`Duration::MAX`]: whoever sends it has a time of their own.
    pub head_timeout: Duration,
    /// Time without a byte of an answer's body while somebody waits for it. Default 30 s. A body
    /// may take as long as it will, if it goes on.
    pub body_stall: Duration,
    /// How often an HTTP/2 connection is pinged, idle or not; one that does not answer within
    /// `ping_timeout` is closed. Default 20 s: firewalls forget silent connections. `None`: never.
    pub ping_interval: Option<Duration>,
    /// Time for an answer to a ping. Default 10 s.
    pub ping_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            protocol: HttpProtocol::default(),
            max_concurrent_streams: 100,
            max_lifetime: Some(Duration::from_mins(30)),
            head_timeout: Duration::from_secs(30),
            body_stall: Duration::from_secs(30),
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
