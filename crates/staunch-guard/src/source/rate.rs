//! How much a figure changes in a second.

use std::time::Duration;

/// A rate is taken over at least this time: noise of single looks is not shown.
const SPAN: Duration = Duration::from_secs(1);

/// How much a figure changes in a second, second after second.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    start: Option<(Duration, u64)>,
    latest: Option<i64>,
}

impl Rate {
    /// Takes note of `figure` at `at`; the change in a second, of the last whole one.
    pub(crate) fn of(&mut self, at: Duration, figure: u64) -> Option<i64> {
        let (start, before) = *self.start.get_or_insert((at, figure));
        let elapsed = at.saturating_sub(start);
        if elapsed >= SPAN {
            let change = i128::from(figure) - i128::from(before);
            let rate = change * 1_000_000_000 / elapsed.as_nanos().cast_signed();
            self.latest = i64::try_from(rate).ok();
            self.start = Some((at, figure));
        }
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_whole_second() {
        let mut rate = Rate::default();
        let mut check = |millis, figure, expected| {
            assert_eq!(rate.of(Duration::from_millis(millis), figure), expected, "{millis} ms");
        };
        check(0, 1000, None);
        check(999, 5000, None);
        check(2000, 5000, Some(2000));
        check(2500, 0, Some(2000));
        check(3000, 0, Some(-5000));
    }
}
