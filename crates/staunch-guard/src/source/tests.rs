use std::{fs, panic::Location};

use staunch_kernel::CgroupVersion;
use staunch_ledger::{Kind, Ledger, Obligation};

use super::*;

/// The nearer limit counts; a group that can no longer be read is let go, and its limit with it.
#[test]
fn a_group_counts_as_long_as_it_can_be_read() {
    let group = tempfile::tempdir().unwrap();
    let set = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
    set("memory.current", "900\n");
    set("memory.max", "1000\n");
    let ledger = Ledger::new();
    let owner = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    let opener = Opener { ledger: *ledger, born_at: Location::caller(), owner: owner.id() };
    let options = GuardOptions { memory_limit: Some(1 << 50), ..GuardOptions::default() };
    let mut sources = Sources::open(&options, &opener);
    sources.cgroup = Cgroup::open(group.path(), CgroupVersion::V2, 70, &opener).ok();
    let mut check = |millis, expected: Usage| {
        let Reading { memory_bytes, memory_bytes_max, .. } =
            sources.sample(Duration::from_millis(millis)).reading;
        let is_rss = memory_bytes > 1 << 20;
        let bytes = if is_rss { 0 } else { memory_bytes };
        assert_eq!(Usage { bytes, limit: memory_bytes_max }, expected, "after {millis} ms");
    };
    check(50, Usage { bytes: 900, limit: Some(1000) });
    set("memory.max", "max\n");
    check(100, Usage { bytes: 0, limit: Some(1 << 50) }); // read at once, since it was near
    set("memory.max", "2000\n");
    check(1200, Usage { bytes: 900, limit: Some(2000) });
    set("memory.current", "");
    check(1250, Usage { bytes: 0, limit: Some(1 << 50) });
    assert!(sources.cgroup.is_none());
}

/// At the end of each part there is a figure.
#[test]
fn an_allocator_is_asked_evenly_within_each_part_of_the_window() {
    for (window, rest) in [(10, 2000), (1, 200), (12, 1200), (60, 2000), (0, 0)] {
        let rest = Duration::from_millis(rest);
        assert_eq!(allocator_rest(Duration::from_secs(window)), rest, "{window} s");
    }
    assert!(allocator_rest(Duration::MAX) <= ALLOCATOR_REST);
}
