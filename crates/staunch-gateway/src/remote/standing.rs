//! Whether somebody who may be down is worth asking.
//!
//! Who does not answer costs each request as long as an answer may take. After [`FAILURES`] in a row that
//! took long, each asked for after the one before had failed, one request in [`PAUSE`] finds out whether
//! that is still so, and the others do without. What fails at once costs nothing, and is tried each time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// In a row; fewer say little.
const FAILURES: u32 = 3;

/// As long as nobody waits for is soon enough to be back.
const PAUSE: Duration = Duration::from_secs(1);

/// How somebody has answered of late.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// There was none last time.
    is_missing: bool,
    /// That took long, since the last one.
    failures: u32,
    /// When the last of these failed.
    failed: Option<Instant>,
    /// When one who finds out may go, if there are too many of them.
    again: Option<Instant>,
}

impl Standing {
    /// Whether to ask: if there was no answer of late, one in [`PAUSE`] is to.
    pub(super) fn is_to_be_asked(&self, now: Instant) -> bool {
        let mut answers = self.lock();
        match answers.again {
            Some(again) if now < again => false,
            Some(_) => {
                answers.again = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// There was an answer; whether there was none before.
    pub(super) fn has_answered(&self) -> bool {
        std::mem::take(&mut *self.lock()).is_missing
    }

    /// There was none, for who has `asked` then and would have waited for `limit`; whether it is the first
    /// time.
    pub(super) fn has_failed(&self, asked: Instant, now: Instant, limit: Duration) -> bool {
        let mut answers = self.lock();
        let is_anew = answers.failed.is_none_or(|failed| asked >= failed);
        if is_anew && now.saturating_duration_since(asked) >= limit / 2 {
            answers.failures = answers.failures.saturating_add(1);
            answers.failed = Some(now);
            if answers.failures >= FAILURES {
                answers.again = Some(now + PAUSE);
            }
        }
        !std::mem::replace(&mut answers.is_missing, true)
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[test]
    fn who_does_not_answer_is_asked_seldom_until_it_does() {
        let (standing, mut now) = (Standing::default(), Instant::now());
        assert!(!standing.has_answered());
        for failure in 1..=FAILURES {
            assert!(standing.is_to_be_asked(now), "{failure}");
            assert_eq!(standing.has_failed(now, now + LIMIT, LIMIT), failure == 1);
            now += LIMIT;
        }
        assert!(!standing.is_to_be_asked(now + PAUSE / 2));
        now += PAUSE;
        assert!(standing.is_to_be_asked(now));
        assert!(!standing.is_to_be_asked(now), "one is enough");
        assert!(!standing.has_failed(now, now + LIMIT, LIMIT), "that is known");
        assert!(!standing.is_to_be_asked(now + PAUSE));
        now += LIMIT + PAUSE;
        assert!(standing.is_to_be_asked(now));
        assert!(standing.has_answered());
        assert!(standing.is_to_be_asked(now));
        assert!(!standing.has_answered());
    }

    #[test]
    fn one_moment_in_which_many_ask_in_vain_is_one_failure() {
        let (standing, asked) = (Standing::default(), Instant::now());
        let failed = asked + LIMIT;
        for turn in 0..10 * FAILURES {
            assert_eq!(standing.has_failed(asked, failed, LIMIT), turn == 0);
        }
        assert!(standing.is_to_be_asked(failed) && standing.has_answered());
    }

    #[test]
    fn what_fails_at_once_is_tried_each_time() {
        let (standing, now) = (Standing::default(), Instant::now());
        for turn in 0..10 * FAILURES {
            assert_eq!(standing.has_failed(now, now, LIMIT), turn == 0);
        }
        assert!(standing.is_to_be_asked(now) && standing.has_answered());
    }
}
