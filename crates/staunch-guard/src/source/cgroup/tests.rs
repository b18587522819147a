use std::{fs, panic::Location};

use staunch_ledger::{Kind, Ledger, Obligation};

use super::*;

/// A group in a folder of its own.
struct Group {
    folder: tempfile::TempDir,
    version: CgroupVersion,
}

impl Group {
    fn new(version: CgroupVersion, current: &str, limit: &str, stat: &str) -> Group {
        let group = Group { folder: tempfile::tempdir().unwrap(), version };
        group.set(0, current);
        group.set(1, limit);
        group.set(2, stat);
        group
    }

    fn set(&self, file: usize, text: &str) {
        let names = match self.version {
            CgroupVersion::V1 => ["memory.usage_in_bytes", "memory.limit_in_bytes", "memory.stat"],
            CgroupVersion::V2 => ["memory.current", "memory.max", "memory.stat"],
        };
        fs::write(self.folder.path().join(names[file]), text).unwrap();
    }
}

/// When, which file then says what, bytes, limit.
type Step<'a> = (u64, Option<(usize, &'a str)>, u64, Option<u64>);

/// What is said at each of the instants, in milliseconds, after the change made for it.
fn check(group: &Group, steps: &[Step<'_>]) {
    let ledger = Ledger::new();
    let owner = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
    let opener = Opener { ledger: *ledger, born_at: Location::caller(), owner: owner.id() };
    let mut cgroup = Cgroup::open(group.folder.path(), group.version, 70, &opener).unwrap();
    assert_eq!(ledger.live(), 4, "its files are on the ledger");
    for (millis, change, bytes, limit) in steps {
        if let Some((file, text)) = change {
            group.set(*file, text);
        }
        let usage = cgroup.usage(Duration::from_millis(*millis));
        assert_eq!(usage, Some(Usage { bytes: *bytes, limit: *limit }), "after {millis} ms");
    }
    drop(cgroup);
    assert_eq!(ledger.live(), 1);
}

#[test]
fn the_cache_of_files_is_taken_off_and_read_again_in_time() {
    let group = Group::new(CgroupVersion::V2, "500\n", "1000\n", "anon 1\ninactive_file 100\n");
    let limit = Some(1000);
    check(
        &group,
        &[
            (0, None, 400, limit),
            (50, Some((2, "inactive_file 300\n")), 400, limit),
            (950, None, 400, limit),
            (1000, None, 200, limit),
            (1050, Some((1, "800\n")), 200, limit),
            (2000, None, 200, Some(800)),
            (2050, Some((0, "900\n")), 600, Some(800)),
            (2100, Some((2, "inactive_file 0\n")), 900, Some(800)),
            (2150, Some((2, "inactive_file 800\n")), 100, Some(800)),
        ],
    );
}

#[test]
fn no_limit_has_a_word_in_each_version() {
    let v2 = Group::new(CgroupVersion::V2, "500\n", "max\n", "");
    check(&v2, &[(0, None, 500, None)]);
    let v1 = Group::new(
        CgroupVersion::V1,
        "500\n",
        "9223372036854771712\n",
        "inactive_file 1\ntotal_inactive_file 2\n",
    );
    check(&v1, &[(0, Some((0, "600")), 498, None), (1000, Some((1, "4096")), 598, Some(4096))]);
}
