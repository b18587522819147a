//! Servers below a prefix of etcd: what is there, and then each change from that revision on.
//!
//! The value of a key is `host:port`, or JSON: `{"address": "host:port", "weight": 2}`. What else is in the
//! JSON is for others. An entry that is neither is left out, and logged: one instance that registers itself
//! wrongly does not keep the others from being found.
//!
//! All is read again when the watch is lost, when the changes since are no longer kept (compaction), and
//! when nothing has come for [`QUIET`]: a watch says nothing when its server is cut off from the others.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use serde::Deserialize;
use staunch_config::{Endpoint, EtcdDiscovery};
use staunch_scope::{Cancelled, Scope, timeout};

use super::{DiscoveryError, Found, Source, found::at};
use crate::{
    ask::{AskError, shown},
    etcd::{Changes, Etcd, EventKind, KeyValue, Watch},
};

/// After so long without a word all is read again: an entry of a minute is what most leases are, and a
/// thousand gateways ask etcd 17 times a second by it.
const QUIET: Duration = Duration::from_mins(1);

/// A longer key is none of ours: it is left out, as an entry that is no server.
const KEY_MAX: usize = 1 << 10;

pub(super) struct EtcdSource {
    etcd: Etcd,
    prefix: String,
    entries: BTreeMap<Vec<u8>, Entry>,
    watch: Option<Watch>,
}

/// What a key says: a server, or what it says instead.
type Entry = Result<Endpoint, String>;

#[derive(Deserialize)]
struct Described {
    address: String,
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

impl EtcdSource {
    pub(super) fn new(scope: &Scope<Infallible>, etcd: &EtcdDiscovery) -> EtcdSource {
        let login = etcd.login.as_ref().map(|login| (login.user.as_str(), &login.password_file));
        EtcdSource {
            etcd: Etcd::new(scope, &etcd.servers, etcd.ca.as_ref(), login),
            prefix: etcd.prefix.clone(),
            entries: BTreeMap::new(),
            watch: None,
        }
    }

    /// Reads all, and watches from there on.
    async fn read(&mut self) -> Result<Found, DiscoveryError> {
        let range = self.etcd.range(&self.prefix, Endpoint::MAX + 1).await?;
        if range.kvs.len() > Endpoint::MAX {
            return Err(DiscoveryError::TooMany);
        }
        self.entries.clear();
        for entry in range.kvs {
            self.put(entry);
        }
        self.watch = Some(self.etcd.watch(&self.prefix, range.header.revision + 1).await?);
        Ok(self.found())
    }

    /// Waits for changes; `None` when all is to be read again.
    async fn changed(&mut self, mut watch: Watch) -> Result<Option<Found>, DiscoveryError> {
        loop {
            let changes = match timeout(QUIET, watch.next()).await {
                Ok(changes) => changes?,
                Err(Cancelled::DeadlineExceeded | Cancelled::Requested) => return Ok(None),
            };
            if changes.compact_revision != 0 {
                return Ok(None);
            }
            if changes.canceled {
                let reason = shown(changes.cancel_reason.as_bytes());
                let reason = format!("the watch was ended: {reason}");
                return Err(AskError::Nonsense { url: watch.url().to_owned(), reason }.into());
            }
            if !changes.events.is_empty() {
                self.apply(changes)?;
                self.watch = Some(watch);
                return Ok(Some(self.found()));
            }
        }
    }

    fn apply(&mut self, changes: Changes) -> Result<(), DiscoveryError> {
        for event in changes.events {
            match event.kind {
                EventKind::Put => self.put(event.kv),
                EventKind::Delete => _ = self.entries.remove(&kept(event.kv.key)),
            }
            if self.entries.len() > Endpoint::MAX {
                return Err(DiscoveryError::TooMany);
            }
        }
        Ok(())
    }

    fn put(&mut self, KeyValue { key, value }: KeyValue) {
        let is_ours = key.len() <= KEY_MAX;
        let too_long = || format!("a key of {} bytes, which are more than {KEY_MAX}", key.len());
        let entry = if is_ours { read(&value) } else { Err(too_long()) };
        self.entries.insert(kept(key), entry);
    }

    fn found(&self) -> Found {
        let mut found = Found::default();
        for (key, entry) in &self.entries {
            match entry {
                Ok(endpoint) => found.add(endpoint.clone()),
                Err(told) => found.refuse(&String::from_utf8_lossy(key), told),
            }
        }
        found
    }
}

impl Source for EtcdSource {
    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        if let Some(watch) = self.watch.take()
            && let Some(found) = self.changed(watch).await?
        {
            return Ok(found);
        }
        self.read().await
    }
}

/// What is kept of a key: of one that is too long a part, which is still none of ours.
fn kept(mut key: Vec<u8>) -> Vec<u8> {
    key.truncate(KEY_MAX + 1);
    key.shrink_to_fit();
    key
}

fn read(value: &[u8]) -> Entry {
    let text = str::from_utf8(value).unwrap_or_default().trim();
    let told = if text.starts_with('{') {
        serde_json::from_str(text).ok().and_then(|it: Described| at(&it.address, it.weight))
    } else {
        at(text, 1)
    };
    told.ok_or_else(|| shown(value))
}

#[cfg(test)]
mod tests;
