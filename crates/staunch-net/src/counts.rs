//! What listeners have accepted and refused, for reports and for the log.
//!
//! Each reason has a count, which is a relaxed atomic, and is said in the log once in ten seconds at
//! most. A connection that nothing is wrong with costs one such count, and holds nothing for it.
//! Listeners of one name are one: the shares of several cores, and the one that takes the place of
//! another while that drains.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use staunch_ledger::{Ledger, Seldom};

use crate::tls::HandshakeFailure;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// Its address has as many as it may
    /// ([`Limits::connections_per_ip`](crate::Limits::connections_per_ip)).
    PerIp,
    /// None are taken for the time being
    /// ([`Listener::refuse_while`](crate::Listener::refuse_while)).
    Pressure,
    /// It did not begin with the PROXY protocol, as those of its peer are to
    /// ([`Listener::believe_proxies`](crate::Listener::believe_proxies)).
    ProxyProtocol,
}

impl Refused {
    const ALL: [Refused; 3] = [Refused::PerIp, Refused::Pressure, Refused::ProxyProtocol];

    /// Its name in metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Refused::PerIp => "per-ip",
            Refused::Pressure => "pressure",
            Refused::ProxyProtocol => "proxy-protocol",
        }
    }
}

/// A listener, as a report sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerReport {
    /// What it is called ([`Listener::named`](crate::Listener::named)), or else its endpoint.
    pub name: String,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were refused. Of those whose peer is to say for whom it speaks, this is
    /// known only after they were accepted.
    pub refused: Vec<(Refused, u64)>,
    /// TLS handshakes that failed; of a listener without TLS there are none.
    pub handshakes_failed: Vec<(HandshakeFailure, u64)>,
}

/// The listeners on `ledger` that live, or have connections that do.
pub fn listeners(ledger: Ledger) -> Vec<ListenerReport> {
    let known: Vec<_> = known().iter().filter_map(Weak::upgrade).collect();
    known.iter().filter(|counts| counts.ledger == ledger).map(|counts| counts.report()).collect()
}

/// What the listeners of one name count.
#[derive(Debug)]
pub(crate) struct ListenerCounts {
    ledger: Ledger,
    name: String,
    accepted: AtomicU64,
    refused: [Reason; Refused::ALL.len()],
    speaks_tls: AtomicBool,
    handshakes_failed: [Reason; HandshakeFailure::ALL.len()],
}

#[derive(Debug, Default)]
struct Reason {
    count: AtomicU64,
    said: Seldom,
}

impl Reason {
    /// It has happened. Returns how often since it was said last, if it is to be said now.
    fn happened(&self, ledger: Ledger) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.said.happened(ledger.now())
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl ListenerCounts {
    /// Those of the listeners that are called so.
    pub(crate) fn of(ledger: Ledger, name: String) -> Arc<ListenerCounts> {
        let mut known = known();
        known.retain(|counts| counts.strong_count() > 0); // as many as there are, never more
        let mut living = known.iter().filter_map(Weak::upgrade);
        if let Some(same) = living.find(|counts| counts.ledger == ledger && counts.name == name) {
            return same;
        }
        let counts = Arc::new(ListenerCounts {
            ledger,
            name,
            accepted: AtomicU64::new(0),
            refused: Default::default(),
            speaks_tls: AtomicBool::new(false),
            handshakes_failed: Default::default(),
        });
        known.push(Arc::downgrade(&counts));
        counts
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn speaks_tls(&self) {
        self.speaks_tls.store(true, Ordering::Relaxed);
    }

    /// A connection of `peer` was refused; `error` says what is wrong, and what to do about it.
    pub(crate) fn refused(&self, why: Refused, peer: Option<impl Display>, error: impl Display) {
        let (listener, reason) = (self.name.as_str(), why.name());
        let peer = peer.map(tracing::field::display);
        if let Some(times) = self.refused[why as usize].happened(self.ledger) {
            tracing::warn!(listener, reason, times, peer, %error, "connections are refused");
        } else {
            tracing::debug!(listener, reason, peer, %error, "a connection is refused");
        }
    }

    /// A connection was refused since it took too long, which is in the log already.
    pub(crate) fn refused_late(&self, why: Refused) {
        self.refused[why as usize].count.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake with `peer` has failed. One that took too long is in the log already.
    pub(crate) fn handshake_failed(
        &self,
        why: HandshakeFailure,
        peer: Option<impl Display>,
        error: impl Display,
    ) {
        let (listener, reason) = (self.name.as_str(), why.name());
        let peer = peer.map(tracing::field::display);
        let times = self.handshakes_failed[why as usize].happened(self.ledger);
        if let Some(times) = times.filter(|_| why != HandshakeFailure::Timeout) {
            tracing::warn!(listener, reason, times, peer, %error, "TLS handshakes fail");
        } else {
            tracing::debug!(listener, reason, peer, %error, "a TLS handshake has failed");
        }
    }

    fn report(&self) -> ListenerReport {
        let refused = Refused::ALL.into_iter().zip(self.refused.iter().map(Reason::count));
        let failed = self.handshakes_failed.iter().map(Reason::count);
        let failed = HandshakeFailure::ALL.into_iter().zip(failed);
        ListenerReport {
            name: self.name.clone(),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: refused.collect(),
            handshakes_failed: failed.filter(|_| self.speaks_tls.load(Ordering::Relaxed)).collect(),
        }
    }
}

/// In the order that they were named; none is kept alive.
fn known() -> MutexGuard<'static, Vec<Weak<ListenerCounts>>> {
    static KNOWN: Mutex<Vec<Weak<ListenerCounts>>> = Mutex::new(Vec::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place() {
        let places = Refused::ALL.map(|why| why as usize);
        assert!(places.into_iter().eq(0..places.len()));
        let places = HandshakeFailure::ALL.map(|why| why as usize);
        assert!(places.into_iter().eq(0..places.len()));
    }
}
