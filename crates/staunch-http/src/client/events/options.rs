//! What events may take.

use std::time::Duration;

/// How events are received.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use staunch_http::EventsOptions;
///
/// let options = EventsOptions { max_attempts: 3, ..EventsOptions::default() };
/// assert_eq!(options.idle, Duration::from_secs(45));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EventsOptions {
    /// Bytes of a line. Default 256 KiB: data is mostly one line, of JSON.
    pub max_line: usize,
    /// Bytes of an event: its data, its name and its id. Default 1 MiB.
    pub max_event: usize,
    /// Pause before it connects again, if the server does not ask for another (`retry`). Default
    /// 3 s, as browsers do. It doubles with each attempt in vain, up to `pause_max`, and up to half
    /// of it is added at random, so that clients do not come all at once.
    pub pause: Duration,
    /// The shortest pause that a server can ask for. Default 100 ms: a `retry: 0` is not to become
    /// a loop.
    pub pause_min: Duration,
    /// The longest pause, whatever the server asks for. Default 30 s: who has come back is not to
    /// wait long for its clients.
    pub pause_max: Duration,
    /// Attempts in vain, one after the other, after which it gives up: without an answer, or whose
    /// stream ended before a byte of it came. Default 10,
    /// 3 to 5 min with the default pauses: a restart takes less.
    pub max_attempts: u32,
    /// Time without a byte while somebody waits for one, after which it connects again; signs of
    /// life count. Default 45 s: three heartbeats of a server of ours.
    pub idle: Duration,
}

impl Default for EventsOptions {
    fn default() -> EventsOptions {
        EventsOptions {
            max_line: 256 << 10,
            max_event: 1 << 20,
            pause: Duration::from_secs(3),
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(30),
            max_attempts: 10,
            idle: Duration::from_secs(45),
        }
    }
}
