//! How many requests may be tried again.

use std::sync::atomic::{AtomicI64, Ordering};

/// Retries for a part of the requests: a token bucket, filled by requests (as in Finagle's
/// `RetryBudget`). When everything fails, the load grows by that part and no more.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What a request adds, in hundredths of a retry.
    each: i64,
    left: AtomicI64,
}

const RETRY: i64 = 100;
/// So many retries are there at first, and at most.
const MOST: i64 = 10 * RETRY;

impl Budget {
    /// Retries for `percent` of the requests.
    pub(crate) fn new(percent: usize) -> Budget {
        let each = i64::try_from(percent.min(100)).unwrap_or(RETRY);
        Budget { each, left: AtomicI64::new(if each == 0 { 0 } else { MOST }) }
    }

    /// There was a request.
    pub(crate) fn deposit(&self) {
        if self.left.load(Ordering::Relaxed) < MOST {
            self.left.fetch_add(self.each, Ordering::Relaxed);
        }
    }

    /// Whether one may be tried again.
    pub(crate) fn withdraw(&self) -> bool {
        let take = |left: i64| (left >= RETRY).then_some(left - RETRY);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_requests() {
        let retries = |percent, requests: usize| {
            let budget = Budget::new(percent);
            let tried = |_: &usize| {
                budget.deposit();
                budget.withdraw()
            };
            (0..requests).filter(tried).count()
        };
        assert_eq!(retries(20, 1000), 210 - 1, "a fifth, and those of the beginning");
        assert_eq!(retries(100, 1000), 1000);
        assert_eq!(retries(0, 1000), 0);
    }
}
