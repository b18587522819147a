//! `body-not-read`: connections that `net/http`'s client opens and does not use again.
//!
//! A body that is closed before its end takes its connection with it: the transport cannot know how much is still to
//! come. So each request opens a connection, and leaves a port in TIME_WAIT.
//!
//! **Proves**: between two heaps at least [`OPENED_MIN`] connections were opened, and most of them are gone: they were
//! used once or so. These lines of the program made requests, no more than twice as many as that. And hardly any
//! connection in the network namespace was closed with data that had not been read: so bodies were small, and had come
//! already. (One that is large is cheaper to leave unread, and closing it resets the connection, which the kernel counts.)
//!
//! **Cannot**: say why. A server that closes after each answer (HTTP/1.0, `Connection: close`), keep-alive that is
//! switched off, requests that were cancelled, a host that is asked once: all of them look the same in a heap, in
//! goroutines, and in the kernel, where a socket in TIME_WAIT belongs to no process. All may be right. So this is a
//! *suspicion*, which is reported only if the source shows a body that is closed and never read. Other processes that
//! reset connections hide it.

use std::collections::BTreeMap;

use crate::{Frame, History, Kind, Limits, Severity, stack};

use super::allocation::{made, seconds};
use super::defect::Defect;
use super::retained::{Use, ends, origin};

/// As many are opened by a service that has just begun.
const OPENED_MIN: u64 = 20;
/// Of so many opened ones, one may still be there.
const GONE: u64 = 4;
/// Of objects of a line of `getConn`, which makes two for a request here and there, to a connection: every
/// second request opened one.
const TURNS_MAX: u64 = 4;
/// Lines that are looked at: those that allocate most for requests.
const LINES_MAX: usize = 16;
/// How long a port stays in TIME_WAIT, in Linux (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_SECONDS: f64 = 60.0;

const DIAL: &str = "net/http.(*Transport).dialConn";
const TURN: &str = "net/http.(*Transport).getConn";

/// Lines whose requests may be the reason.
pub(super) fn find(history: &History) -> Vec<Defect<'_>> {
    let Some(opened) = opened(history).filter(|opened| has_come(history, *opened)) else {
        return Vec::new();
    };
    let mut lines: Vec<_> = requests(history).into_iter().collect();
    lines.sort_by_key(|(_, requests)| std::cmp::Reverse(requests.bytes));
    let is_enough = |requests: &Requests| requests.turns <= TURNS_MAX * opened;
    let lines = lines.into_iter().take(LINES_MAX).filter(|(_, requests)| is_enough(requests));
    lines.map(|(line, _)| defect(history, line, opened)).collect()
}

/// Connections that were opened between the two heaps, if most of them are gone again.
///
/// Each has buffers for reading and for writing: large, so that they are sampled, and one of each.
fn opened(history: &History) -> Option<u64> {
    let is_buffer = |frames: &[Frame]| {
        let makes = |it: &Frame| it.function.starts_with("bufio.New");
        stack::calls(frames, DIAL) && frames.iter().any(makes)
    };
    let made = made(history);
    let buffers = made.iter().filter(|(frames, _)| is_buffer(frames));
    let (frames, opened) = buffers.max_by_key(|(_, made)| made.bytes)?;
    let (_, after) = ends(history)?;
    let sites = after.sites.iter().filter(|site| *site.frames == **frames);
    let live: u64 = sites.map(|site| site.live_objects).sum();
    let is_gone = opened.objects >= OPENED_MIN && GONE * live <= opened.objects;
    is_gone.then_some(opened.objects)
}

/// Whether the bodies of so many connections had come when they were closed, as far as the kernel counts it.
fn has_come(history: &History, opened: u64) -> bool {
    let mut aborts = history.instants().iter().filter_map(|it| it.snapshot.aborts);
    let (first, last) = (aborts.next(), aborts.next_back());
    std::iter::zip(first, last).any(|(first, last)| 2 * last.saturating_sub(first) < opened)
}

/// What was allocated for the requests of a line.
#[derive(Default)]
struct Requests {
    bytes: u64,
    /// How often a connection was asked for, as far as that was sampled.
    turns: u64,
}

fn requests(history: &History) -> BTreeMap<&Frame, Requests> {
    let mut lines = BTreeMap::<&Frame, Requests>::new();
    for (frames, made) in made(history) {
        let Some((Use::Request, line)) = origin(frames) else { continue };
        let requests = lines.entry(line).or_default();
        requests.bytes += made.bytes;
        if frames.first().is_some_and(|it| &*it.function == TURN) {
            requests.turns = requests.turns.max(made.objects);
        }
    }
    lines.retain(|_, requests| requests.bytes > 0);
    lines
}

fn defect<'a>(history: &History, line: &'a Frame, opened: u64) -> Defect<'a> {
    let pace = opened as f64 / seconds(history).max(1.0);
    let waiting = pace * TIME_WAIT_SECONDS;
    let last = history.last();
    let limits = last.map(|last| last.snapshot.limits).unwrap_or_default();
    let Limits { ephemeral_ports: ports, .. } = limits;
    let is_near = ports.is_some_and(|ports| 2.0 * waiting > ports as f64);
    let of_ports = ports.map(|ports| format!(" of {ports}")).unwrap_or_default();
    Defect {
        severity: if is_near { Severity::Leak } else { Severity::Warning },
        confidence: 0.9,
        readings: vec![(last.map(|it| it.at).unwrap_or_default(), opened)],
        birth: Some(line),
        what: "connections were opened by net/http's client, each for one request or so, for a body that is closed unread",
        label: "Body not read",
        why: "a body that is closed before it was read to its end takes its connection with it",
        fix: "read the body to its end before it is closed, up to a bound: `io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))`",
        evidence: vec![
            format!(
                "{opened} connections were opened between two heaps, and most of them are gone"
            ),
            "few connections were closed with data that had come and was not read: the bodies are small"
                .to_owned(),
            format!(
                "at {pace:.1} a second some {waiting:.0}{of_ports} ports are in TIME_WAIT at any time"
            ),
        ],
        ..Defect::new("body-not-read", Kind::Socket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rules::testing::frames;
    use crate::{Heap, HeapSite, Snapshot, suspicions};

    /// Two looks at a client that opens connections, of which some stay, for so many requests, and closes some with
    /// unread data.
    fn history(opened: u64, live: u64, requests: u64, aborts: u64) -> History {
        let mut history = History::new();
        for (at, share) in [(0, 0), (10, 1)] {
            let site = |functions: &[&str], objects: u64, live: u64| HeapSite {
                frames: frames(functions).into(),
                live_bytes: share * live * 4096,
                live_objects: share * live,
                allocated_bytes: share * objects * 4096,
                allocated_objects: share * objects,
            };
            let sites = vec![
                site(
                    &["bufio.NewReaderSize", DIAL, "net/http.(*Transport).dialConnFor"],
                    opened,
                    live,
                ),
                site(&[TURN, "net/http.(*Client).Get", "main.check"], requests, 0),
                site(&["net/http.send", "net/http.(*Client).Get", "main.check"], 9 * requests, 0),
                site(&["main.check"], 1_000, 0),
            ];
            let heap = Some(Heap { sites, ..Heap::default() });
            let limits = Limits { ephemeral_ports: Some(28_232), ..Limits::default() };
            let snapshot =
                Snapshot { heap, limits, aborts: Some(7 + share * aborts), ..Snapshot::default() };
            history.add(Duration::from_secs(at), snapshot);
        }
        history
    }

    #[test]
    fn connections_that_are_used_once_are_a_suspicion_and_no_finding() {
        let once = history(200, 2, 200, 90);
        assert_eq!(crate::rules::testing::found(&once), []);
        let suspicions = suspicions(&once);
        let [finding] = &suspicions[..] else { panic!("{suspicions:?}") };
        assert_eq!((finding.rule, finding.severity), ("body-not-read", Severity::Warning));
        let birth = finding.birth.as_ref().unwrap();
        assert_eq!((&*birth.function, birth.line), ("main.check", 3));
        assert!(finding.evidence[2].contains("1200 of 28232 ports"), "{finding:?}");
        let [finding] = &super::super::suspicions(&history(4_000, 0, 4_000, 0))[..] else {
            panic!()
        };
        assert_eq!(finding.severity, Severity::Leak, "24,000 ports");
    }

    #[test]
    fn connections_that_are_used_again_stay_or_are_few_are_none() {
        for (opened, live, requests, aborts) in
            [(10, 0, 10, 0), (200, 100, 200, 0), (200, 2, 5_000, 0), (200, 2, 200, 150)]
        {
            let history = history(opened, live, requests, aborts);
            assert!(suspicions(&history).is_empty(), "{opened} {live} {requests} {aborts}");
        }
        let mut unknown = History::new();
        for it in history(200, 2, 200, 0).instants() {
            unknown.add(it.at, Snapshot { aborts: None, ..it.snapshot.clone() });
        }
        assert!(suspicions(&unknown).is_empty(), "the kernel was not asked");
    }
}
