//! What listeners have accepted and refused, by their name; without one, by their endpoint.

use prometheus_client::registry::Registry;
use staunch_ledger::Ledger;
use staunch_net::listeners as all;

use super::{Named, named_counters};

/// Adds them.
pub(super) fn listeners(registry: &mut Registry, ledger: Ledger) {
    let listeners = all(ledger);
    let help = "Connections accepted";
    let accepted = named_counters(registry, "staunch_connections_accepted", help);
    let help = "Connections that were reset";
    let refused = named_counters(registry, "staunch_connections_refused", help);
    let help = "TLS handshakes of clients that failed";
    let failed = named_counters(registry, "staunch_tls_handshakes_failed", help);
    for listener in &listeners {
        let name = || ("listener", listener.name.clone());
        let labels = |reason: &str| -> Named { vec![name(), ("reason", reason.to_owned())] };
        accepted.get_or_create(&vec![name()]).inc_by(listener.accepted);
        for (why, count) in &listener.refused {
            refused.get_or_create(&labels(why.name())).inc_by(*count);
        }
        for (why, count) in &listener.handshakes_failed {
            failed.get_or_create(&labels(why.name())).inc_by(*count);
        }
    }
}
