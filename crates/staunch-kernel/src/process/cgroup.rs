//! The memory that a process's control group uses and may use (`cgroups(7)`; the kernel's
//! `admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`).
//!
//! A group is limited by its own limit and by those of all its ancestors. Which of them will
//! stop the process is the one with the least room left, so this is the one reported.
//!
//! Finding it takes three steps: `/proc/PID/cgroup` names the group, `/proc/self/mountinfo` says
//! where its hierarchy is mounted and which part of it, and the directories between the two hold
//! the figures. Version 2 is asked first, version 1 where memory is not a version 2 controller.

use std::path::{Component, Path, PathBuf};

use super::{Process, ProcessError, read_text};

/// The memory account of the control group that limits a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupMemory {
    /// Memory that the group uses, in bytes, the page cache of its files included.
    pub current_bytes: u64,
    /// The most it may use, in bytes, before the kernel kills a process of it; `None` if neither
    /// it nor an ancestor has a limit.
    pub limit_bytes: Option<u64>,
    /// The part of `current_bytes` that the kernel gives back before it kills anybody: pages of
    /// files not used of late. Take it off before you speak of pressure.
    pub inactive_file_bytes: u64,
    /// The version of the interface that was read.
    pub version: CgroupVersion,
    /// The group's directory: the process's own group, or the ancestor with the least room.
    pub path: PathBuf,
}

/// Which of the kernel's two control group interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CgroupVersion {
    /// One hierarchy per controller; deprecated.
    V1,
    /// One hierarchy for all controllers.
    V2,
}

impl Process {
    /// The memory account of its control group; `None` where no memory controller is visible
    /// (a machine without one, or a sandbox that hides it).
    ///
    /// # Errors
    ///
    /// [`ProcessError`], if the process is gone or its `cgroup` is not readable.
    pub fn cgroup_memory(self) -> Result<Option<CgroupMemory>, ProcessError> {
        let groups = self.text("cgroup")?;
        // The mounts are ours even if the process is not: it is we who read through them.
        let mounts = Process::current().text("mountinfo")?;
        Ok([CgroupVersion::V2, CgroupVersion::V1]
            .into_iter()
            .find_map(|version| tightest(&hierarchy(version, &groups, &mounts)?)))
    }
}

impl CgroupVersion {
    fn file_current(self) -> &'static str {
        match self {
            CgroupVersion::V1 => "memory.usage_in_bytes",
            CgroupVersion::V2 => "memory.current",
        }
    }

    fn file_limit(self) -> &'static str {
        match self {
            CgroupVersion::V1 => "memory.limit_in_bytes",
            CgroupVersion::V2 => "memory.max",
        }
    }

    /// The line of `memory.stat`; both count the descendants.
    fn stat_inactive_file(self) -> &'static str {
        match self {
            CgroupVersion::V1 => "total_inactive_file ",
            CgroupVersion::V2 => "inactive_file ",
        }
    }
}

/// Where the figures of one group and its visible ancestors are.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: CgroupVersion,
    /// The directory of the process's own group.
    group: PathBuf,
    /// The highest directory that is visible, `group` or above it.
    top: PathBuf,
}

/// Puts together what `/proc/PID/cgroup` and `/proc/self/mountinfo` say about memory.
fn hierarchy(version: CgroupVersion, groups: &str, mounts: &str) -> Option<Hierarchy> {
    let group = groups.lines().find_map(|line| group_path(version, line))?;
    let (root, top) = mounts.lines().find_map(|line| mount(version, line))?;
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    // A group outside of the part mounted here (`/../x` in a cgroup namespace) is not visible;
    // what is mounted is then the nearest to it.
    let visible = below.components().all(|part| matches!(part, Component::Normal(_)));
    let group = if visible { Path::new(top).join(below) } else { PathBuf::from(top) };
    Some(Hierarchy { version, group, top: PathBuf::from(top) })
}

/// The group in a line of `/proc/PID/cgroup`: `ID:CONTROLLERS:PATH`, or `0::PATH` for version 2.
fn group_path(version: CgroupVersion, line: &str) -> Option<&str> {
    let (id, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let matches = match version {
        CgroupVersion::V1 => controllers.split(',').any(|name| name == "memory"),
        CgroupVersion::V2 => id == "0" && controllers.is_empty(),
    };
    matches.then_some(path)
}

/// The root and mount point in a line of `/proc/self/mountinfo`
/// (`ID PARENT DEVICE ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER_OPTIONS`), if it mounts the
/// memory hierarchy.
fn mount(version: CgroupVersion, line: &str) -> Option<(&str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let matches = match version {
        CgroupVersion::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
        CgroupVersion::V2 => kind == "cgroup2",
    };
    let mut mount = mount.split(' ').skip(3);
    matches.then_some((mount.next()?, mount.next()?))
}

/// The account with the least room, from the group upwards; the group's own if none is limited.
fn tightest(hierarchy: &Hierarchy) -> Option<CgroupMemory> {
    hierarchy
        .group
        .ancestors()
        .take_while(|dir| dir.starts_with(&hierarchy.top))
        .filter_map(|dir| account(hierarchy.version, dir))
        .min_by_key(room_bytes)
}

fn room_bytes(account: &CgroupMemory) -> u64 {
    account.limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(account.current_bytes))
}

/// The account of one directory; `None` if it keeps none, as the root of version 2 does.
fn account(version: CgroupVersion, dir: &Path) -> Option<CgroupMemory> {
    let read = |name: &str| read_text(&dir.join(name)).ok();
    let current_bytes = read(version.file_current())?.trim_end().parse().ok()?;
    let limit_bytes = limit(&read(version.file_limit())?);
    let inactive_file_bytes = read("memory.stat")
        .and_then(|text| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(version.stat_inactive_file())?.parse().ok())
        })
        .unwrap_or(0);
    let path = dir.to_owned();
    Some(CgroupMemory { current_bytes, limit_bytes, inactive_file_bytes, version, path })
}

/// Reads a limit: `max` in version 2, and the largest page-aligned `i64` in version 1, is none.
fn limit(text: &str) -> Option<u64> {
    const NONE_FROM: u64 = 1 << 62;
    text.trim_end().parse().ok().filter(|bytes| *bytes < NONE_FROM)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HYBRID_GROUPS: &str =
        "9:name=systemd:/\n5:devices:/\n4:memory:/api/e401\n2:cpu,cpuacct:/\n0::/unit\n";
    const HYBRID_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn check(version: CgroupVersion, groups: &str, mounts: &str, group: &str, top: &str) {
        let (group, top) = (PathBuf::from(group), PathBuf::from(top));
        assert_eq!(hierarchy(version, groups, mounts), Some(Hierarchy { version, group, top }));
    }

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        use CgroupVersion::{V1, V2};
        let memory = "/sys/fs/cgroup/memory";
        check(V1, HYBRID_GROUPS, HYBRID_MOUNTS, "/sys/fs/cgroup/memory/api/e401", memory);
        let unified = "/sys/fs/cgroup/unified";
        check(V2, HYBRID_GROUPS, HYBRID_MOUNTS, "/sys/fs/cgroup/unified/unit", unified);
        // A container without a cgroup namespace sees its own part only, under the full name.
        let docker = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        check(V1, "4:memory:/docker/ab/x", docker, "/sys/fs/cgroup/memory/x", memory);
        check(V1, "4:memory:/docker/ab", docker, memory, memory);
        check(V1, "4:memory:/elsewhere", docker, memory, memory);
        // A process outside of our cgroup namespace.
        check(V2, "0::/../other", HYBRID_MOUNTS, unified, unified);
    }

    #[test]
    fn no_group_or_no_mount_is_no_account() {
        assert_eq!(hierarchy(CgroupVersion::V1, "0::/unit", HYBRID_MOUNTS), None);
        assert_eq!(hierarchy(CgroupVersion::V2, "0::/unit", ""), None);
    }

    /// Makes the directory of a group with its files.
    fn group(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_ancestor_with_the_least_room_is_the_limit() {
        let top = tempfile::tempdir().unwrap();
        let own = top.path().join("pod/container");
        group(top.path(), &[]);
        group(
            &top.path().join("pod"),
            &[
                ("memory.current", "900\n"),
                ("memory.max", "1000\n"),
                ("memory.stat", "anon 1\ninactive_file 300\n"),
            ],
        );
        group(&own, &[("memory.current", "100\n"), ("memory.max", "500\n")]);
        let hierarchy =
            Hierarchy { version: CgroupVersion::V2, group: own.clone(), top: top.path().into() };
        let account = tightest(&hierarchy).unwrap();
        assert_eq!(account.path, top.path().join("pod"));
        assert_eq!(account.current_bytes, 900);
        assert_eq!(account.limit_bytes, Some(1000));
        assert_eq!(account.inactive_file_bytes, 300);

        group(&top.path().join("pod"), &[("memory.max", "max\n")]);
        assert_eq!(tightest(&hierarchy).unwrap().path, own);
        group(&own, &[("memory.max", "max\n")]);
        let unlimited = tightest(&hierarchy).unwrap();
        assert_eq!((unlimited.path, unlimited.limit_bytes), (own, None));
    }

    #[test]
    fn version_1_has_other_files_and_another_word_for_no_limit() {
        let top = tempfile::tempdir().unwrap();
        group(
            top.path(),
            &[
                ("memory.usage_in_bytes", "4096\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 2\n"),
            ],
        );
        let account = account(CgroupVersion::V1, top.path()).unwrap();
        assert_eq!(account.limit_bytes, None);
        assert_eq!(account.inactive_file_bytes, 2);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(groups: String, mounts: String) {
            let _ = hierarchy(CgroupVersion::V1, &groups, &mounts);
            let _ = hierarchy(CgroupVersion::V2, &format!("0::/{groups}"), &mounts);
        }
    }
}
