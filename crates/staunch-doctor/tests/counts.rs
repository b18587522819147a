//! Rules that count, by what they say of a history as a whole: each of these was seen to fail when the
//! condition that it is about was taken out of its rule.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::time::Duration;

use staunch_diagnosis::{
    EntryGroup, FdCount, Finding, Frame, History, Options, Snapshot, Socket, SocketState, diagnose,
};

fn found(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<Finding> {
    let mut history = History::new();
    for (look, snapshot) in (0..).zip(snapshots) {
        history.add(Duration::from_secs(5 * look), snapshot);
    }
    diagnose(&history, &Options::default())
}

fn rules(found: &[Finding]) -> Vec<&str> {
    found.iter().map(|finding| finding.rule).collect()
}

fn fds(count: u64) -> Snapshot {
    let fds = vec![FdCount { kind: "socket".into(), count, oldest: None }];
    Snapshot { fds: Some(fds), ..Snapshot::default() }
}

/// Leases born on a line, of which so many are overdue.
fn leases(line: u32, overdue: u64) -> EntryGroup {
    EntryGroup {
        kind: "lease".into(),
        birth: Frame { function: "".into(), file: "src/bank.rs".into(), line },
        state: Some("active".into()),
        obligation: "ends by 5s".into(),
        count: 9,
        overdue,
        oldest_overdue: Duration::from_secs(75),
        orphans: 0,
        bytes: 0,
        oldest: Duration::from_secs(75),
    }
}

fn entries(groups: Vec<EntryGroup>) -> Snapshot {
    Snapshot { entries: Some(groups), ..Snapshot::default() }
}

#[test]
fn entries_that_were_not_there_yet_count_for_none() {
    let seen = || entries(vec![leases(42, 2)]);
    let found = found([entries(Vec::new()), seen(), seen()]); // what only one look saw is none
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].count, [0, 2, 2]);
}

#[test]
fn entries_are_counted_by_the_line_they_were_born_on() {
    let found = found([1, 2].map(|look| entries(vec![leases(7, 10 * look), leases(42, look)])));
    let mut counts: Vec<_> =
        found.iter().map(|it| (it.birth.as_ref().unwrap().line, &it.count[..])).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(7, &[10, 20][..]), (42, &[1, 2][..])]);
}

#[test]
fn what_grows_after_it_fell_is_no_growth() {
    let counts = [60, 50, 40, 30, 20, 90, 100, 110, 120, 130];
    assert_eq!(rules(&found(counts.map(fds))), [""; 0]);
}

#[test]
fn what_grew_and_then_wavers_is_no_growth() {
    let grows = (0..10).map(|look| 10 * look);
    let wavers = [100, 103, 101, 105, 102, 106, 104, 107, 108, 109];
    assert_eq!(rules(&found(grows.clone().chain(wavers).map(fds))), [""; 0]);
    assert_eq!(rules(&found(grows.chain(100..110).map(fds))), ["fd-growth"]);
}

/// `count` sockets of clients of port 8080, in CLOSE_WAIT.
fn forgotten(count: u16) -> Snapshot {
    let socket = |port: u16, state| Socket {
        id: Some(port.into()),
        state,
        local: Some("10.0.0.1:8080".parse().unwrap()),
        remote: (port > 0).then(|| format!("10.0.0.7:{port}").parse().unwrap()),
        receive_queue: 1,
        send_queue: 0,
        age: None,
    };
    let listens = socket(0, SocketState::Listen);
    let closed = (1..=count).map(|port| socket(port, SocketState::CloseWait));
    Snapshot {
        sockets: Some(std::iter::once(listens).chain(closed).collect()),
        ..fds(count.into())
    }
}

#[test]
fn descriptors_of_forgotten_sockets_are_not_counted_twice() {
    let found = found([10, 20, 30, 40, 50, 60].map(forgotten));
    assert_eq!(rules(&found), ["close-wait"]);
    assert!(!found[0].evidence.iter().any(|it| it.contains("descriptors")), "{found:?}");
}
