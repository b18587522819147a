//! What is held for a route, on the ledger: so that whoever looks there sees for which route, client
//! and server it is ([`Snapshot::holdings`](staunch_ledger::Snapshot::holdings)).
//!
//! A request on the fast path has one account for all of that. On the long way the server of HTTP
//! has one for it before a route is known, and what begins then is a stream below it.

use std::panic::Location;

use staunch_ledger::{Account, Kind, Ledger, Obligation, Routed};
use staunch_scope::current_task;

/// Opens the account of an exchange with a server, below what runs: until it is dropped. Of bytes
/// and datagrams, which have no route, `route` is the service.
#[track_caller]
pub(crate) fn exchange(route: &str, parts: &[&str]) -> Account {
    let account = stream();
    account.label_routed(route, parts);
    account
}

#[track_caller]
fn stream() -> Account {
    let (born_at, ends) = (Location::caller(), Obligation::EndsWithParent);
    Ledger::current().open_at(born_at, Kind::STREAM, ends, current_task())
}

/// The account of what follows an exchange, below what runs now; `before` ends.
#[track_caller]
pub(crate) fn succeeding(before: Account) -> Account {
    let known = before.ledger().entry(before.id());
    let account = stream();
    // There is none if the ledger had no more room for labels.
    let label = known.as_ref().and_then(|entry| entry.label().routed());
    if let Some(Routed { route, upstream, text, .. }) = label {
        account.label_routed(route, &[text]);
        account.set_upstream(upstream.as_deref().unwrap_or_default());
    }
    drop(before); // now that there is another one
    account
}
