use std::time::Duration;

use proptest::prelude::*;

use super::*;
use Level::{Normal, Refuse, Shed, Warn};

fn memory(bytes: u64) -> Reading {
    Reading { memory_bytes: bytes, memory_bytes_max: Some(100), ..Reading::default() }
}

fn fds(fds: u64) -> Reading {
    Reading { fds, fds_max: Some(100), ..Reading::default() }
}

/// Gives the readings, of memory and of fds, and compares the level after each.
fn check(steps: &[(u64, Level)]) {
    for reading in [memory, fds] {
        let mut pressure = Pressure::new(Watermarks::default());
        for (step, (used, expected)) in steps.iter().enumerate() {
            assert_eq!(pressure.observe(&reading(*used)), *expected, "step {step} of {steps:?}");
        }
    }
}

#[test]
fn a_level_begins_at_its_mark_and_is_left_below_its_band() {
    check(&[(74, Normal), (75, Warn), (70, Warn), (69, Normal), (74, Normal)]);
    check(&[(89, Warn), (90, Shed), (85, Shed), (84, Warn), (89, Warn)]);
    check(&[(95, Refuse), (90, Refuse), (89, Shed), (0, Normal)]);
    check(&[(0, Normal), (100, Refuse), (69, Normal)]);
}

#[test]
fn the_nearer_limit_counts_and_no_limit_is_never_near() {
    let mut pressure = Pressure::new(Watermarks::default());
    let both = Reading { memory_bytes: 10, fds: 91, fds_max: Some(100), ..memory(10) };
    assert_eq!(pressure.observe(&both), Shed);
    let none = Reading { memory_bytes: u64::MAX, fds: u64::MAX, ..Reading::default() };
    assert_eq!(pressure.observe(&none), Normal);
}

/// The level after each second in which memory grew by so many megabytes.
fn check_growth(seconds: &[(u64, u64)], expected: Level) {
    let mut pressure = Pressure::new(Watermarks::default());
    let (mut at, mut bytes) = (0, 0);
    let mut level = pressure.observe(&Reading::default());
    for (count, megabytes) in seconds {
        for _ in 0..*count {
            at += 1;
            bytes += megabytes * 1_000_000;
            let at = Duration::from_secs(at);
            level = pressure.observe(&Reading { memory_bytes: bytes, at, ..Reading::default() });
        }
    }
    assert_eq!(level, expected, "{seconds:?}");
}

#[test]
fn only_growth_that_lasts_warns() {
    check_growth(&[(10, 10)], Warn);
    check_growth(&[(9, 10)], Normal);
    check_growth(&[(100, 9)], Normal);
    check_growth(&[(1, 10_000), (20, 0)], Normal);
    check_growth(&[(10, 10), (9, 0)], Warn);
    check_growth(&[(10, 10), (10, 0)], Normal);
}

/// An allocator is asked every other second, and looked at twenty times a second.
#[test]
fn a_figure_that_is_known_is_not_judged_again() {
    for (megabytes, expected) in [(20, Warn), (19, Normal)] {
        let mut pressure = Pressure::new(Watermarks::default());
        let mut level = Normal;
        for millis in (0..=10_000).step_by(50) {
            let at = Duration::from_millis(millis);
            let held_age = Duration::from_millis(millis % 2000);
            let held_bytes = Some(millis / 2000 * megabytes * 1_000_000);
            level = pressure.observe(&Reading { held_bytes, held_age, at, ..memory(1) });
        }
        assert_eq!(level, expected, "{megabytes} MB in two seconds");
    }
}

proptest! {
    #[test]
    fn within_a_band_the_level_changes_once_at_most(
        before in prop::collection::vec(0_u64..=100, 0..20),
        mark in prop::sample::select(vec![75_u64, 90, 95]),
        within in prop::collection::vec(0_u64..=5, 1..50),
    ) {
        let mut pressure = Pressure::new(Watermarks::default());
        for used in before {
            pressure.observe(&memory(used));
        }
        // A worse level may still be left, or this one reached: one change, and no way back.
        let levels: Vec<Level> =
            within.iter().map(|below| pressure.observe(&memory(mark - below))).collect();
        let changes = levels.windows(2).filter(|pair| pair[0] != pair[1]).count();
        prop_assert!(changes <= 1, "{levels:?} within the band of {mark}");
    }

    #[test]
    fn low_readings_always_lead_back_to_normal(
        before in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u64..5_000), 0..50),
        low in 0_u64..70,
    ) {
        let mut pressure = Pressure::new(Watermarks::default());
        let mut at = Duration::ZERO;
        for (memory_bytes, fds, millis) in before {
            at += Duration::from_millis(millis);
            let (memory_bytes_max, fds_max) = (Some(1 << 40), Some(1 << 20));
            let reading = Reading { memory_bytes, memory_bytes_max, fds, fds_max, at, ..memory(0) };
            pressure.observe(&reading);
        }
        // Two parts more than the window: one that is still under way, and the first low one.
        let mut level = Normal;
        for _ in 0..14 {
            at += Duration::from_secs(1);
            level = pressure.observe(&Reading { at, ..memory(low) });
        }
        prop_assert_eq!(level, Normal);
    }
}
