//! Whether the detector is awake: each run diagnoses a leak that was put there.

use staunch_diagnosis::{History, Options, Snapshot, diagnose};

use crate::source::go::{GoroutineDumpLimits, read_goroutine_dump};

/// Goroutines that send to a channel from which nobody receives: `f` has returned.
const LEAK: &str = "\
goroutine 1 [IO wait, 9 minutes]:
internal/poll.runtime_pollWait(0x7f0000000001, 0x72)
\t/usr/local/go/src/runtime/netpoll.go:343 +0x85
main.main()
\t/src/canary/main.go:9 +0x1d

goroutine 18 [chan send, 9 minutes]:
main.f.func1()
\t/src/canary/main.go:21 +0x25
created by main.f in goroutine 17
\t/src/canary/main.go:20 +0x4f

goroutine 19 [chan send, 8 minutes]:
main.f.func1()
\t/src/canary/main.go:21 +0x25
created by main.f in goroutine 27
\t/src/canary/main.go:20 +0x4f

goroutine 20 [chan send, 7 minutes]:
main.f.func1()
\t/src/canary/main.go:21 +0x25
created by main.f in goroutine 37
\t/src/canary/main.go:20 +0x4f
";

/// Whether the rules find it, by the line on which it was born.
pub(crate) fn is_found() -> bool {
    let Ok(tasks) = read_goroutine_dump(LEAK.as_bytes(), &GoroutineDumpLimits::default()) else {
        return false;
    };
    let history = History::single(Snapshot { tasks: Some(tasks), ..Snapshot::default() });
    let findings = diagnose(&history, &Options::default());
    let births = findings.iter().filter_map(|finding| finding.birth.as_ref());
    births.into_iter().any(|birth| birth.line == 20)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_found() {
        assert!(super::is_found());
    }
}
