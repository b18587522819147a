//! Resource limits of a process, from `/proc/PID/limits` (`proc_pid_limits(5)`).

use super::{MalformedText, Process, ProcessError};

/// The resource limits of a process that Staunch watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// One more than the highest fd number that may be opened (`RLIMIT_NOFILE`): in effect, how
    /// many files and sockets can be open at once.
    pub open_files: Limit,
}

/// One resource limit (`getrlimit(2)`); `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// The limit in force, which the process may raise up to `hard`.
    pub soft: Option<u64>,
    /// The most that `soft` can be raised to without privilege.
    pub hard: Option<u64>,
}

impl Limits {
    /// Reads the text of `/proc/PID/limits`.
    ///
    /// # Errors
    ///
    /// [`MalformedText`] if the line of a limit is missing or has no two values.
    pub fn parse(text: &str) -> Result<Limits, MalformedText> {
        Ok(Limits { open_files: limit(text, "Max open files")? })
    }
}

fn limit(text: &str, name: &'static str) -> Result<Limit, MalformedText> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut columns = line.unwrap_or_default().split_ascii_whitespace();
    let mut value = || match columns.next() {
        Some("unlimited") => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_| MalformedText { field: name }),
        None => Err(MalformedText { field: name }),
    };
    Ok(Limit { soft: value()?, hard: value()? })
}

impl Process {
    /// Its resource limits.
    ///
    /// # Errors
    ///
    /// [`ProcessError`], if the process is gone or its `limits` is not readable.
    pub fn limits(self) -> Result<Limits, ProcessError> {
        Limits::parse(&self.text("limits")?)
            .map_err(|source| ProcessError::Malformed { path: self.path("limits"), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(Option<u64>, Option<u64>)>) {
        let text =
            format!("Limit  Soft Limit  Hard Limit  Units\nMax cpu time  1 2 seconds\n{line}");
        let open_files = Limits::parse(&text).ok().map(|limits| limits.open_files);
        assert_eq!(open_files.map(|limit| (limit.soft, limit.hard)), expected, "{line}");
    }

    #[test]
    fn lines() {
        check(
            "Max open files            20000                524288               files     \n",
            Some((Some(20000), Some(524_288))),
        );
        check("Max open files  1024  unlimited  files", Some((Some(1024), None)));
        check("Max open files  unlimited", None);
        check("Max open files  many  1024  files", None);
        check("", None);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = Limits::parse(&text);
            let _ = Limits::parse(&format!("Max open files{text}"));
        }
    }
}
