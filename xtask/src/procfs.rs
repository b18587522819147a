//! What the kernel knows about a process and its descendants: CPU time and resident memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

/// User and system time spent so far by `root` and its descendants, those that have ended and
/// were waited for included.
pub(crate) fn cpu_time(root: u32) -> anyhow::Result<Duration> {
    let ticks: u64 = tree(root)?.iter().map(|process| process.ticks).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory of `root` and its descendants, in bytes.
pub(crate) fn resident(root: u32) -> anyhow::Result<u64> {
    bytes(root, "VmRSS")
}

/// That of it which is no file's: heap and stacks, in bytes.
pub(crate) fn anonymous(root: u32) -> anyhow::Result<u64> {
    bytes(root, "RssAnon")
}

fn bytes(root: u32, field: &str) -> anyhow::Result<u64> {
    tree(root)?.iter().map(|process| bytes_of(process.id, field)).sum()
}

fn bytes_of(process: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_bytes(&status, field)
        .with_context(|| format!("no {field} in {path}: has the process ended?"))
}

fn tree(root: u32) -> anyhow::Result<Vec<Process>> {
    let tree = descendants(processes()?, root);
    if tree.is_empty() {
        bail!("process {root} has ended");
    }
    Ok(tree)
}

fn processes() -> anyhow::Result<Vec<Process>> {
    let folders = fs::read_dir("/proc").context("cannot list /proc")?;
    let ids = folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    // A process that ends between the listing and the reading is not an error.
    let stats = ids.filter_map(|id: u32| fs::read_to_string(format!("/proc/{id}/stat")).ok());
    stats.map(|stat| Process::parse(&stat).with_context(|| format!("odd stat: {stat}"))).collect()
}

/// A process as its `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    id: u32,
    parent: u32,
    /// utime, stime, cutime and cstime together.
    ticks: u64,
}

impl Process {
    /// The name stands in parentheses and may hold anything, parentheses too, so fields are
    /// counted from behind its last one. The first there is the state, field 3 of proc(5).
    fn parse(stat: &str) -> Option<Self> {
        let (id, rest) = stat.split_once(" (")?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            id: id.parse().ok()?,
            parent: u32::try_from(field(4)?).ok()?,
            ticks: field(14)? + field(15)? + field(16)? + field(17)?,
        })
    }
}

/// `root` and everything that descends from it.
fn descendants(mut others: Vec<Process>, root: u32) -> Vec<Process> {
    let mut tree: Vec<Process> = others.extract_if(.., |process| process.id == root).collect();
    let mut next = 0;
    while let Some(&Process { id, .. }) = tree.get(next) {
        tree.extend(others.extract_if(.., |process| process.parent == id));
        next += 1;
    }
    tree
}

/// A size that a `/proc/PID/status` has, in bytes.
fn parse_bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_fields_are_counted_behind_the_name() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194304 9 8 7 6 100 20 3 4 20 0 1 0 5555 0 0\n";
        assert_eq!(Process::parse(stat), Some(Process { id: 42, parent: 7, ticks: 127 }));
    }

    #[test]
    fn a_short_or_foreign_stat_is_refused() {
        assert_eq!(Process::parse("42 (name) S 7 42"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn sizes_are_in_bytes() {
        let status = "VmPeak:\t  99 kB\nVmRSS:\t    12 kB\nRssAnon:\t     7 kB\n";
        assert_eq!(parse_bytes(status, "VmRSS"), Some(12 * 1024));
        assert_eq!(parse_bytes(status, "RssAnon"), Some(7 * 1024));
        assert_eq!(parse_bytes("Name:\tzombie\n", "VmRSS"), None);
    }

    #[test]
    fn descendants_are_found_whatever_their_order() {
        let process = |(id, parent)| Process { id, parent, ticks: 0 };
        let all = [(30, 20), (1, 0), (20, 10), (10, 1), (11, 1), (21, 10)].map(process).to_vec();
        let ids: Vec<u32> = descendants(all.clone(), 10).iter().map(|process| process.id).collect();
        assert_eq!(ids, [10, 20, 21, 30]);
        assert_eq!(descendants(all, 99), []);
    }

    #[test]
    fn this_process_is_readable() {
        let this = std::process::id();
        assert!(resident(this).unwrap() > anonymous(this).unwrap());
        cpu_time(this).unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let error = cpu_time(u32::MAX).unwrap_err().to_string();
        assert!(error.contains(&u32::MAX.to_string()), "{error}");
    }
}
