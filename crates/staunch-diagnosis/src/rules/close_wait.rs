//! `close-wait`: the peer has closed its direction, and the program does not close the socket.
//!
//! **Proves**: a socket that was in `CLOSE_WAIT` is still the same one in `CLOSE_WAIT` at a later
//! instant, by its inode, or by its two addresses in saved lists. Nothing but the program's `close` (or
//! its end) takes it out of that state (RFC 9293, 3.6): no timeout of the kernel does, not even
//! keepalive once the peer is gone for good and silent.
//!
//! **Cannot**: tell a forgotten socket from one whose program is still at work on a last answer, which
//! is allowed. So it asks for [`AGE_MIN`], or for several that stay while others join them. It does
//! not know the line: that is what goroutines, threads or the ledger of the same process are for, or a
//! recording of a JVM (`recorded.rs`).

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use super::recorded::{Made, Recorded};
use crate::{
    Cause, Confidence, Finding, Fix, History, Instant, Kind, Limits, Severity, Socket, SocketState,
    trend::{Reading, Trend},
};

/// A last answer seldom takes longer.
const AGE_MIN: Duration = Duration::from_secs(30);

/// So many that all stay while others join them are no coincidence.
const STAYING_MIN: usize = 3;

/// Whose sockets they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Clients of this port of ours.
    Accepted(u16),
    /// Connections that we opened to this address.
    Opened(SocketAddr),
}

/// `held` is how many threads stand still by another finding: clients that gave up waiting for those
/// are a consequence, and no leak of their own.
pub(super) fn find(history: &History, held: u64, recorded: Recorded<'_>) -> Vec<Finding> {
    let Some(last) = history.last() else { return Vec::new() };
    let mut groups = BTreeMap::<Side, Vec<&Socket>>::new();
    for socket in forgotten(last) {
        if let Some(side) = side(last, socket) {
            groups.entry(side).or_default().push(socket);
        }
    }
    let is_consequence = |side: &Side, sockets: &Vec<&Socket>| {
        matches!(side, Side::Accepted(_)) && sockets.len() as u64 <= held
    };
    let groups = groups.into_iter().filter(|(side, sockets)| !is_consequence(side, sockets));
    let find = |(side, sockets): (Side, Vec<&Socket>)| {
        let mut found = finding(history, side, &sockets)?;
        let made = match side {
            Side::Accepted(_) => Made::Accepted,
            Side::Opened(_) => Made::Connection,
        };
        recorded.name(&mut found, made);
        Some(found)
    };
    groups.filter_map(find).collect()
}

fn forgotten(instant: &Instant) -> impl Iterator<Item = &Socket> {
    let sockets = instant.snapshot.sockets.iter().flatten();
    sockets.filter(|socket| socket.state == SocketState::CloseWait)
}

fn side(instant: &Instant, socket: &Socket) -> Option<Side> {
    let local = socket.local?.port();
    let mut sockets = instant.snapshot.sockets.iter().flatten();
    let listens = sockets.any(|other| {
        other.state == SocketState::Listen && other.local.is_some_and(|it| it.port() == local)
    });
    if listens { Some(Side::Accepted(local)) } else { socket.remote.map(Side::Opened) }
}

fn finding(history: &History, side: Side, now: &[&Socket]) -> Option<Finding> {
    let readings: Vec<Reading> =
        history.instants().iter().map(|at| (at.at, of_side(at, side).count() as u64)).collect();
    let oldest = now.iter().filter_map(|socket| socket.age).max();
    let staying = staying(history, side, now);
    let joined = now.len() > staying;
    let is_old = oldest.is_some_and(|age| age >= AGE_MIN);
    let confidence = match (is_old, staying >= STAYING_MIN && joined) {
        (true, true) => 0.98,
        (true, false) => 0.9,
        (false, true) => 0.85,
        (false, false) => return None,
    };
    let count = now.len();
    let (whose, fix) = match side {
        Side::Accepted(port) => (
            format!("clients of port {port}"),
            "close each connection when reading from it says that it has ended (read of 0 bytes, io.EOF, -1), also on errors",
        ),
        Side::Opened(peer) => (
            format!("connections to {peer}"),
            "close the connection, response or pool entry when the server has closed it; validate pooled connections before use",
        ),
    };
    let mut evidence = vec![
        format!(
            "{staying} of {count} were in CLOSE_WAIT at the look before and are the same sockets"
        ),
        format!("peers: {}", peers(now)),
    ];
    let unread: u64 = now.iter().map(|socket| socket.receive_queue).sum();
    evidence.push(format!("{unread} bytes came on them and were not read, their ends included"));
    Some(Finding {
        id: Finding::id("close-wait", [&*format!("{side:?}")]),
        rule: "close-wait",
        kind: Kind::Socket,
        severity: if joined { Severity::Critical } else { Severity::Leak },
        confidence: Confidence::new(confidence),
        summary: format!(
            "{count} sockets of {whose} stay in CLOSE_WAIT: their peers have closed, the program does not"
        ),
        count: readings.iter().map(|(_, count)| *count).collect(),
        oldest,
        birth: None,
        wait: None,
        cause: Some(Cause {
            label: "Socket not closed".to_owned(),
            text: "the peer's end was received, and nothing calls close on the socket".to_owned(),
            file: None,
            line: None,
        }),
        fix: Some(Fix { text: fix.to_owned(), patch: None, places: Vec::new() }),
        forecast: forecast(history, &readings),
        evidence,
        guide: Finding::guide("close-wait"),
    })
}

fn of_side(instant: &Instant, side: Side) -> impl Iterator<Item = &Socket> {
    forgotten(instant).filter(move |socket| match side {
        Side::Accepted(port) => socket.local.is_some_and(|local| local.port() == port),
        Side::Opened(peer) => socket.remote == Some(peer),
    })
}

/// How many of `now` were there at the look before.
fn staying(history: &History, side: Side, now: &[&Socket]) -> usize {
    let Some((_, before)) = history.instants().split_last() else { return 0 };
    let Some(before) = before.last() else { return 0 };
    let before: HashSet<u64> = of_side(before, side).filter_map(|socket| socket.id).collect();
    now.iter().filter(|socket| socket.id.is_some_and(|id| before.contains(&id))).count()
}

/// The peers, the most frequent first.
fn peers(sockets: &[&Socket]) -> String {
    const SHOWN: usize = 3;
    let mut counts = BTreeMap::<_, usize>::new();
    for remote in sockets.iter().filter_map(|socket| socket.remote) {
        *counts.entry(remote.ip()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown: Vec<_> =
        counts.iter().take(SHOWN).map(|(peer, count)| format!("{peer} ({count})")).collect();
    let more = counts.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

/// When descriptors run out at that rate.
fn forecast(history: &History, readings: &[Reading]) -> Option<String> {
    let last = &history.last()?.snapshot;
    let Limits { fds: Some(limit), .. } = last.limits else { return None };
    let open = last.fds.as_ref()?.iter().map(|fds| fds.count).sum();
    let left = Trend::of(readings)?.reaches(open, limit)?;
    Some(format!(
        "{open} of {limit} descriptors are open; at this rate they run out in {}",
        super::span(left)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FdCount, Snapshot};

    fn socket(id: u64, state: SocketState, age: u64) -> Socket {
        Socket {
            id: Some(id),
            state,
            local: Some("127.0.0.1:8080".parse().unwrap()),
            remote: Some(format!("10.0.0.7:{}", 40_000 + id).parse().unwrap()),
            receive_queue: 1,
            send_queue: 0,
            age: Some(Duration::from_secs(age)),
        }
    }

    /// Looks 5 s apart, each with the sockets given by id, in CLOSE_WAIT since they were first seen.
    fn history(looks: &[&[u64]]) -> History {
        let mut history = History::new();
        for (index, ids) in looks.iter().enumerate() {
            let at = 5 * index as u64;
            let since =
                |id: &u64| looks.iter().position(|look| look.contains(id)).unwrap() as u64 * 5;
            let mut sockets: Vec<_> =
                ids.iter().map(|id| socket(*id, SocketState::CloseWait, at - since(id))).collect();
            sockets.push(socket(99, SocketState::Listen, at));
            sockets.push(socket(98, SocketState::Established, at));
            let fds =
                vec![FdCount { kind: "socket".into(), count: ids.len() as u64, oldest: None }];
            let limits = Limits { fds: Some(1000), ..Limits::default() };
            let snapshot =
                Snapshot { sockets: Some(sockets), fds: Some(fds), limits, ..Snapshot::default() };
            history.add(Duration::from_secs(at), snapshot);
        }
        history
    }

    fn find_all(history: &History) -> Vec<Finding> {
        find_beside(history, 0)
    }

    fn find_beside(history: &History, held: u64) -> Vec<Finding> {
        find(history, held, Recorded::of(history))
    }

    #[test]
    fn clients_of_threads_that_stand_still_are_their_consequence() {
        let history = history(&[&[1, 2, 3], &[1, 2, 3, 4, 5]]);
        assert_eq!(find_beside(&history, 4).len(), 1);
        assert!(find_beside(&history, 5).is_empty());
    }

    #[test]
    fn those_that_stay_while_others_join_them_are_found_at_once() {
        let findings = find_all(&history(&[&[1, 2, 3], &[1, 2, 3, 4, 5]]));
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert!(finding.summary.contains("5 sockets of clients of port 8080"), "{finding:?}");
        assert_eq!(finding.count, [3, 5]);
        let forecast = finding.forecast.as_ref().unwrap();
        assert!(forecast.contains("5 of 1000 descriptors"), "{forecast}");
        assert!(finding.evidence.iter().any(|it| it.contains("10.0.0.7 (5)")), "{finding:?}");
    }

    #[test]
    fn an_old_one_is_found_although_it_is_alone() {
        assert!(find_all(&history(&[&[1], &[1], &[1], &[1], &[1], &[1]])).is_empty(), "25 s");
        let findings = find_all(&history(&[&[1], &[1], &[1], &[1], &[1], &[1], &[1]]));
        assert_eq!(findings.len(), 1, "30 s");
        assert_eq!(findings[0].severity, Severity::Leak);
    }

    #[test]
    fn those_that_come_and_go_are_no_leak() {
        let passing = history(&[&[1, 2, 3], &[3, 4, 5, 6], &[6, 7, 8], &[8, 9]]);
        assert!(find_all(&passing).is_empty());
    }
}
