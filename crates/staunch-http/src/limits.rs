//! What a request may cost.

use std::{borrow::Cow, time::Duration};

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
    /// on the ledger and its task, about 1 KiB (`cargo xtask bench parked`), and over TLS the session.
    /// Default 1 s: a page asks for what it needs within that.
    pub park_after: Duration,
    /// Bytes of a request head. Default 16 KiB: browsers stay below 8 KiB, and one buffer of
    /// the listener holds it. At least 8 KiB, which hyper needs to read at all.
    pub head_bytes: usize,
    /// Bytes of a request's path and query. Default 8 KiB, as RFC 9110, 4.1, recommends everybody to
    /// take.
    pub uri_bytes: usize,
    /// Headers of a request; its cookies are one. Default 64: twice what a browser behind two proxies sends.
    pub headers: usize,
    /// Bytes of a request body. Default 1 MiB; for paths that take more there is `bodies`.
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
    /// Requests of one HTTP/2 connection at a time (SETTINGS_MAX_CONCURRENT_STREAMS). Default 100, as
    /// browsers expect (RFC 9113, 6.5.2); beyond it a client waits.
    pub streams: u32,
    /// Bytes of an answer that one HTTP/2 stream holds for a client that does not take them, and of a
    /// piece in which it is handed over: at most both. Default 64 KiB: the window that clients begin
    /// with.
    pub stream_buffer: usize,
    /// Time in which an HTTP/2 client must take so much of an answer: its windows may be shut for so
    /// long. Then, within twice the time, the stream is reset; if all of its answer was made the
    /// connection is cut, within three times. Default 30 s, as the listener's `Limits::write_stall`.
    pub stream_stall: Duration,
    /// Frames of an HTTP/2 client a second that bring nothing: PING, SETTINGS, RST_STREAM, PRIORITY,
    /// DATA without data, WINDOW_UPDATE for more than it was sent. Beyond it the connection is ended
    /// (GOAWAY, ENHANCE_YOUR_CALM). Default 1000: who cancels each request, or measures each round
    /// trip, needs less. 0 takes any.
    pub control_frames: u32,
    /// Streams that an HTTP/2 client has reset before they were taken up, or that it was refused, at a
    /// time. Beyond it the connection is ended (rapid reset, CVE-2023-44487). Default 20, as in h2.
    pub resets: usize,
    /// Bytes that an HTTP/2 client may send on one stream before they are read
    /// (SETTINGS_INITIAL_WINDOW_SIZE). Default 256 KiB: what a link of 100 Mbit/s holds at 20 ms.
    pub stream_window: u32,
    /// Bytes that an HTTP/2 client may send on all streams before they are read. Default 1 MiB: four
    /// streams at full speed.
    pub connection_window: u32,
    /// Bytes of a frame that an HTTP/2 client may send (SETTINGS_MAX_FRAME_SIZE), from 16 KiB to 16 MiB.
    /// Default 16 KiB, the least there is: larger ones hold up the other streams.
    pub frame_bytes: u32,
    /// What the bodies of requests for certain paths may cost instead. Default: none.
    pub bodies: Vec<BodyLimits>,
}

/// What the body of a request for one path may cost: an upload's, for instance.
///
/// # Examples
/// ```
/// use staunch_http::{BodyLimits, HttpLimits};
/// use std::time::Duration;
///
/// let upload = BodyLimits { bytes: 4 << 30, ..BodyLimits::of("/upload") };
/// let limits = HttpLimits { bodies: vec![upload], ..HttpLimits::default() };
/// assert_eq!(limits.bodies[0].time, Duration::from_hours(1));
/// ```
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The path, all of it.
    pub path: Cow<'static, str>,
    /// Instead of [`HttpLimits::body_bytes`]. Default 1 GiB.
    pub bytes: usize,
    /// Instead of [`HttpLimits::body_time`]; its handler has as much more to answer. Default 1 h: 1 GiB
    /// at 300 KiB a second.
    pub time: Duration,
}

impl BodyLimits {
    /// Those of `path`, at their defaults.
    pub fn of(path: impl Into<Cow<'static, str>>) -> BodyLimits {
        BodyLimits { path: path.into(), bytes: 1 << 30, time: Duration::from_hours(1) }
    }
}

/// What one request may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) body_bytes: usize,
    pub(crate) body_time: Duration,
    pub(crate) body_rate: u32,
    pub(crate) time: Duration,
}

impl HttpLimits {
    /// What a request for `path` may cost.
    pub(crate) fn allowance(&self, path: &str) -> Allowance {
        let own = self.bodies.iter().find(|limits| limits.path == path);
        let (body_bytes, body_time, time) = match own {
            Some(own) => (own.bytes, own.time, self.request_time.saturating_add(own.time)),
            None => (self.body_bytes, self.body_time, self.request_time),
        };
        Allowance { body_bytes, body_time, body_rate: self.body_rate, time }
    }
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
            stream_stall: Duration::from_secs(30),
            control_frames: 1000,
            resets: 20,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            frame_bytes: 16 << 10,
            bodies: Vec::new(),
        }
    }
}
