//! Numbers that nobody needs to be able to repeat, quickly.

use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64 (Steele, Lea and Flood 2014): the state only counts, so threads may share it.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed))
    }

    /// From 0 to `sides` - 1; `sides` is not 0.
    pub(crate) fn roll(&self, sides: usize) -> usize {
        let next = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        ((u128::from(mix(next)) * sides as u128) >> 64) as usize
    }
}

/// Spreads a number over all 64 bits.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
