//! Memory and threads of a process, from `/proc/PID/status` (`proc_pid_status(5)`).

use super::{MalformedText, Process, ProcessError};

/// What `/proc/PID/status` says of a process.
///
/// Figures of memory are `None` where the kernel does not give them: for kernel threads and
/// zombies, and single ones on kernels that imitate Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The command's name, at most 15 bytes of it.
    pub name: String,
    /// The number of threads, at least 1.
    pub threads: u64,
    /// Memory in RAM (`VmRSS`), in bytes. The kernel adds up counters of its CPUs lazily; the
    /// figure can be off by some hundred KiB on a large machine.
    pub rss_bytes: Option<u64>,
    /// The part of `rss_bytes` that belongs to no file: heap and stacks (`RssAnon`).
    pub rss_anon_bytes: Option<u64>,
    /// The most that `rss_bytes` has ever been (`VmHWM`).
    pub rss_peak_bytes: Option<u64>,
    /// Memory moved out to swap (`VmSwap`), in bytes.
    pub swap_bytes: Option<u64>,
    /// Address space in use (`VmSize`), in bytes, touched or not.
    pub virtual_bytes: Option<u64>,
}

impl Status {
    /// Reads the text of `/proc/PID/status`.
    ///
    /// # Errors
    ///
    /// [`MalformedText`] if `Name` or `Threads` is missing, or a number is not one.
    pub fn parse(text: &str) -> Result<Status, MalformedText> {
        let name = field(text, "Name").ok_or(MalformedText { field: "Name" })?;
        let threads = field(text, "Threads").and_then(|value| value.parse().ok());
        Ok(Status {
            name: name.to_owned(),
            threads: threads.ok_or(MalformedText { field: "Threads" })?,
            rss_bytes: bytes(text, "VmRSS")?,
            rss_anon_bytes: bytes(text, "RssAnon")?,
            rss_peak_bytes: bytes(text, "VmHWM")?,
            swap_bytes: bytes(text, "VmSwap")?,
            virtual_bytes: bytes(text, "VmSize")?,
        })
    }
}

/// The value of the line `name: value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim_matches([' ', '\t']))
}

/// The value of the line `name: 12 kB`, in bytes.
fn bytes(text: &str, name: &'static str) -> Result<Option<u64>, MalformedText> {
    let Some(value) = field(text, name) else { return Ok(None) };
    let kib = value.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
    match kib.and_then(|kib| kib.checked_mul(1024)) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(MalformedText { field: name }),
    }
}

impl Process {
    /// Its name, memory and threads.
    ///
    /// # Errors
    ///
    /// [`ProcessError`], if the process is gone or its `status` is not readable.
    pub fn status(self) -> Result<Status, ProcessError> {
        Status::parse(&self.text("status")?)
            .map_err(|source| ProcessError::Malformed { path: self.path("status"), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "Name:\tcat\nUmask:\t0022\nState:\tR (running)\nVmPeak:\t    3060 kB\n\
        VmSize:\t    3060 kB\nVmHWM:\t    1660 kB\nVmRSS:\t    1660 kB\nRssAnon:\t     112 kB\n\
        RssFile:\t    1548 kB\nVmSwap:\t       0 kB\nThreads:\t1\n";

    #[test]
    fn a_captured_text() {
        let status = Status::parse(CAPTURED).unwrap();
        assert_eq!(
            status,
            Status {
                name: "cat".into(),
                threads: 1,
                rss_bytes: Some(1660 * 1024),
                rss_anon_bytes: Some(112 * 1024),
                rss_peak_bytes: Some(1660 * 1024),
                swap_bytes: Some(0),
                virtual_bytes: Some(3060 * 1024),
            }
        );
    }

    #[test]
    fn a_zombie_has_no_memory() {
        let status = Status::parse("Name:\tx\nState:\tZ (zombie)\nThreads:\t1\n").unwrap();
        assert_eq!(status.rss_bytes, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text, field| assert_eq!(Status::parse(text), Err(MalformedText { field }));
        check("", "Name");
        check("Name:\tx\n", "Threads");
        check("Name:\tx\nThreads:\t-1\n", "Threads");
        check("Name:\tx\nThreads:\t1\nVmRSS:\t12 MB\n", "VmRSS");
        check("Name:\tx\nThreads:\t1\nVmRSS:\t18446744073709551615 kB\n", "VmRSS");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = Status::parse(&text);
        }
    }
}
