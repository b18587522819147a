use std::time::Duration;

use super::*;
use crate::{Frame, Monitor, Pointer, Snapshot, State, Waiting};

fn frame(call: &str) -> Frame {
    let (function, line) = call.split_once(':').unwrap_or((call, "0"));
    Frame { function: function.into(), file: "A.java".into(), line: line.parse().unwrap() }
}

/// A thread with its stack, and what it has to do with objects.
fn thread(
    name: &str,
    waiting: Waiting,
    calls: &[&str],
    id: u64,
    objects: &[(Monitor, u64)],
) -> TaskGroup {
    let pointers: Vec<Pointer> =
        objects.iter().map(|(it, address)| it.pointer(0, *address)).collect();
    TaskGroup {
        state: State { waiting, text: "WAITING (parking)".into() },
        frames: calls.iter().map(|call| frame(call)).collect(),
        birth: None,
        labels: vec![("thread".to_owned(), name.to_owned())],
        count: 1,
        members: vec![Member { id, pointers, ..Member::default() }],
    }
}

fn history(looks: Vec<Vec<TaskGroup>>) -> History {
    let mut history = History::new();
    for (at, groups) in (0..).zip(looks) {
        let tasks = Some(Tasks { runtime: Runtime::Jvm, groups, deadlocked: false });
        history.add(Duration::from_secs(5 * at), Snapshot { tasks, ..Snapshot::default() });
    }
    history
}

fn found(history: &History) -> Vec<Finding> {
    find(history, Recorded::of(history)).findings
}

fn rules(history: &History) -> Vec<&'static str> {
    found(history).iter().map(|finding| finding.rule).collect()
}

const FIRST: [(Monitor, u64); 2] = [(Monitor::Held, 1), (Monitor::Entering, 2)];
const SECOND: [(Monitor, u64); 2] = [(Monitor::Held, 2), (Monitor::Parked, 1)];

#[test]
fn a_circle_is_one_finding_with_those_behind_it() {
    let locks = |id, line, objects: &[(Monitor, u64)]| {
        thread(
            "web-",
            Waiting::Lock,
            &["java.lang.Thread.park", line, "java.lang.Thread.run"],
            id,
            objects,
        )
    };
    let look = vec![
        locks(11, "bank.Bank.move:31", &FIRST),
        locks(12, "bank.Bank.back:47", &SECOND),
        locks(13, "bank.Bank.move:29", &[(Monitor::Entering, 1)]),
        locks(14, "bank.Bank.move:29", &[(Monitor::Entering, 9)]),
    ];
    let found = found(&history(vec![look]));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.rule, finding.confidence.value()), ("deadlock", 1.0));
    assert!(finding.summary.contains("2 threads wait for each other's locks"), "{finding:?}");
    let lines: Vec<u32> = finding.fix.iter().flat_map(|it| &it.places).map(|it| it.line).collect();
    assert_eq!(lines, [31, 47]);
    assert_eq!(finding.count, [3]);
}

#[test]
fn a_chain_or_a_monitor_that_was_left_is_no_circle() {
    let chain = vec![
        thread("a", Waiting::Lock, &["b.C.f:1"], 1, &[(Monitor::Held, 1), (Monitor::Entering, 2)]),
        thread("a", Waiting::Running, &["b.C.g:2"], 2, &[(Monitor::Held, 2)]),
    ];
    assert!(rules(&history(vec![chain])).is_empty());
    let left = vec![
        thread("a", Waiting::Lock, &["b.C.f:1"], 1, &FIRST),
        thread(
            "a",
            Waiting::Lock,
            &["b.C.g:2"],
            2,
            &[(Monitor::Held, 2), (Monitor::Waiting, 2), (Monitor::Entering, 1)],
        ),
    ];
    assert!(rules(&history(vec![left])).is_empty());
}

/// Looks with so many threads each, at one line; `fresh` says whether they are other ones each time.
fn pile(counts: &[u64], waiting: Waiting, object: fn(u64) -> u64, fresh: bool) -> History {
    let look = |(at, count): (u64, &u64)| {
        let ids = (0..*count).map(|id| if fresh { 1000 * at + id } else { id });
        let calls = ["java.util.concurrent.locks.LockSupport.park", "shop.Stock.count:44"];
        ids.map(|id| thread("web-", waiting, &calls, id, &[(Monitor::Parked, object(id))]))
            .collect()
    };
    history((0..).zip(counts).map(look).collect())
}

#[test]
fn those_who_stay_while_others_join_them_are_blocked() {
    let found = found(&pile(&[2, 6, 10], Waiting::WaitGroup, |id| id, false));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.rule, finding.count.as_slice()), ("thread-blocked", &[2, 6, 10][..]));
    assert_eq!(finding.wait.as_ref().map(|wait| wait.line), Some(44));
    assert_eq!(finding.oldest, Some(Duration::from_secs(10)));
}

#[test]
fn those_who_wait_for_one_pool_wait_for_a_lease() {
    let found = found(&pile(&[2, 6, 10], Waiting::ChanReceive, |_| 7, false));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.rule, "lease-not-returned");
    assert_eq!(finding.birth.as_ref().map(|birth| birth.line), Some(44));
    assert_eq!(rules(&pile(&[2, 6, 10], Waiting::ChanReceive, |id| id, false)), ["thread-blocked"]);
}

#[test]
fn those_who_come_and_go_stay_as_many_or_sleep_are_healthy() {
    let check = |counts: &[u64], waiting, fresh| {
        assert!(rules(&pile(counts, waiting, |_| 7, fresh)).is_empty(), "{counts:?} {waiting:?}");
    };
    check(&[2, 6, 10], Waiting::WaitGroup, true);
    check(&[8, 8, 8, 8], Waiting::ChanReceive, false);
    check(&[2, 6, 10], Waiting::Sleep, false);
    check(&[2, 10], Waiting::WaitGroup, false);
    check(&[10, 4, 12, 3, 13], Waiting::WaitGroup, false);
}

/// Looks with so many pools of two idle threads each, and one thread that makes a pool.
fn executors(counts: &[u64]) -> History {
    let look = |count: &u64| {
        let calls =
            ["jdk.internal.misc.Unsafe.park", "java.util.concurrent.ThreadPoolExecutor.getTask"];
        let idle = (0..2 * *count).map(|id| {
            thread("pool--thread-", Waiting::ChanReceive, &calls, id, &[(Monitor::Parked, id / 2)])
        });
        let starts = [
            "java.lang.Thread.start0",
            "java.util.concurrent.ThreadPoolExecutor.addWorker",
            "shop.Quotes.lowest:28",
        ];
        idle.chain([thread("web-", Waiting::Running, &starts, 9999, &[])]).collect()
    };
    history(counts.iter().map(look).collect())
}

#[test]
fn a_pool_for_each_request_is_named_with_the_line_that_was_seen() {
    let found = found(&executors(&[2, 10, 20, 30, 40]));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.rule, "thread-growth");
    assert!(
        finding.summary.contains("80 threads called `pool--thread-`, of 40 pools"),
        "{finding:?}"
    );
    assert_eq!(finding.birth.as_ref().map(|birth| birth.line), Some(28));
    assert!(rules(&executors(&[40, 40, 40, 40, 40])).is_empty());
}

#[test]
fn a_name_whose_threads_are_blocked_is_one_finding() {
    assert_eq!(rules(&pile(&[2, 20, 40, 60, 80], Waiting::Lock, |_| 7, false)), ["thread-blocked"]);
}
