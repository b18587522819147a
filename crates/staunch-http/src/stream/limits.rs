//! What a stream may cost.

use std::time::Duration;

/// What the streams of one route may cost.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_http::StreamLimits;
///
/// let ticks = StreamLimits { lifetime: Duration::from_secs(30), ..StreamLimits::default() };
/// assert_eq!(ticks.per_client, 8);
/// ```
#[derive(Clone, Debug)]
pub struct StreamLimits {
    /// Bytes that are made before the connection takes them; then whoever makes them waits. One piece
    /// may be larger. Default 16 KiB: a write.
    pub buffer: usize,
    /// Bytes of a WebSocket's message, either way. Default 64 KiB; for more there are requests.
    pub message: usize,
    /// A pause after which a sign of life is sent: of events a comment, over a WebSocket a ping. What
    /// is made in pieces has none. Default 15 s, which HTML, 9.2.7, recommends: proxies
    /// drop what is silent for 30 s or 60 s.
    pub heartbeat: Duration,
    /// Time without anything to send. Events and WebSockets then end in good order; what is made in
    /// pieces fails, since it has stalled. Default 5 min: a client that wants more comes again.
    pub idle: Duration,
    /// Time for all of it. Default 1 h: balancers spread those who come again, and what was
    /// forgotten is gone.
    pub lifetime: Duration,
    /// Streams of this route at a time. Default 1 000.
    pub streams: usize,
    /// Streams of this route and one client at a time. Default 8: a browser opens six connections to
    /// a host.
    pub per_client: usize,
    /// Streams of all routes of the process at which this one takes no more. Default 10 000: half of
    /// the descriptors that a process commonly has.
    pub in_process: usize,
    /// When a client that is refused may come again (`Retry-After`). Default 5 s.
    pub retry_after: Duration,
}

impl Default for StreamLimits {
    fn default() -> StreamLimits {
        StreamLimits {
            buffer: 16 << 10,
            message: 64 << 10,
            heartbeat: Duration::from_secs(15),
            idle: Duration::from_mins(5),
            lifetime: Duration::from_hours(1),
            streams: 1_000,
            per_client: 8,
            in_process: 10_000,
            retry_after: Duration::from_secs(5),
        }
    }
}
