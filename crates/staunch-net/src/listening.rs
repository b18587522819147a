//! What all connections of a listener, or of a dialer, share.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use crate::{
    admission::Admission, buffer::BufferPool, limits::Limits, proxied::Proxies, watchdog::Watchdog,
};

#[derive(Debug)]
pub(crate) struct Listening {
    limits: Limits,
    buffers: Arc<BufferPool>,
    watchdog: Watchdog,
    admission: Arc<Admission>,
    /// Whom it believes whose connections are; most listeners believe nobody.
    proxies: OnceLock<Proxies>,
}

impl Listening {
    #[track_caller]
    pub(crate) fn new(limits: Limits) -> Listening {
        Listening {
            buffers: Arc::new(BufferPool::new(limits.buffer, limits.buffers)),
            watchdog: Watchdog::new(&limits),
            admission: Arc::default(),
            proxies: OnceLock::new(),
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

    /// Looks after the connections until dropped.
    pub(crate) async fn watch(&self) -> Infallible {
        self.watchdog.run(&self.limits, &self.buffers).await
    }
}
