//! Latencies of one run and their quantiles.

use std::time::Duration;

/// Every latency of a run, in whole microseconds.
///
/// A run has a bounded number of requests, so keeping them all (4 bytes each) is cheaper than a
/// histogram and exact. Nothing is allocated until the capacity asked for at the start is used up.
#[derive(Debug)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    /// An empty record with room for `requests`.
    pub fn with_capacity(requests: usize) -> Self {
        Self { micros: Vec::with_capacity(requests) }
    }

    /// Adds one latency; what exceeds 71 minutes counts as 71 minutes.
    pub fn record(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds those of another record.
    pub fn append(&mut self, mut others: Self) {
        self.micros.append(&mut others.micros);
    }

    /// How many latencies were recorded.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The latencies in order, to read quantiles from.
    pub fn sorted(mut self) -> Quantiles {
        self.micros.sort_unstable();
        Quantiles { micros: self.micros }
    }
}

/// Latencies in order.
#[derive(Debug)]
pub struct Quantiles {
    micros: Vec<u32>,
}

impl Quantiles {
    /// The smallest latency, in microseconds, that at least `share` (0 to 1) of all do not exceed
    /// (the nearest-rank quantile); 0 when there are none.
    #[expect(clippy::cast_sign_loss, reason = "clamped to 0 or more")]
    pub fn micros_at(&self, share: f64) -> u32 {
        let rank = (share.clamp(0.0, 1.0) * self.micros.len() as f64).ceil() as usize;
        self.micros.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(micros: impl IntoIterator<Item = u64>) -> Quantiles {
        let mut latencies = Latencies::with_capacity(0);
        for micros in micros {
            latencies.record(Duration::from_micros(micros));
        }
        latencies.sorted()
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let hundred = quantiles((1..=100).rev());
        assert_eq!(hundred.micros_at(0.5), 50);
        assert_eq!(hundred.micros_at(0.99), 99);
        assert_eq!(hundred.micros_at(1.0), 100);
        assert_eq!(hundred.micros_at(0.0), 1);
    }

    #[test]
    fn one_latency_is_every_quantile_and_none_is_zero() {
        assert_eq!(quantiles([7]).micros_at(0.99), 7);
        assert_eq!(quantiles([]).micros_at(0.5), 0);
    }

    #[test]
    fn a_latency_beyond_the_range_is_the_largest() {
        assert_eq!(quantiles([u64::MAX / 2]).micros_at(0.5), u32::MAX);
    }
}
