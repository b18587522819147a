//! How the discovery of a service goes, for metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use staunch_config::{Discovery, DiscoverySource};
use tokio::time::Instant;

/// How the discovery of a service goes.
#[derive(Debug)]
pub struct Status {
    source: &'static str,
    known: Mutex<Known>,
}

/// What is known at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// How many servers.
    pub servers: usize,
    /// Since when it is these; `None` before the first answer.
    pub changed: Option<Instant>,
    /// When there was an answer last that could be used.
    pub succeeded: Option<Instant>,
    /// Since when there is none.
    pub lost: Option<Instant>,
    /// Answers that could not be used, or did not come.
    pub failures: u64,
}

impl Status {
    /// Of a discovery that has not begun.
    pub fn new(discovery: &Discovery) -> Status {
        let source = match &discovery.source {
            DiscoverySource::File(_) => "file",
            DiscoverySource::Dns(_) => "dns",
            DiscoverySource::Etcd(_) => "etcd",
            DiscoverySource::Consul(_) => "consul",
        };
        Status { source, known: Mutex::default() }
    }

    /// Who is asked: `file`, `dns`, `etcd` or `consul`.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Now.
    pub fn known(&self) -> Known {
        *self.lock()
    }

    /// Whether it was lost before.
    pub(super) fn succeeded(&self, now: Instant) -> bool {
        let mut known = self.lock();
        known.succeeded = Some(now);
        known.lost.take().is_some()
    }

    pub(super) fn changed(&self, servers: usize, now: Instant) {
        let mut known = self.lock();
        known.servers = servers;
        known.changed = Some(now);
    }

    pub(super) fn failed(&self) {
        self.lock().failures += 1;
    }

    /// Whether that is new.
    pub(super) fn lost(&self, now: Instant) -> bool {
        let mut known = self.lock();
        known.failures += 1;
        let is_new = known.lost.is_none();
        known.lost.get_or_insert(now);
        is_new
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
