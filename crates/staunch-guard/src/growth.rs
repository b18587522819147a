//! Whether memory has been growing for long: one jump is no growth, and one pause no end of it.

use std::time::Duration;

/// A window is judged in so many parts, and all of them must agree.
pub(crate) const PARTS: u32 = 5;

/// Whether memory grows, second after second. It remembers the start of one part, no more.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    part: Option<(Duration, u64)>,
    /// Parts in a row that said the opposite of `growing`.
    against: u32,
    growing: bool,
}

impl Growth {
    /// Takes note of `bytes` in use at `at`; whether they grow by `rate` a second.
    pub(crate) fn observe(
        &mut self,
        at: Duration,
        bytes: u64,
        rate: u64,
        window: Duration,
    ) -> bool {
        let Some((start, before)) = self.part else {
            self.part = Some((at, bytes));
            return self.growing;
        };
        let elapsed = at.saturating_sub(start);
        if elapsed.is_zero() || elapsed < window / PARTS {
            return self.growing;
        }
        self.part = Some((at, bytes));
        self.judge(grew(bytes.saturating_sub(before), elapsed, rate));
        self.growing
    }

    fn judge(&mut self, grew: bool) {
        self.against = if grew == self.growing { 0 } else { self.against + 1 };
        if self.against == PARTS {
            self.growing = grew;
            self.against = 0;
        }
    }
}

/// Whether `more` bytes within `elapsed` are at least `rate` a second.
fn grew(more: u64, elapsed: Duration, rate: u64) -> bool {
    u128::from(more) * 1_000_000_000 >= u128::from(rate).saturating_mul(elapsed.as_nanos())
}
