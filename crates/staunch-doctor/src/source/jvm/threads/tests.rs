use staunch_diagnosis::Waiting;

use super::*;

fn read(text: &str) -> ThreadDump {
    read_thread_dump(text.as_bytes()).unwrap()
}

/// JDK 8: no module, no cpu, `nid` in hex, and the synchronizers of `-l`.
const OLD: &str = "\
2026-01-01 10:00:00
Full thread dump OpenJDK 64-Bit Server VM (25.402-b06 mixed mode):

\"pool-1-thread-17\" #12 daemon prio=5 os_prio=0 tid=0x00007f01 nid=0x1f03 waiting on condition [0x00007f02]
   java.lang.Thread.State: WAITING (parking)
\tat sun.misc.Unsafe.park(Native Method)
\t- parking to wait for  <0x00000000d6a1b2c8> (a java.util.concurrent.CountDownLatch$Sync)
\tat java.util.concurrent.locks.LockSupport.park(LockSupport.java:175)
\tat java.util.concurrent.CountDownLatch.await(CountDownLatch.java:231)
\tat shop.Exports.file(Exports.java:39)
\t- locked <0x00000000d6a1b2d0> (a shop.Exports)
\t- eliminated <owner is scalar replaced> (a java.lang.Object)

   Locked ownable synchronizers:
\t- <0x00000000d6a1b2e0> (a java.util.concurrent.ThreadPoolExecutor$Worker)

\"VM Thread\" os_prio=0 tid=0x00007f03 nid=0x1f04 runnable

JNI global references: 25
";

#[test]
fn a_thread_has_its_stack_and_its_monitors() {
    let dump = read(OLD);
    let [group] = &dump.tasks.groups[..] else { panic!("{:?}", dump.tasks.groups) };
    assert_eq!(group.state.waiting, Waiting::WaitGroup);
    assert_eq!(&*group.frames[3].file, "Exports.java");
    assert_eq!((&*group.frames[3].function, group.frames[3].line), ("shop.Exports.file", 39));
    assert_eq!(group.labels, [("thread".to_owned(), "pool--thread-".to_owned())]);
    let pointers: Vec<_> = group.members[0]
        .pointers
        .iter()
        .map(|it| (it.frame, Monitor::of(it).unwrap(), it.value))
        .collect();
    assert_eq!(
        pointers,
        [
            (0, Monitor::Parked, 0xd6a1_b2c8),
            (3, Monitor::Held, 0xd6a1_b2d0),
            (3, Monitor::Held, 0xd6a1_b2e0)
        ]
    );
    assert_eq!(dump.threads.len(), 2, "{:?}", dump.threads);
}

/// JDK 25: the number of the thread, no `nid` of a carrier, and who is mounted on it.
const NEW: &str = "\
4711:
2026-01-01 10:00:00
Full thread dump OpenJDK 64-Bit Server VM (25.0.3+9-LTS mixed mode, sharing):

Threads class SMR info:
_java_thread_list=0x00007f4d8c002cc0, length=2, elements={
0x00007f4dd802a840, 0x00007f4dd80bc6d0
}

\"ForkJoinPool-1-worker-2\" #25 [28660] daemon prio=5 os_prio=0 cpu=4327.27ms elapsed=4.90s tid=0x00007f4dd80e7bd0  [0x00007f4db8605000]
   Carrying virtual thread #27
\tat java.lang.VirtualThread.runContinuation(java.base@25.0.3/VirtualThread.java:297)
\tat java.util.concurrent.ForkJoinPool.runWorker(java.base@25.0.3/ForkJoinPool.java:2019)
   Mounted virtual thread #27
\tat shop.Quotes.lambda$main$1(Quotes.java:7)
\tat java.lang.VirtualThread.run(java.base@25.0.3/VirtualThread.java:460)

   Locked ownable synchronizers:
\t- None

\"first \"quoted\"\" #28 [28661] prio=5 os_prio=0 cpu=0.55ms elapsed=4.90s tid=0x00007f4dd80e9020 nid=28661 waiting on condition  [0x00007f4db8506000]
   java.lang.Thread.State: WAITING (parking)
\tat jdk.internal.misc.Unsafe.park(java.base@25.0.3/Native Method)
\t- parking to wait for  <0x000000069e016f50> (a java.util.concurrent.locks.ReentrantLock$NonfairSync)
\tat java.util.concurrent.locks.ReentrantLock.lock(java.base@25.0.3/ReentrantLock.java:323)
\tat shop.Accounts.both(Accounts.java:4)

JNI global refs: 4, weak refs: 0


Found one Java-level deadlock:
=============================
\"first \"quoted\"\":
  waiting for ownable synchronizer 0x000000069e016f50, (a java.util.concurrent.locks.ReentrantLock$NonfairSync),
  which is held by \"second\"

\"second\":
  waiting for ownable synchronizer 0x000000069e016f20, (a java.util.concurrent.locks.ReentrantLock$NonfairSync),
  which is held by \"first \"quoted\"\"

Java stack information for the threads listed above:
===================================================
\"first \"quoted\"\":
\tat shop.Accounts.both(Accounts.java:4)

Found 1 deadlock.
";

#[test]
fn a_mounted_thread_is_one_of_its_own() {
    let dump = read(NEW);
    let [carrier, mounted, _] = &dump.tasks.groups[..] else { panic!("{:?}", dump.tasks.groups) };
    assert_eq!((carrier.members[0].id, carrier.frames.len()), (25, 2));
    assert_eq!((mounted.members[0].id, mounted.frames.len()), (27, 2));
    assert_eq!(mounted.state.waiting, Waiting::Running);
}

#[test]
fn who_holds_a_lock_is_told_by_the_deadlock() {
    let dump = read(NEW);
    assert!(dump.tasks.deadlocked);
    let quoted = &dump.tasks.groups[2].members[0];
    let held = quoted.pointers.iter().find(|it| Monitor::of(it) == Some(Monitor::Held)).unwrap();
    assert_eq!((quoted.id, held.value), (28, 0x6_9e01_6f20));
    assert_eq!(dump.threads.iter().map(|it| it.count).sum::<u64>(), 2, "listed once");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cut = &OLD[..OLD.find("Exports.java:39").unwrap()];
    let error = read_thread_dump(cut.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("a thread dump is cut off in line 10"), "{error}");
    let error = read_thread_dump(format!("{cut}\n").as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("line 10 is no part of a thread dump: expected `at "), "{error}");
    let error = read_thread_dump(&b"no dump\n"[..]).unwrap_err().to_string();
    assert!(error.contains("nothing of a thread dump in this text of 1 lines"), "{error}");
}

#[test]
fn every_thread_of_a_capture_is_read() {
    let text = include_str!("../../../../../../fixtures/captures/java-thread-blocked/jstack-2.txt");
    assert!(is_thread_dump(&text.as_bytes()[..4096]));
    let dump = read(text);
    let threads: u64 = dump.threads.iter().map(|it| it.count).sum();
    assert_eq!(threads, text.matches(" tid=0x").count() as u64);
    let blocked = dump.tasks.groups.iter().find(|it| it.labels[0].1 == "file export").unwrap();
    assert_eq!((blocked.count, blocked.state.waiting), (10, Waiting::WaitGroup));
}
