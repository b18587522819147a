//! Whether a count grows, and how fast, from a few noisy readings.
//!
//! The slope is Theil and Sen's: the median of the slopes of all pairs, which a third of wild
//! readings cannot bend. That it is no accident is Mann and Kendall's test: of all pairs, how many
//! rise and how many fall. Neither assumes anything about how the readings are distributed.
//!
//! Sources: Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968);
//! Mann, "Nonparametric tests against trend" (1945).

use std::cmp::Ordering;
use std::time::Duration;

/// A reading at an instant.
pub(crate) type Reading = (Duration, u64);

/// How a count goes over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// Units per second; the median over all pairs of readings.
    pub(crate) slope: f64,
    /// From -1, every pair falls, to 1, every pair rises.
    pub(crate) tau: f64,
}

impl Trend {
    /// The trend of `readings`, which are in the order of time; `None` of fewer than two.
    pub(crate) fn of(readings: &[Reading]) -> Option<Trend> {
        let mut slopes = Vec::new();
        let (mut pairs, mut rises) = (0_i64, 0_i64);
        for (index, &(early, before)) in readings.iter().enumerate() {
            for &(late, after) in &readings[index + 1..] {
                pairs += 1;
                rises += match after.cmp(&before) {
                    Ordering::Greater => 1,
                    Ordering::Equal => 0,
                    Ordering::Less => -1,
                };
                let seconds = late.saturating_sub(early).as_secs_f64();
                if seconds > 0.0 {
                    slopes.push((after as f64 - before as f64) / seconds);
                }
            }
        }
        let slope = median(&mut slopes)?;
        Some(Trend { slope, tau: rises as f64 / pairs as f64 })
    }

    /// When a count that is at `now` reaches `limit`; `None` if it does not grow towards it.
    pub(crate) fn reaches(self, now: u64, limit: u64) -> Option<Duration> {
        let missing = limit.checked_sub(now)?;
        (self.slope > 0.0).then(|| missing as f64 / self.slope).and_then(seconds)
    }
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok()
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(counts: &[u64]) -> Trend {
        let readings = counts.iter().zip(0..).map(|(&it, at)| (Duration::from_secs(at), it));
        Trend::of(&readings.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_wild_reading_does_not_bend_the_slope() {
        assert_eq!(trend(&[0, 2, 4, 6, 8, 10, 12]), Trend { slope: 2.0, tau: 1.0 });
        let wild = trend(&[0, 2, 4, 900, 8, 10, 12]);
        assert!((wild.slope - 2.0).abs() < 0.5, "{wild:?}");
        assert!(wild.tau > 0.6, "{wild:?}");
    }

    #[test]
    fn noise_has_no_trend() {
        let noise = trend(&[5, 9, 4, 8, 5, 9, 4, 8]);
        assert!(noise.tau.abs() < 0.3, "{noise:?}");
        assert!(trend(&[9, 5, 2]).slope < 0.0);
    }

    #[test]
    fn one_reading_or_readings_of_one_instant_say_nothing() {
        assert_eq!(Trend::of(&[]), None);
        assert_eq!(Trend::of(&[(Duration::ZERO, 1), (Duration::ZERO, 2)]), None);
    }

    #[test]
    fn the_limit_is_reached_in_time() {
        let rising = trend(&[0, 2, 4]);
        assert_eq!(rising.reaches(4, 24), Some(Duration::from_secs(10)));
        assert_eq!(rising.reaches(30, 24), None);
        assert_eq!(trend(&[4, 2]).reaches(2, 24), None);
    }
}
