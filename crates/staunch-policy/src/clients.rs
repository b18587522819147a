//! Which addresses may ask.

use std::net::IpAddr;

use http::StatusCode;
use staunch_config::Clients;

use crate::refusal::{Reason, Refusal};

/// Refuses an address that may not ask. Over a Unix socket there is none, and only who has named
/// addresses that may has said that nobody else does.
pub(crate) fn check(clients: &Clients, client: Option<IpAddr>) -> Result<(), Refusal> {
    let is_in = |ranges: &[staunch_config::IpRange]| {
        client.is_some_and(|client| ranges.iter().any(|range| range.contains(client)))
    };
    let may = !is_in(&clients.deny) && (clients.allow.is_empty() || is_in(&clients.allow));
    if may {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, Reason::Client, "Your address may not ask here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_denied_may_not_though_allowed() {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let check = |allow: &[&str], deny: &[&str], client: Option<&str>| {
            let clients = Clients { allow: ranges(allow), deny: ranges(deny) };
            check(&clients, client.map(|client| client.parse().unwrap())).is_ok()
        };
        assert!(check(&["10.0.0.0/8"], &[], Some("10.0.0.1")));
        assert!(!check(&["10.0.0.0/8"], &[], Some("11.0.0.1")));
        assert!(!check(&["10.0.0.0/8"], &["10.0.0.0/9"], Some("::ffff:10.0.0.1")));
        assert!(check(&["10.0.0.0/8"], &["10.0.0.0/9"], Some("10.200.0.1")));
        assert!(!check(&["10.0.0.0/8"], &[], None));
        assert!(check(&[], &["10.0.0.0/8"], None));
    }
}
