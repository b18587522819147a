//! `/debug/ledger`: everything live, as JSON.
//!
//! Groups say how many of what were born where; entries are the single resources, a page at a
//! time in the order of their numbers. The same filter holds for both: a group is shown when
//! an entry of it could be.

mod entry;
mod filter;
mod holding;
mod site;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use staunch_ledger::{Detector, Entry, Group, Ledger, Snapshot};

use self::{entry::EntryView, filter::Filter, holding::HoldingView};
use crate::{
    owners::Owners,
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) use self::{
    entry::{Brief, site_name},
    filter::PARAMETERS,
    site::{PARAMETERS as SITES_PARAMETERS, sites},
};

pub(crate) fn ledger(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let filter = Filter::read(visit.query)?;
    let ledger = visit.shared.ledger;
    reply::json(&view(ledger, &ledger.snapshot(), &filter)).map_err(Refusal::failed)
}

#[derive(Serialize)]
struct LedgerView {
    /// Whether the search for overdue entries can be believed.
    detector: &'static str,
    totals: Totals,
    groups: Vec<GroupView>,
    /// For which routes it is held, for whom and by whom; in a service that has routes.
    routes: Vec<HoldingView>,
    entries: Vec<EntryView>,
    /// What `after` must be for the next page, if there is one.
    next: Option<String>,
    observations: Observations,
}

#[derive(Serialize)]
struct Totals {
    entries: usize,
    bytes: u64,
    overdue: usize,
    /// Entries that pass the filter, on all pages.
    matching: usize,
    /// Births that found no room on the ledger.
    unrecorded: u64,
}

#[derive(Serialize)]
struct GroupView {
    kind: &'static str,
    born_at: String,
    state: &'static str,
    count: u64,
    bytes: u64,
    oldest_seconds: f64,
    stalest_seconds: f64,
    overdue: u64,
    oldest_overdue_seconds: f64,
    orphans: u64,
    /// Of one that is overdue, if any is.
    obligation: String,
}

/// What was seen to happen, by rule and one by one.
#[derive(Serialize)]
struct Observations {
    counts: BTreeMap<&'static str, u64>,
    /// The latest last.
    recent: Vec<ObservationView>,
}

#[derive(Serialize)]
struct ObservationView {
    rule: &'static str,
    kind: &'static str,
    born_at: String,
    text: String,
    seconds_ago: f64,
}

fn view(ledger: Ledger, snapshot: &Snapshot, filter: &Filter) -> LedgerView {
    let (overdue, detector) = snapshot.overdue();
    let all = snapshot.entries();
    let mut matching: Vec<&Entry> = all.iter().filter(|entry| filter.admits(entry)).collect();
    let totals = Totals {
        entries: all.len(),
        bytes: all.iter().map(Entry::bytes).sum(),
        overdue: overdue.len(),
        matching: matching.len(),
        unrecorded: snapshot.unrecorded(),
    };
    matching.retain(|entry| filter.is_after(entry));
    matching.sort_unstable_by_key(|entry| entry.id());
    let more = matching.len() > filter.limit;
    matching.truncate(filter.limit);
    let owners = Owners::new(snapshot);
    let holdings = snapshot.holdings();
    let routes = holdings.iter().filter(|it| filter.admits_holding(it));
    LedgerView {
        detector: if detector == Detector::Awake { "awake" } else { "broken" },
        totals,
        groups: snapshot.groups().iter().filter(|g| filter.admits_group(g)).map(group).collect(),
        routes: routes.map(HoldingView::new).collect(),
        next: matching.last().filter(|_| more).map(|last| last.id().number().to_string()),
        entries: matching.iter().map(|entry| EntryView::new(entry, &owners)).collect(),
        observations: observations(ledger, snapshot),
    }
}

fn group(group: &Group) -> GroupView {
    GroupView {
        kind: group.kind.name(),
        born_at: site_name(group.born_at),
        state: group.state.name(),
        count: group.count,
        bytes: group.bytes,
        oldest_seconds: seconds(group.oldest),
        stalest_seconds: seconds(group.stalest),
        overdue: group.overdue,
        oldest_overdue_seconds: seconds(group.oldest_overdue),
        orphans: group.orphans,
        obligation: group.obligation.to_string(),
    }
}

fn observations(ledger: Ledger, snapshot: &Snapshot) -> Observations {
    let recent = ledger.observations().into_iter().map(|observation| ObservationView {
        rule: observation.rule,
        kind: observation.kind.name(),
        born_at: site_name(observation.born_at),
        text: observation.text,
        seconds_ago: seconds(snapshot.taken().since(observation.at)),
    });
    Observations {
        counts: ledger.observation_counts().into_iter().collect(),
        recent: recent.collect(),
    }
}

/// Whole milliseconds, as seconds.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use staunch_ledger::{Account, Kind, Obligation, State};

    use super::*;
    use crate::query::Query;

    fn shown(ledger: Ledger, query: &str) -> serde_json::Value {
        let query = Query::parse(Some(query), PARAMETERS).unwrap();
        let filter = Filter::read(&query).unwrap();
        let snapshot = ledger.snapshot();
        serde_json::to_value(view(ledger, &snapshot, &filter)).unwrap()
    }

    #[test]
    fn an_entry_shows_all_that_the_ledger_knows() {
        let ledger = Ledger::new();
        let scope = ledger.open(Kind::SCOPE, Obligation::EndsWithParent);
        let limit = Duration::from_secs(30);
        let body = scope.child(Kind::BODY, Obligation::ProgressWithin(limit));
        body.label("GET /export");
        body.add_bytes(4096);
        body.set_state(State::Write);
        ledger.advance_clock(Duration::from_secs(45));
        let shown = shown(*ledger, "kind=body");
        let entry = &shown["entries"][0];
        assert_eq!(entry["id"], body.id().to_string());
        assert_eq!(entry["number"], body.id().number().to_string());
        assert_eq!((&entry["kind"], &entry["state"]), (&"body".into(), &"write".into()));
        assert_eq!(entry["label"], "GET /export");
        assert_eq!(entry["bytes"], 4096);
        assert_eq!(entry["obligation"], "makes progress within 30s");
        assert!((44.0..46.0).contains(&entry["age_seconds"].as_f64().unwrap()));
        assert!((14.0..16.0).contains(&entry["overdue_by_seconds"].as_f64().unwrap()));
        assert_eq!(entry["parent"], scope.id().number().to_string());
        assert_eq!(entry["owners"][0]["kind"], "scope");
        assert_eq!(shown["detector"], "awake");
        assert_eq!(shown["totals"]["entries"], 2);
        assert_eq!(shown["totals"]["matching"], 1);
        assert_eq!(shown["totals"]["overdue"], 1);
        let groups = shown["groups"].as_array().unwrap();
        assert_eq!((groups.len(), &groups[0]["orphans"]), (1, &0.into()));
        assert_eq!(groups[0]["obligation"], entry["obligation"]);
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_overlap() {
        let ledger = Ledger::new();
        let open = |_| ledger.open(Kind::TASK, Obligation::EndsWithParent);
        let accounts: Vec<Account> = (0..7).map(open).collect();
        let mut numbers = Vec::new();
        let mut query = "limit=3".to_owned();
        loop {
            let page = shown(*ledger, &query);
            let entries = page["entries"].as_array().unwrap();
            numbers
                .extend(entries.iter().map(|entry| entry["number"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit=3&after={next}");
        }
        let mut expected: Vec<u64> = accounts.iter().map(|account| account.id().number()).collect();
        expected.sort_unstable();
        assert_eq!(numbers, expected.iter().map(u64::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_held_for_a_route_is_shown_with_its_clients_and_servers() {
        let ledger = Ledger::new();
        let client = ledger.open(Kind::CONNECTION, Obligation::EndsWithParent);
        client.peer("10.0.0.7:4711".parse().unwrap());
        let request = client.child(Kind::REQUEST, Obligation::EndsWithParent);
        request.label_routed("export", &["GET /export/17"]);
        request.set_upstream("10.0.1.2:8080");
        let shown_all = shown(*ledger, "route=export");
        let entry = &shown_all["entries"][0];
        assert_eq!(
            (&entry["label"], &entry["route"]),
            (&"GET /export/17".into(), &"export".into())
        );
        assert_eq!(entry["upstream"], "10.0.1.2:8080");
        assert_eq!(shown_all["totals"]["matching"], 1);
        let route = &shown_all["routes"][0];
        assert_eq!((&route["route"], &route["count"]), (&"export".into(), &1.into()));
        assert_eq!(route["clients"][0]["address"], "10.0.0.7");
        assert_eq!(route["upstreams"][0]["address"], "10.0.1.2:8080");
        assert!(route["text"].as_str().unwrap().starts_with("route export holds 1 request, "));
        let none = shown(*ledger, "route=other");
        assert_eq!((&none["routes"], &none["entries"]), (&json!([]), &json!([])));
    }

    #[test]
    fn filters_narrow_entries_and_groups() {
        let ledger = Ledger::new();
        let old = ledger.open(Kind::TASK, Obligation::EndsWithParent);
        old.set_state(State::ReadRest);
        ledger.advance_clock(Duration::from_mins(1));
        let _young = ledger.open(Kind::TASK, Obligation::EndsWithParent);
        let check = |query: &str, entries: usize, groups: usize| {
            let shown = shown(*ledger, query);
            assert_eq!(shown["entries"].as_array().unwrap().len(), entries, "{query}");
            assert_eq!(shown["groups"].as_array().unwrap().len(), groups, "{query}");
        };
        check("", 2, 2);
        check("kind=task", 2, 2);
        check("kind=connection", 0, 0);
        check("state=read+rest", 1, 1);
        check("min_age=30s", 1, 1);
        check("min_age=2m", 0, 0);
        check("overdue=1", 0, 0);
        check("site=ledger.rs", 2, 2);
        check("site=elsewhere", 0, 0);
    }
}
