//! Children that are started again when they fail.
//!
//! A supervised child is one task: its attempts run in it one after the other, each dropped
//! before the next begins, so nothing of a failed attempt is left. How long it waits before an
//! attempt depends only on how many restarts there were lately; nothing is left to chance, so
//! that a test, and a person who reads the log, can tell what will happen.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, Location, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use staunch_ledger::{Kind, Observation};
use tokio::time::Instant;

use crate::{
    error::{FailureCause, TaskPanic},
    frame,
    members::Role,
    scope::Scope,
    sleep::sleep,
};

/// How often, and after how long, a supervised child is started again.
///
/// The `n`-th restart within the window waits twice as long as the one before it. A child that
/// runs well for longer than the window starts afresh: restarts further back do not count.
///
/// # Examples
/// ```
/// use staunch_scope::Restart;
/// use std::time::Duration;
///
/// // After 1 s, 2 s, 4 s, 4 s, ...; the eleventh failure within an hour is one too many.
/// let restart = Restart::default()
///     .backoff(Duration::from_secs(1), Duration::from_secs(4))
///     .at_most(10, Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Restart {
    first: Duration,
    longest: Duration,
    most: u32,
    within: Duration,
}

impl Default for Restart {
    /// 100 ms, doubling up to 10 s, at most 5 times within a minute: rides out the restart of a
    /// peer, gives up on a mistake of one's own while somebody still looks at the deploy.
    fn default() -> Restart {
        Restart {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            most: 5,
            within: Duration::from_mins(1),
        }
    }
}

impl Restart {
    /// The wait before the first restart, and the longest that doubling may make of it.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Restart {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// How many restarts there may be within a window; the failure after that is the scope's.
    pub fn at_most(mut self, restarts: u32, within: Duration) -> Restart {
        (self.most, self.within) = (restarts, within);
        self
    }
}

impl<E: fmt::Display + Send + 'static> Scope<E> {
    /// Starts a child that is started again, by calling `attempt` again, whenever it fails or
    /// panics. It ends with its first success, when the scope stops, or when it fails more often
    /// than `restart` allows: then the last failure is the child's.
    ///
    /// Each restart is an observation (`restarted-task`) and a line in the log.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    ///
    /// # Examples
    /// ```
    /// use staunch_scope::{BoxError, Context, Restart, scope};
    /// use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let restart = Restart::default().backoff(Duration::from_millis(1), Duration::from_secs(1));
    /// let ended = scope(&Context::background(), |s| async move {
    ///     let mut attempts = 0;
    ///     s.supervise(restart, move || {
    ///         attempts += 1;
    ///         async move { if attempts < 3 { Err("not yet".into()) } else { Ok(()) } }
    ///     });
    ///     Ok::<_, BoxError>(())
    /// });
    /// assert!(ended.await.is_ok());
    /// # });
    /// ```
    #[track_caller]
    pub fn supervise<F, Fut>(&self, restart: Restart, attempt: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let born_at = Location::caller();
        let attempts = supervise(born_at, restart, attempt);
        self.start(Role::Child, born_at, Some("supervised"), attempts, drop);
    }
}

async fn supervise<E, F, Fut>(
    born_at: &'static Location<'static>,
    restart: Restart,
    mut attempt: F,
) -> Result<(), E>
where
    E: fmt::Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let mut restarts = Restarts { limits: restart, recent: VecDeque::new() };
    loop {
        let failure = match run(&mut attempt).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let asked = frame::with_current(|frame| frame.asked()).flatten().is_some();
        let delay = if asked { None } else { restarts.next(Instant::now()) };
        let Some(delay) = delay else {
            return match failure {
                FailureCause::Error(error) => Err(error),
                FailureCause::Panic(panic) => panic.resume(),
            };
        };
        report(born_at, &restarts, &failure, delay);
        if sleep(delay).await.is_err() {
            return Ok(()); // asked to stop while there was nothing running
        }
    }
}

/// One attempt, dropped before this returns.
async fn run<E, Fut>(attempt: &mut impl FnMut() -> Fut) -> Result<(), FailureCause<E>>
where
    Fut: Future<Output = Result<(), E>>,
{
    let mut attempt = pin!(async { attempt().await });
    let polled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))) {
        Ok(polled) => polled.map(|ended| ended.map_err(FailureCause::Error)),
        Err(payload) => Poll::Ready(Err(FailureCause::Panic(TaskPanic::new(payload)))),
    });
    polled.await
}

struct Restarts {
    limits: Restart,
    /// Those within the window; at most `limits.most`.
    recent: VecDeque<Instant>,
}

impl Restarts {
    /// How long to wait before the next attempt; `None` when there were too many.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        let Restart { first, longest, most, within } = self.limits;
        while self.recent.front().is_some_and(|then| now.duration_since(*then) > within) {
            self.recent.pop_front();
        }
        let before = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if before >= most {
            return None;
        }
        self.recent.push_back(now);
        Some(first.saturating_mul(2_u32.saturating_pow(before)).min(longest))
    }
}

fn report<E: fmt::Display>(
    born_at: &'static Location<'static>,
    restarts: &Restarts,
    failure: &FailureCause<E>,
    delay: Duration,
) {
    let Restart { most, within, .. } = restarts.limits;
    let number = restarts.recent.len();
    let cause = match failure {
        FailureCause::Error(error) => error.to_string(),
        FailureCause::Panic(panic) => format!("it panicked: {}", panic.message()),
    };
    tracing::warn!(%born_at, cause, ?delay, number, most, "a supervised task failed: it is restarted");
    frame::with_current(|frame| {
        let ledger = frame.account().ledger();
        frame.account().label(&format!("supervised, restart {number} of {most}"));
        ledger.observe(Observation {
            rule: "restarted-task",
            kind: Kind::TASK,
            born_at,
            text: format!("restart {number} of {most} within {within:?}, in {delay:?}: {cause}"),
            at: ledger.now(),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_old_restarts_are_forgotten() {
        let second = Duration::from_secs(1);
        let limits = Restart::default().backoff(second, 5 * second).at_most(4, 60 * second);
        let mut restarts = Restarts { limits, recent: VecDeque::new() };
        let start = Instant::now();
        let mut at = |seconds: u32| restarts.next(start + seconds * second);
        assert_eq!(at(0), Some(second));
        assert_eq!(at(10), Some(2 * second));
        assert_eq!(at(20), Some(4 * second));
        assert_eq!(at(30), Some(5 * second));
        assert_eq!(at(60), None, "the first is exactly as old as the window");
        assert_eq!(at(61), Some(5 * second), "one is forgotten, three count");
        assert_eq!(at(1000), Some(second));
    }

    #[test]
    fn no_number_overflows() {
        let limits = Restart::default()
            .backoff(Duration::MAX, Duration::MAX)
            .at_most(u32::MAX, Duration::MAX);
        let mut restarts = Restarts { limits, recent: VecDeque::new() };
        for _ in 0..100 {
            assert_eq!(restarts.next(Instant::now()), Some(Duration::MAX));
        }
    }
}
