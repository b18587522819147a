//! Which entries are wanted.

use std::time::Duration;

use staunch_ledger::{Entry, EntryId, Group, Holding, Kind, State};

use super::site_name;
use crate::query::{Query, QueryError};

pub(crate) const PARAMETERS: &[&str] =
    &["kind", "site", "route", "state", "min_age", "overdue", "limit", "after"];

/// Entries on a page, unless told otherwise.
const LIMIT_DEFAULT: u64 = 100;
/// At some 500 bytes an entry, half a megabyte.
const LIMIT_MAX: u64 = 1000;

/// The conditions of a request, all of which must hold.
#[derive(Debug)]
pub(super) struct Filter {
    kind: Option<Kind>,
    /// Part of a birth line, as it is shown.
    site: Option<String>,
    /// The route that it is held for.
    route: Option<String>,
    state: Option<State>,
    min_age: Duration,
    overdue: bool,
    after: Option<EntryId>,
    /// Entries on the page.
    pub(super) limit: usize,
}

impl Filter {
    pub(super) fn read(query: &Query) -> Result<Filter, QueryError> {
        let limit = query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
        let after = query.number("after", 0..=u64::MAX)?;
        Ok(Filter {
            kind: query.value("kind", || one_of(Kind::all().map(Kind::name)), Kind::find)?,
            site: query.find("site").map(str::to_owned),
            route: query.find("route").map(str::to_owned),
            state: query.value("state", || one_of(State::ALL.map(State::name)), State::find)?,
            min_age: query.duration("min_age")?.unwrap_or_default(),
            overdue: query.flag("overdue")?.unwrap_or_default(),
            after: after.map(EntryId::from_number),
            limit: limit as usize,
        })
    }

    /// Whether an entry is wanted, on whatever page.
    pub(super) fn admits(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| entry.kind() == kind)
            && self.state.is_none_or(|state| entry.state() == state)
            && entry.age() >= self.min_age
            && (!self.overdue || entry.overdue_by().is_some())
            && self.site.as_ref().is_none_or(|site| site_name(entry.born_at()).contains(site))
            && self.route.as_ref().is_none_or(|route| {
                entry.label().routed().is_some_and(|routed| *routed.route == **route)
            })
    }

    /// Whether an entry of what is held for a route could be wanted.
    pub(super) fn admits_holding(&self, holding: &Holding) -> bool {
        self.kind.is_none_or(|kind| holding.kind == kind)
            && holding.oldest >= self.min_age
            && self.site.as_ref().is_none_or(|site| site_name(holding.born_at).contains(site))
            && self.route.as_ref().is_none_or(|route| *holding.route == **route)
    }

    /// Whether an entry of the group could be wanted.
    pub(super) fn admits_group(&self, group: &Group) -> bool {
        self.kind.is_none_or(|kind| group.kind == kind)
            && self.state.is_none_or(|state| group.state == state)
            && group.oldest >= self.min_age
            && (!self.overdue || group.overdue > 0)
            && self.site.as_ref().is_none_or(|site| site_name(group.born_at).contains(site))
    }

    /// Whether an entry comes after the last page.
    pub(super) fn is_after(&self, entry: &Entry) -> bool {
        self.after.is_none_or(|after| entry.id() > after)
    }
}

fn one_of(names: impl IntoIterator<Item = &'static str>) -> String {
    format!("one of {}", names.into_iter().collect::<Vec<_>>().join(", "))
}
