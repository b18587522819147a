//! `/debug/ledger/sites`: the lines that open entries, and the switch for their backtraces.

use std::collections::HashMap;

use hyper::Method;
use serde::Serialize;
use staunch_ledger::{Site, sites as all_sites};

use super::site_name;
use crate::{
    query::QueryError,
    refusal::Refusal,
    reply::{self, Reply},
    route::Visit,
};

pub(crate) const PARAMETERS: &[&str] = &["at", "escalate"];

/// Sites that are shown. A program has hundreds.
const SHOWN_MAX: usize = 10_000;

#[derive(Serialize)]
struct SitesView {
    sites: Vec<SiteView>,
    /// There are more than are shown.
    truncated: bool,
}

#[derive(Serialize)]
struct SiteView {
    at: String,
    /// Entries born there that live.
    live: usize,
    /// Births record a backtrace.
    escalated: bool,
    /// Backtraces that are kept.
    backtraces: usize,
}

pub(crate) fn sites(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    if visit.method == Method::POST {
        switch(visit)?;
    }
    let at = visit.query.find("at");
    let snapshot = visit.shared.ledger.snapshot();
    let mut live = HashMap::<String, usize>::new();
    for entry in snapshot.entries() {
        *live.entry(site_name(entry.born_at())).or_default() += 1;
    }
    let mut sites: Vec<SiteView> = all_sites()
        .map(|site| SiteView::new(site, &live))
        .filter(|site| at.is_none_or(|at| site.at == at))
        .take(SHOWN_MAX + 1)
        .collect();
    let truncated = sites.len() > SHOWN_MAX;
    sites.truncate(SHOWN_MAX);
    sites.sort_by(|a, b| b.live.cmp(&a.live).then_with(|| a.at.cmp(&b.at)));
    reply::json(&SitesView { sites, truncated }).map_err(Refusal::failed)
}

/// Switches the backtraces of all sites on one line.
fn switch(visit: &Visit<'_>) -> Result<(), Refusal> {
    let missing = |name, expected| QueryError::Missing { name, expected };
    let at = visit.query.find("at").ok_or_else(|| missing("at", "a line, as FILE:LINE"))?;
    let escalate = visit.query.flag("escalate")?;
    let escalate = escalate.ok_or_else(|| missing("escalate", "1 to record, 0 to stop"))?;
    let mut found = false;
    for site in all_sites().filter(|site| site_name(site.location()) == at) {
        if escalate {
            site.escalate();
        } else {
            site.calm();
        }
        found = true;
    }
    if !found {
        return Err(Refusal::NotFound(format!(
            "No entry was ever born at `{at}`; GET {} lists the lines.",
            "/debug/ledger/sites"
        )));
    }
    tracing::info!(at, escalate, "backtraces switched");
    Ok(())
}

impl SiteView {
    fn new(site: &Site, live: &HashMap<String, usize>) -> SiteView {
        let at = site_name(site.location());
        SiteView {
            live: live.get(&at).copied().unwrap_or_default(),
            escalated: site.is_escalated(),
            backtraces: site.backtraces().len(),
            at,
        }
    }
}
