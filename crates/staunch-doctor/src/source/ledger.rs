//! A Staunch service's ledger, as `/debug/ledger` shows it.

use std::time::Duration;

use serde::Deserialize;
use staunch_diagnosis::{EntryGroup, Frame, Held, Observed, Snapshot};

/// Why a document is not a ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerSourceError {
    /// It is not what `/debug/ledger` writes.
    #[error("it is not what /debug/ledger of a Staunch service writes")]
    Malformed(#[source] serde_json::Error),
    /// The service's own search for leaks cannot be believed.
    #[error("the service's detector does not find its own canary (`detector` is `{detector}`)")]
    Blind {
        /// What it says of itself.
        detector: String,
    },
}

#[derive(Deserialize)]
struct Document {
    detector: String,
    groups: Vec<Group>,
    /// Services of before do not tell.
    routes: Option<Vec<Holding>>,
    #[serde(default)]
    observations: Observations,
}

#[derive(Default, Deserialize)]
struct Observations {
    recent: Vec<Observation>,
}

#[derive(Deserialize)]
struct Observation {
    rule: String,
    born_at: String,
    text: String,
    seconds_ago: f64,
}

#[derive(Deserialize)]
struct Group {
    kind: String,
    born_at: String,
    state: String,
    count: u64,
    bytes: u64,
    oldest_seconds: f64,
    overdue: u64,
    /// Services of before do not say.
    oldest_overdue_seconds: Option<f64>,
    orphans: u64,
    obligation: String,
}

#[derive(Deserialize)]
struct Holding {
    route: String,
    kind: String,
    born_at: String,
    count: u64,
    still: u64,
    text: String,
}

fn age(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Reads the document.
///
/// # Errors
/// [`LedgerSourceError`]
pub fn read_ledger(document: &[u8]) -> Result<Snapshot, LedgerSourceError> {
    let read: Document = serde_json::from_slice(document).map_err(LedgerSourceError::Malformed)?;
    if read.detector != "awake" {
        return Err(LedgerSourceError::Blind { detector: read.detector });
    }
    let groups = read.groups.into_iter().map(|group| EntryGroup {
        birth: line(&group.born_at),
        kind: group.kind.into(),
        state: Some(group.state.into()),
        obligation: group.obligation.into(),
        count: group.count,
        overdue: group.overdue,
        oldest_overdue: age(group.oldest_overdue_seconds.unwrap_or(group.oldest_seconds)),
        orphans: group.orphans,
        bytes: group.bytes,
        oldest: age(group.oldest_seconds),
    });
    let held = read.routes.map(|routes| routes.into_iter().map(held).collect());
    let observed = read.observations.recent.into_iter().map(|it| Observed {
        birth: line(&it.born_at),
        rule: it.rule,
        text: it.text,
        ago: Duration::try_from_secs_f64(it.seconds_ago).unwrap_or(Duration::MAX),
    });
    Ok(Snapshot {
        entries: Some(groups.collect()),
        held,
        observed: Some(observed.collect()),
        ..Snapshot::default()
    })
}

fn held(it: Holding) -> Held {
    Held {
        birth: line(&it.born_at),
        route: it.route.into(),
        kind: it.kind.into(),
        count: it.count,
        still: it.still,
        text: it.text,
    }
}

/// `FILE:LINE`; a ledger knows no functions.
fn line(born_at: &str) -> Frame {
    let (file, line) = born_at.rsplit_once(':').unwrap_or((born_at, ""));
    Frame { function: "".into(), file: file.into(), line: line.parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"detector":"awake","totals":{},"groups":[{"kind":"lease",
        "born_at":"src/bank.rs:42","state":"active","count":3,"bytes":10,"oldest_seconds":61.5,
        "stalest_seconds":1.0,"overdue":2,"oldest_overdue_seconds":6.5,"orphans":1,"obligation":"ends by 5s"}],"entries":[],
        "routes":[{"route":"export","kind":"stream","born_at":"src/tunnel.rs:9","count":3,"still":2,
        "text":"route export holds 3 streams"}],
        "observations":{"counts":{"dropped-bodies":1},"recent":[{"rule":"dropped-bodies","kind":"body",
        "born_at":"src/prices.rs:41","text":"10 bodies","seconds_ago":1.5}]},"next":null}"#;

    #[test]
    fn groups_are_read() {
        let groups = read_ledger(DOCUMENT.as_bytes()).unwrap().entries.unwrap();
        let [group] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!((&*group.birth.file, group.birth.line), ("src/bank.rs", 42));
        assert_eq!((group.count, group.overdue, group.orphans), (3, 2, 1));
        assert_eq!(&*group.obligation, "ends by 5s");
        let ages = [group.oldest, group.oldest_overdue].map(|age| age.as_millis());
        assert_eq!(ages, [61_500, 6_500]);
        let before = DOCUMENT.replace("\"oldest_overdue_seconds\":6.5,", "");
        let groups = read_ledger(before.as_bytes()).unwrap().entries.unwrap();
        assert_eq!(groups[0].oldest_overdue.as_millis(), 61_500, "it may be as old as any");
    }

    #[test]
    fn what_is_held_for_routes_is_read_where_it_is_told() {
        let held = read_ledger(DOCUMENT.as_bytes()).unwrap().held.unwrap();
        let [it] = &held[..] else { panic!("{held:?}") };
        assert_eq!((&*it.route, &*it.kind, it.count, it.still), ("export", "stream", 3, 2));
        assert_eq!((it.birth.line, &*it.text), (9, "route export holds 3 streams"));
        let none = DOCUMENT.replace("routes", "others");
        assert_eq!(read_ledger(none.as_bytes()).unwrap().held, None);
    }

    #[test]
    fn observations_are_read_where_there_are_some() {
        let observed = read_ledger(DOCUMENT.as_bytes()).unwrap().observed.unwrap();
        let [it] = &observed[..] else { panic!("{observed:?}") };
        assert_eq!(
            (&*it.rule, &*it.birth.file, it.birth.line),
            ("dropped-bodies", "src/prices.rs", 41)
        );
        assert_eq!((&*it.text, it.ago), ("10 bodies", Duration::from_millis(1_500)));
        let none = DOCUMENT.replace("observations", "others");
        assert_eq!(read_ledger(none.as_bytes()).unwrap().observed, Some(Vec::new()));
    }

    #[test]
    fn what_is_no_ledger_or_blind_is_refused() {
        assert!(matches!(read_ledger(b"<html>"), Err(LedgerSourceError::Malformed(_))));
        let blind = DOCUMENT.replace("awake", "broken");
        let error = read_ledger(blind.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
    }
}
