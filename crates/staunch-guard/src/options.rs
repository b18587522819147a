//! The knobs.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Allocator, GradientOptions, MemorySource, Reactions, Watermarks,
    limiter::gradient::GradientError,
};

/// How a guard behaves.
///
/// # Examples
/// ```
/// use staunch_guard::GuardOptions;
/// let options = GuardOptions { memory_limit: Some(1 << 30), ..GuardOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone)]
pub struct GuardOptions {
    /// The guard's name in logs, metrics and `/debug/guard`. Default `guard`.
    pub name: &'static str,
    /// Where each level begins.
    pub marks: Watermarks,
    /// Between two looks. Default 50 ms: at 1 GB a second, a limit of 1 GB is not passed from 90 %
    /// on without a look. What looks cost: `examples/cost.rs`.
    ///
    /// Looks are rarer once memory and fds have been below half of where the lowest level is left (35 %) for
    /// twenty intervals. One comes each fifth interval if what is left to there would not be taken meanwhile at
    /// 1 GB and 20,000 fds a second; and at once when half of the room for requests is taken. A guard rests if
    /// nobody has asked in that time (for admission, or whether to refuse connections) and nothing is in flight:
    /// a look comes each tenth interval then, and at once when somebody asks. That is a tenth of `growth_window`
    /// at most, unless the interval itself is more. A day at most.
    pub interval: Duration,
    /// Looks on a thread of its own, which costs two thirds of what a timer of the runtime does: that wakes a
    /// worker, and often twice. It is one of the runtime's blocking threads, of which there must be two then.
    /// Default off: the runtime's clock counts, which a test may pause.
    pub own_thread: bool,
    /// The most resident memory, in bytes, beside the limit of the control group; the nearer one
    /// counts. Default `None`: the group's alone. A process with neither has no marks for memory.
    pub memory_limit: Option<u64>,
    /// Measures memory, in place of the kernel's figures and of `memory_limit`. Default `None`.
    pub memory: Option<Arc<dyn MemorySource>>,
    /// The program's allocator, for growth and to purge. Default `None`: growth is that of resident
    /// memory.
    pub allocator: Option<Arc<dyn Allocator>>,
    /// What is done at each level.
    pub reactions: Reactions,
    /// While a level lasts, its purge and whatever was registered are run again after this time,
    /// and from [`Level::Shed`](crate::Level::Shed) on after a tenth of it. Default 1 s: what is
    /// freed is purged soon, and memory in use is not faulted in again all the time; but where it
    /// is short, each moment costs somebody an answer. What takes longer is not run twice at once.
    pub repeat: Duration,
    /// When those that are refused may try again. Default 1 s: a level can be over by then, and it
    /// is the least that `Retry-After` can say.
    pub retry_after: Duration,
    /// What a request may take before it is seen by a look, in bytes: between two looks no more are
    /// admitted than find room below the mark of [`Level::Refuse`](crate::Level::Refuse). Default
    /// 64 KiB: a read buffer, and an answer of the usual size. Say more if your requests take more:
    /// else a burst may pass the mark unseen. 0: no such check.
    pub request_bytes: u64,
    /// The same for fds. Default 1: a connection to somebody else. Before Linux 6.2 fds are looked at
    /// too seldom for this to hold.
    pub request_fds: u64,
    /// A limit of requests that are being answered, which follows how fast they are. One whose answer has
    /// begun counts no more: streams and downloads keep nobody out. Default `None`.
    pub concurrency: Option<GradientOptions>,
}

impl Default for GuardOptions {
    fn default() -> GuardOptions {
        GuardOptions {
            name: "guard",
            marks: Watermarks::default(),
            interval: Duration::from_millis(50),
            own_thread: false,
            memory_limit: None,
            memory: None,
            allocator: None,
            reactions: Reactions::default(),
            repeat: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
            request_bytes: 64 << 10,
            request_fds: 1,
            concurrency: None,
        }
    }
}

/// Options that make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardOptionsError {
    /// Looks without a pause.
    #[error("interval is zero: the guard would never rest; the default is 50 ms")]
    NoInterval,
    /// Looks that never come.
    #[error("interval is {0:?}, more than a day; the default is 50 ms")]
    LongInterval(Duration),
    /// Nothing may be used.
    #[error(
        "memory_limit is 0 bytes: everything would be refused for ever; leave it out for no limit"
    )]
    NoMemory,
    /// The limit of concurrency.
    #[error("concurrency: {0}")]
    Concurrency(#[from] GradientError),
}

impl GuardOptions {
    /// Whether they make sense.
    ///
    /// # Errors
    /// [`GuardOptionsError`]
    pub fn check(&self) -> Result<(), GuardOptionsError> {
        if self.interval.is_zero() {
            return Err(GuardOptionsError::NoInterval);
        }
        if self.interval > Duration::from_hours(24) {
            return Err(GuardOptionsError::LongInterval(self.interval));
        }
        if self.memory_limit == Some(0) {
            return Err(GuardOptionsError::NoMemory);
        }
        if let Some(concurrency) = &self.concurrency {
            concurrency.check()?;
        }
        Ok(())
    }
}

impl fmt::Debug for GuardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardOptions")
            .field("name", &self.name)
            .field("marks", &self.marks)
            .field("interval", &self.interval)
            .field("memory_limit", &self.memory_limit)
            .field("reactions", &self.reactions)
            .field("request_bytes", &self.request_bytes)
            .field("request_fds", &self.request_fds)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
