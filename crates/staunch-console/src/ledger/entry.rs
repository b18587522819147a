//! One entry, as JSON shows it.

use std::panic::Location;

use serde::Serialize;
use staunch_ledger::{Entry, Kind};

use super::seconds;
use crate::owners::Owners;

#[derive(Serialize)]
pub(super) struct EntryView {
    /// As log lines show it.
    id: String,
    /// The same as a number, in quotes since it may be above 2^53; what `after` takes, and the
    /// number of a task's goroutine.
    number: String,
    kind: &'static str,
    state: &'static str,
    born_at: String,
    age_seconds: f64,
    without_progress_seconds: f64,
    bytes: u64,
    /// Of a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    polls: Option<u64>,
    label: String,
    /// The route that it is held for, and the server that works for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    fd: Option<i32>,
    /// The number of its owner, living or not.
    parent: Option<String>,
    orphan: bool,
    obligation: String,
    overdue_by_seconds: Option<f64>,
    /// The living owners, the nearest first.
    owners: Vec<Brief>,
    /// How it came to be, where its birth line is told to record that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backtrace: Vec<String>,
}

/// An entry in short, to be shown beside another.
#[derive(Serialize)]
pub(crate) struct Brief {
    id: String,
    number: String,
    kind: &'static str,
    state: &'static str,
    born_at: String,
    label: String,
}

impl EntryView {
    pub(super) fn new(entry: &Entry, owners: &Owners<'_>) -> EntryView {
        let routed = entry.label().routed();
        EntryView {
            id: entry.id().to_string(),
            number: entry.id().number().to_string(),
            kind: entry.kind().name(),
            state: entry.state().name(),
            born_at: site_name(entry.born_at()),
            age_seconds: seconds(entry.age()),
            without_progress_seconds: seconds(entry.without_progress()),
            bytes: entry.bytes(),
            polls: (entry.kind() == Kind::TASK).then(|| entry.polls()),
            label: entry.label().to_string(),
            route: routed.map(|it| it.route.to_string()),
            upstream: routed.and_then(|it| it.upstream.as_deref()).map(str::to_owned),
            fd: entry.fd(),
            parent: entry.parent().map(|parent| parent.number().to_string()),
            orphan: entry.is_orphan(),
            obligation: entry.obligation().to_string(),
            overdue_by_seconds: entry.overdue_by().map(seconds),
            owners: owners.of(entry).map(Brief::new).collect(),
            backtrace: backtrace(entry),
        }
    }
}

impl Brief {
    pub(crate) fn new(entry: &Entry) -> Brief {
        Brief {
            id: entry.id().to_string(),
            number: entry.id().number().to_string(),
            kind: entry.kind().name(),
            state: entry.state().name(),
            born_at: site_name(entry.born_at()),
            label: entry.label().to_string(),
        }
    }
}

/// A birth line, as the console shows and takes it: `FILE:LINE`.
pub(crate) fn site_name(location: &Location<'_>) -> String {
    format!("{}:{}", location.file(), location.line())
}

/// The lines of the entry's backtrace, if its site recorded one.
fn backtrace(entry: &Entry) -> Vec<String> {
    let site = entry.site();
    if !site.is_escalated() {
        return Vec::new();
    }
    let recorded = site.backtraces().into_iter().find(|(id, _)| *id == entry.id());
    let text = recorded.map(|(_, backtrace)| backtrace.to_string()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
