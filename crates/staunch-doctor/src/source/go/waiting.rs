//! For what a goroutine waits: from its status, and where Go before 1.20 says only `semacquire`,
//! from its frames.
//!
//! Source: `waitReasonStrings` in Go's `runtime/runtime2.go`, 1.19 to 1.26.

use staunch_diagnosis::{Frame, Waiting};

/// For what a goroutine with this status and these frames waits.
pub(super) fn waiting(status: &str, frames: &[Frame]) -> Waiting {
    // What a runtime that looks for leaks or tests in a bubble adds is no other wait.
    let reason = [" (scan)", " (leaked)", " (durable)"]
        .into_iter()
        .fold(status, |status, suffix| status.strip_suffix(suffix).unwrap_or(status));
    match reason {
        "running" => Waiting::Running,
        "runnable" | "preempted" => Waiting::Runnable,
        "syscall" => Waiting::Syscall,
        "IO wait" => Waiting::Io,
        "sleep" => Waiting::Sleep,
        "chan send" => Waiting::ChanSend,
        "chan receive" => Waiting::ChanReceive,
        "chan send (nil chan)" | "chan receive (nil chan)" => Waiting::NilChan,
        "select" => Waiting::Select,
        "select (no cases)" => Waiting::SelectNoCases,
        "sync.Mutex.Lock" | "sync.RWMutex.Lock" => Waiting::Lock,
        "sync.RWMutex.RLock" => Waiting::ReadLock,
        "sync.WaitGroup.Wait" => Waiting::WaitGroup,
        "sync.Cond.Wait" => Waiting::Cond,
        "semacquire" => semaphore(frames),
        _ if is_of_the_runtime(reason) => Waiting::System,
        _ => Waiting::Other,
    }
}

/// Whose semaphore it is: the calls above the first one that is not of a `sync` package.
fn semaphore(frames: &[Frame]) -> Waiting {
    let calls = frames.iter().map(|frame| &*frame.function);
    let calls = calls.take_while(|it| {
        it.starts_with("sync.") || it.starts_with("internal/sync.") || it.starts_with("runtime.")
    });
    // The outermost of them is what the program called: an RWMutex has a Mutex inside.
    calls.last().map_or(Waiting::Semaphore, |call| match call.rsplit("sync.").next() {
        Some("(*RWMutex).RLock") => Waiting::ReadLock,
        Some("(*WaitGroup).Wait") => Waiting::WaitGroup,
        Some(method) if LOCKS.iter().any(|it| method.starts_with(it)) => Waiting::Lock,
        _ => Waiting::Semaphore,
    })
}

/// `Once` and `Map` wait for a mutex of their own.
const LOCKS: [&str; 4] = ["(*Mutex).", "(*RWMutex).Lock", "(*Once).", "(*Map)."];

fn is_of_the_runtime(reason: &str) -> bool {
    reason.starts_with("GC ")
        || reason.starts_with("GOMAXPROCS ")
        || matches!(
            reason,
            "finalizer wait"
                | "cleanup wait"
                | "force gc (idle)"
                | "garbage collection"
                | "garbage collection scan"
                | "trace reader (blocked)"
                | "wait for GC cycle"
                | "idle"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &str, functions: &[&str], expected: Waiting) {
        let frame =
            |function: &&str| Frame { function: (*function).into(), file: "".into(), line: 0 };
        let frames: Vec<Frame> = functions.iter().map(frame).collect();
        assert_eq!(waiting(status, &frames), expected, "{status} {functions:?}");
    }

    #[test]
    fn a_semaphore_is_told_by_its_frames() {
        let acquire = "sync.runtime_SemacquireMutex";
        let check = |functions: &[&str], expected| check("semacquire", functions, expected);
        check(&["sync.runtime_Semacquire", "sync.(*WaitGroup).Wait", "main.f"], Waiting::WaitGroup);
        check(&[acquire, "sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "main.f"], Waiting::Lock);
        check(&[acquire, "sync.(*RWMutex).RLock", "main.f"], Waiting::ReadLock);
        check(
            &[acquire, "sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "sync.(*RWMutex).Lock"],
            Waiting::Lock,
        );
        check(&[acquire, "internal/sync.(*Mutex).lockSlow", "sync.(*Once).doSlow"], Waiting::Lock);
        check(&["main.f"], Waiting::Semaphore);
    }

    #[test]
    fn newer_versions_say_it_themselves() {
        check("sync.RWMutex.RLock", &[], Waiting::ReadLock);
        check("chan receive (nil chan)", &[], Waiting::NilChan);
        check("chan send (leaked)", &[], Waiting::ChanSend);
        check("select (durable)", &[], Waiting::Select);
        check("GC worker (idle)", &[], Waiting::System);
        check("coroutine", &[], Waiting::Other);
    }
}
