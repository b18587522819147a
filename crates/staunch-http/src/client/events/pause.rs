//! How long it waits before it asks again, and whether it still does.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::options::EventsOptions;

/// The attempts in vain so far.
#[derive(Debug, Default)]
pub(super) struct Vain(u32);

impl Vain {
    /// A stream ended of which a byte came, or that was only silent.
    pub(super) fn over(&mut self) {
        self.0 = 0;
    }

    /// One more; how many they are, if that is enough.
    pub(super) fn add(&mut self, options: &EventsOptions) -> Option<u32> {
        self.0 = self.0.saturating_add(1);
        (self.0 >= options.max_attempts).then_some(self.0)
    }

    /// The pause before the next attempt; the server may have `asked` for one.
    pub(super) fn pause(&self, options: &EventsOptions, asked: Option<Duration>) -> Duration {
        let first = asked.map_or(options.pause, |asked| asked.max(options.pause_min));
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.0.saturating_sub(1)));
        let random = u32::from((RandomState::new().hash_one(self.0) & 0xff) as u8);
        let whole = doubled.min(options.pause_max);
        whole.saturating_add(whole / 2 * random / 0xff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After so many attempts in vain it is between `from` and one and a half times that.
    fn check(vain: u32, asked: Option<Duration>, from: Duration) {
        for _ in 0..20 {
            let pause = Vain(vain).pause(&EventsOptions::default(), asked);
            assert!(pause >= from && pause <= from + from / 2, "{vain} {asked:?}: {pause:?}");
        }
    }

    #[test]
    fn a_pause_doubles_within_its_bounds() {
        check(0, None, 3 * SECOND);
        check(1, None, 3 * SECOND);
        check(2, None, 6 * SECOND);
        check(4, None, 24 * SECOND);
        check(5, None, 30 * SECOND);
        check(u32::MAX, None, 30 * SECOND);
        check(0, Some(Duration::ZERO), SECOND / 10);
        check(0, Some(SECOND), SECOND);
        check(3, Some(SECOND), 4 * SECOND);
        check(0, Some(Duration::from_millis(u64::MAX)), 30 * SECOND);
    }

    #[test]
    fn pauses_differ() {
        let one = Vain(0).pause(&EventsOptions::default(), None);
        assert!((0..50).any(|_| Vain(0).pause(&EventsOptions::default(), None) != one));
    }

    #[test]
    fn it_gives_up_after_so_many() {
        let options = EventsOptions { max_attempts: 2, ..EventsOptions::default() };
        let mut vain = Vain::default();
        assert_eq!(vain.add(&options), None);
        vain.over();
        assert_eq!((vain.add(&options), vain.add(&options)), (None, Some(2)));
    }
}
