//! What all connections of a listener, or of a dialer, share.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use staunch_ledger::Ledger;

use crate::{
    admission::Admission, buffer::BufferPool, counts::ListenerCounts, limits::Limits,
    proxied::Proxies, watchdog::Watchdog,
};

#[derive(Debug)]
pub(crate) struct Listening {
    limits: Limits,
    buffers: Arc<BufferPool>,
    watchdog: Watchdog,
    admission: Arc<Admission>,
    /// Whom it believes whose connections are; most listeners believe nobody.
    proxies: OnceLock<Proxies>,
    /// None of a dialer.
    counts: OnceLock<Arc<ListenerCounts>>,
}

impl Listening {
    #[track_caller]
    pub(crate) fn new(limits: Limits) -> Listening {
        Listening {
            buffers: Arc::new(BufferPool::new(limits.buffer, limits.buffers)),
            watchdog: Watchdog::new(&limits),
            admission: Arc::default(),
            proxies: OnceLock::new(),
            counts: OnceLock::new(),
            limits,
        }
    }

    /// One more of the same, which counts with this one: connections and buffers are bounded
    /// together, while each looks after its own connections.
    pub(crate) fn sharing(&self) -> Listening {
        Listening {
            buffers: Arc::clone(&self.buffers),
            watchdog: Watchdog::new(&self.limits),
            admission: Arc::clone(&self.admission),
            proxies: OnceLock::new(),
            counts: self.counts.clone(),
            limits: self.limits.clone(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn buffers(&self) -> &Arc<BufferPool> {
        &self.buffers
    }

    pub(crate) fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(crate) fn proxies(&self) -> Option<&Proxies> {
        self.proxies.get()
    }

    /// Whom to believe, said once.
    pub(crate) fn believe(&self, proxies: Proxies) {
        let _only_once = self.proxies.set(proxies);
    }

    pub(crate) fn counts(&self) -> Option<&ListenerCounts> {
        self.counts.get().map(|counts| &**counts)
    }

    /// What it counts from now on, under its name: the first that was said.
    pub(crate) fn counts_as(
        &self,
        ledger: Ledger,
        name: impl FnOnce() -> String,
    ) -> &ListenerCounts {
        self.counts.get_or_init(|| ListenerCounts::of(ledger, name()))
    }

    /// Looks after the connections until dropped.
    pub(crate) async fn watch(&self) -> Infallible {
        self.watchdog.run(&self.limits, &self.buffers).await
    }
}
