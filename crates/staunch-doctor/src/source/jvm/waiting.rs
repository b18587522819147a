//! For what a thread waits: its state, and who in `java.util.concurrent` has parked it.

use staunch_diagnosis::{Frame, Waiting};

/// How many of the innermost calls can belong to the JDK's own way of waiting.
const PLUMBING_MAX: usize = 12;

/// Calls of the JDK that say for what a thread is parked; the outermost of them counts, because
/// each is made of those further in.
const PARKED: [(&str, Waiting); 26] = [
    ("java.util.concurrent.locks.ReentrantReadWriteLock$ReadLock.lock", Waiting::ReadLock),
    ("java.util.concurrent.locks.ReentrantReadWriteLock$WriteLock.lock", Waiting::Lock),
    ("java.util.concurrent.locks.ReentrantLock.lock", Waiting::Lock),
    ("java.util.concurrent.locks.StampedLock.readLock", Waiting::ReadLock),
    ("java.util.concurrent.locks.StampedLock.writeLock", Waiting::Lock),
    ("java.util.concurrent.locks.AbstractQueuedSynchronizer$ConditionObject.await", Waiting::Cond),
    ("java.util.concurrent.Semaphore.acquire", Waiting::Semaphore),
    ("java.util.concurrent.CountDownLatch.await", Waiting::WaitGroup),
    ("java.util.concurrent.CyclicBarrier.await", Waiting::WaitGroup),
    ("java.util.concurrent.Phaser.", Waiting::WaitGroup),
    ("java.util.concurrent.FutureTask.get", Waiting::WaitGroup),
    ("java.util.concurrent.CompletableFuture.get", Waiting::WaitGroup),
    ("java.util.concurrent.CompletableFuture.join", Waiting::WaitGroup),
    ("java.util.concurrent.ForkJoinTask.", Waiting::WaitGroup),
    ("java.util.concurrent.Exchanger.exchange", Waiting::Cond),
    ("java.util.concurrent.ArrayBlockingQueue.take", Waiting::ChanReceive),
    ("java.util.concurrent.ArrayBlockingQueue.put", Waiting::ChanSend),
    ("java.util.concurrent.LinkedBlockingQueue.take", Waiting::ChanReceive),
    ("java.util.concurrent.LinkedBlockingQueue.put", Waiting::ChanSend),
    ("java.util.concurrent.LinkedBlockingDeque.take", Waiting::ChanReceive),
    ("java.util.concurrent.LinkedBlockingDeque.put", Waiting::ChanSend),
    ("java.util.concurrent.PriorityBlockingQueue.take", Waiting::ChanReceive),
    ("java.util.concurrent.SynchronousQueue.take", Waiting::ChanReceive),
    ("java.util.concurrent.SynchronousQueue.put", Waiting::ChanSend),
    ("java.util.concurrent.LinkedTransferQueue.take", Waiting::ChanReceive),
    ("java.util.concurrent.LinkedTransferQueue.transfer", Waiting::ChanSend),
];

/// Native methods that wait for the network.
const NETWORK: [&str; 8] = [
    "sun.nio.ch.EPoll.",
    "sun.nio.ch.KQueue.",
    "sun.nio.ch.Net.",
    "sun.nio.ch.SocketDispatcher.",
    "sun.nio.ch.ServerSocketChannelImpl.",
    "java.net.SocketInputStream.",
    "java.net.PlainSocketImpl.",
    "sun.nio.ch.EPollArrayWrapper.",
];

/// What rules go by; `state` is what `java.lang.Thread.State:` says.
pub(super) fn waiting(state: &str, frames: &[Frame]) -> Waiting {
    if is_of_the_machine(frames) {
        return Waiting::System;
    }
    match state {
        "BLOCKED (on object monitor)" => Waiting::Lock,
        "WAITING (parking)" => parked(frames),
        "WAITING (on object monitor)" if begins(frames, "java.lang.Thread.join") => {
            Waiting::WaitGroup
        }
        "WAITING (on object monitor)" => Waiting::Cond,
        "RUNNABLE" | "" => running(frames),
        _ if state.starts_with("BLOCKED") => Waiting::Lock,
        _ if state.starts_with("TIMED_WAITING") => Waiting::Sleep,
        _ => Waiting::Other,
    }
}

/// Threads of the virtual machine, and of its references and cleaners.
fn is_of_the_machine(frames: &[Frame]) -> bool {
    let own = ["java.lang.ref.", "jdk.internal.ref.", "jdk.internal.misc.Innocuous"];
    let entry = frames.iter().rfind(|it| !it.function.starts_with("java.lang.Thread."));
    entry.is_none_or(|entry| own.iter().any(|own| entry.function.starts_with(own)))
}

fn parked(frames: &[Frame]) -> Waiting {
    let inner = frames.iter().take(PLUMBING_MAX);
    let inner =
        inner.take_while(|it| it.function.starts_with('j') || it.function.starts_with("sun."));
    let found = inner.filter_map(|frame| {
        PARKED.iter().find(|(function, _)| frame.function.starts_with(function))
    });
    found.last().map_or(Waiting::Other, |(_, waiting)| *waiting)
}

fn running(frames: &[Frame]) -> Waiting {
    match frames.first() {
        Some(call) if NETWORK.iter().any(|it| call.function.starts_with(it)) => Waiting::Io,
        Some(call) if call.line == 0 && call.function.starts_with("java.io.") => Waiting::Syscall,
        _ => Waiting::Running,
    }
}

fn begins(frames: &[Frame], function: &str) -> bool {
    frames.iter().take(3).any(|frame| frame.function.starts_with(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: &str, functions: &[&str], expected: Waiting) {
        let frame = |it: &&str| Frame { function: (*it).into(), file: "".into(), line: 0 };
        let frames: Vec<Frame> = functions.iter().map(frame).collect();
        assert_eq!(waiting(state, &frames), expected, "{state}: {functions:?}");
    }

    #[test]
    fn the_outermost_call_of_the_library_says_for_what() {
        let park = "jdk.internal.misc.Unsafe.park";
        let queue = "java.util.concurrent.LinkedBlockingQueue.take";
        let cond = "java.util.concurrent.locks.AbstractQueuedSynchronizer$ConditionObject.await";
        check("WAITING (parking)", &[park, cond, queue, "a.B.f"], Waiting::ChanReceive);
        check("WAITING (parking)", &[park, cond, "a.B.f"], Waiting::Cond);
        check("WAITING (parking)", &[park, "a.B.f", queue], Waiting::Other);
        check("TIMED_WAITING (parking)", &[park, queue, "a.B.f"], Waiting::Sleep);
    }

    #[test]
    fn states_without_parking() {
        check("BLOCKED (on object monitor)", &["a.B.f"], Waiting::Lock);
        let join = ["java.lang.Object.wait", "java.lang.Thread.join", "a.B.f"];
        check("WAITING (on object monitor)", &join, Waiting::WaitGroup);
        check("WAITING (on object monitor)", &["java.lang.Object.wait", "a.B.f"], Waiting::Cond);
        check("RUNNABLE", &["sun.nio.ch.EPoll.wait", "a.B.f"], Waiting::Io);
        check("RUNNABLE", &["a.B.f"], Waiting::Running);
        check("RUNNABLE", &[], Waiting::System);
        let finalizer = ["java.lang.Object.wait", "java.lang.ref.Finalizer$FinalizerThread.run"];
        check("WAITING (on object monitor)", &finalizer, Waiting::System);
    }
}
