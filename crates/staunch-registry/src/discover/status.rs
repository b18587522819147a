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
    /// Since when there is none: before the first since it is asked, and then since it was noticed.
    pub lost: Option<Instant>,
    /// Answers that could not be used, or did not come.
    pub failures: u64,
}

impl Status {
    /// Of a discovery that begins now.
    pub fn new(discovery: &Discovery) -> Status {
        let source = match &discovery.source {
            DiscoverySource::File(_) => "file",
            DiscoverySource::Dns(_) => "dns",
            DiscoverySource::Etcd(_) => "etcd",
            DiscoverySource::Consul(_) => "consul",
        };
        let known = Known { lost: Some(Instant::now()), ..Known::default() };
        Status { source, known: Mutex::new(known) }
    }

    /// Who is asked: `file`, `dns`, `etcd` or `consul`.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Now.
    pub fn known(&self) -> Known {
        *self.lock()
    }

    pub(super) fn succeeded(&self, now: Instant) {
        let mut known = self.lock();
        known.succeeded = Some(now);
        known.lost = None;
    }

    pub(super) fn changed(&self, servers: usize, now: Instant) {
        let mut known = self.lock();
        known.servers = servers;
        known.changed = Some(now);
    }

    pub(super) fn failed(&self) {
        self.lock().failures += 1;
    }

    pub(super) fn lost(&self, now: Instant) {
        let mut known = self.lock();
        known.failures += 1;
        known.lost.get_or_insert(now);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
