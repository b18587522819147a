//! What a request may cost.

use std::time::Duration;

/// What a request may cost before it is understood.
///
/// # Examples
/// ```
/// use staunch_http::HttpLimits;
/// let limits = HttpLimits { body_bytes: 0, ..HttpLimits::default() };
/// assert_eq!(limits.headers, 64);
/// ```
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Time for a whole request head, from its first byte. Default 20 s: a head is one packet or
    /// two, which may be lost several times. A pause before it is the listener's
    /// `Limits::idle`.
    pub head_time: Duration,
    /// A pause after which an HTTP/1 connection is parked: all it then holds is its socket, its places
    /// on the ledger and its task, about 2 KiB (`cargo xtask bench parked`), and over TLS the session.
    /// Default 1 s: a page asks for what it needs within that.
    pub park_after: Duration,
    /// Bytes of a request head. Default 16 KiB: browsers stay below 8 KiB, and one buffer of
    /// the listener holds it. At least 8 KiB, which hyper needs to read at all.
    pub head_bytes: usize,
    /// Bytes of a request's path and query. Default 8 KiB, as RFC 9110, 4.1, recommends everybody to
    /// take.
    pub uri_bytes: usize,
    /// Headers of a request. Default 64: twice what a browser behind two proxies sends.
    pub headers: usize,
    /// Bytes of a request body. Default 1 MiB.
    pub body_bytes: usize,
    /// Time for a whole request body, from when its handler first waits for it. Default 60 s:
    /// the largest at 17 KiB a second, which every mobile link does.
    pub body_time: Duration,
    /// Bytes of a request body a second, on average, 5 s after its handler first waits for it.
    /// Default 240, as in Kestrel: whoever sends less holds a handler for the sake of it. 0 takes any.
    pub body_rate: u32,
    /// Time for a handler to answer, its wait for the request's body included; then it is dropped,
    /// and the client is told 503. It is the deadline of the request's
    /// [`Context`](staunch_scope::Context). Default 2 min: what the largest body may take, and as
    /// much again. Making an answer's body takes as long as it takes.
    pub request_time: Duration,
    /// Requests of one connection, one after the other or side by side; then it is ended in good order
    /// (`Connection: close`, GOAWAY), and the client opens another, perhaps to another server.
    /// Default 10 000: what opening one costs is 1 % of what they do.
    pub requests: u32,
    /// Requests of one HTTP/2 connection at a time. Default 100, as browsers expect (RFC 9113,
    /// 6.5.2); beyond it a client waits.
    pub streams: u32,
    /// Bytes of an answer that one HTTP/2 stream holds for a client that does not take them.
    /// Default 64 KiB: the window that clients begin with.
    pub stream_buffer: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            head_time: Duration::from_secs(20),
            park_after: Duration::from_secs(1),
            head_bytes: 16 << 10,
            uri_bytes: 8 << 10,
            headers: 64,
            body_bytes: 1 << 20,
            body_time: Duration::from_mins(1),
            body_rate: 240,
            request_time: Duration::from_mins(2),
            requests: 10_000,
            streams: 100,
            stream_buffer: 64 << 10,
        }
    }
}
