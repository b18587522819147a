//! How long to wait after a failure.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// After the first failure: a restart of a registry takes longer, a connection that was cut does not.
const FIRST: Duration = Duration::from_millis(100);

/// The longest: nobody waits for much longer once a registry is back.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double, of each of which a random half is left out: who has lost the same registry is not to
/// come back all at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(LONGEST);
        let random = u32::from((RandomState::new().hash_one(self.failures) & 0xff) as u8);
        whole / 2 + whole / 2 * random / 0xff
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_the_longest_and_half_of_it_is_random() {
        let mut backoff = Backoff::default();
        for whole in [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
            let (wait, whole) = (backoff.failed(), Duration::from_millis(whole));
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST);
        let waits: std::collections::BTreeSet<_> =
            (0..100).map(|_| Backoff { failures: 20 }.failed()).collect();
        assert!(waits.len() > 1, "{waits:?}");
    }
}
