//! Asks which servers a service has, again and again, and keeps to what was known when there is no answer.
//!
//! Each source (`file`, `dns`, `etcd`, `consul`) is a struct whose `next` waits for something that may be
//! new and gives all that there is; what a source cannot do it says by an error. What becomes of answers
//! and errors is decided in one place, [`keep`], the same for all of them.

mod consul;
mod dns;
mod etcd;
mod file;
mod files;
mod found;
mod said;
mod status;

use std::{convert::Infallible, sync::Arc};

use staunch_config::{Discovery, DiscoverySource, Endpoint, OnEmpty};
use staunch_ledger::Ledger;
use staunch_scope::{Context, ScopeBuilder, sleep};
use tokio::time::Instant;

use self::{
    consul::ConsulSource, dns::DnsSource, etcd::EtcdSource, file::FileSource, found::Found,
    said::Said,
};
pub use self::{
    files::check_files,
    status::{Known, Status},
};
use crate::{ask::AskError, backoff::Backoff, reading::ReadFileError};

/// A source has no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A registry has no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFileError),
    /// A line of a file is no server.
    #[error("{file}:{line}: `{written}` {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is written there.
        written: String,
        /// What is wrong.
        reason: String,
    },
    /// No name server has an answer.
    #[error("{name}: {reason}")]
    Dns {
        /// What was looked up.
        name: String,
        /// Why there is no answer.
        reason: String,
    },
    /// There are too many.
    #[error("names more than {limit} servers, which is the most that a service may have", limit = Endpoint::MAX)]
    TooMany,
    /// There is none.
    #[error("names no server (on_empty = \"apply\" would take that for true)")]
    Empty,
    /// There is none in a file.
    #[error("{file}: names no server (on_empty = \"apply\" would take that for true)")]
    EmptyFile {
        /// The file.
        file: String,
    },
}

/// Asks as long as the task is not asked to stop. `tell` is told all servers, in a certain order and each
/// once, whenever they are others than before; and `None`, once, if nobody is there, or there is no
/// answer twice in a row, before any server is known. `status` says how it goes.
///
/// # Cancel safety
/// Dropping it ends it; what it had begun ends with the scope around.
pub async fn discover(
    service: &str,
    discovery: &Discovery,
    status: &Status,
    tell: impl FnMut(Option<Arc<[Endpoint]>>) + Send,
) {
    let asking = ScopeBuilder::<Infallible>::new(&Context::current()).run(async |scope| {
        let keeper = Keeper::new(service, discovery.on_empty, status, tell);
        match &discovery.source {
            DiscoverySource::File(file) => keeper.keep(FileSource::new(&scope, file)).await,
            DiscoverySource::Dns(dns) => keeper.keep(DnsSource::new(&scope, dns)).await,
            DiscoverySource::Etcd(etcd) => keeper.keep(EtcdSource::new(&scope, etcd)).await,
            DiscoverySource::Consul(consul) => keeper.keep(ConsulSource::new(&scope, consul)).await,
        }
        scope.stop();
        Ok(())
    });
    let _asked_to_stop = asking.await.result;
}

/// Where answers come from.
trait Source: Send {
    /// Waits until there may be something new; the first time not at all. After an error it begins afresh.
    fn next(&mut self) -> impl Future<Output = Result<Found, DiscoveryError>> + Send;
}

/// What is known of a service, and what becomes of answers.
struct Keeper<'k, T> {
    service: &'k str,
    on_empty: OnEmpty,
    status: &'k Status,
    tell: T,
    known: Option<Arc<[Endpoint]>>,
    /// That there are some, or none.
    is_told: bool,
    has_failed: bool,
    /// What was logged of entries that are no servers.
    refused: Option<String>,
    said: Said,
}

impl<'k, T: FnMut(Option<Arc<[Endpoint]>>) + Send> Keeper<'k, T> {
    fn new(service: &'k str, on_empty: OnEmpty, status: &'k Status, tell: T) -> Keeper<'k, T> {
        let said = Said::default();
        let [is_told, has_failed] = [false; 2];
        Keeper {
            service,
            on_empty,
            status,
            tell,
            known: None,
            is_told,
            has_failed,
            refused: None,
            said,
        }
    }

    async fn keep(mut self, mut source: impl Source) {
        let mut backoff = Backoff::default();
        loop {
            let next = source.next().await;
            if Context::current().is_cancelled() {
                return;
            }
            let taken = next.and_then(|found| self.take(found));
            let pause = match &taken {
                Ok(()) => {
                    backoff.succeeded();
                    continue;
                }
                // The source is well, and tells when there is something else.
                Err(DiscoveryError::Empty) => None,
                Err(_) => Some(backoff.failed()),
            };
            if let Err(error) = &taken {
                self.lost(error);
            }
            if let Some(pause) = pause
                && sleep(pause).await.is_err()
            {
                return;
            }
        }
    }

    fn take(&mut self, found: Found) -> Result<(), DiscoveryError> {
        let (endpoints, refused) = found.judged()?;
        if self.refused != refused {
            if let Some(refused) = &refused {
                self.status.failed();
                tracing::warn!(service = self.service, "an entry is left out: {refused}");
            }
            self.refused = refused;
        }
        if endpoints.is_empty() && self.on_empty == OnEmpty::Keep {
            return Err(DiscoveryError::Empty);
        }
        self.status.succeeded(Instant::now());
        if self.said.succeeded() {
            tracing::info!(service = self.service, "{} answers again", self.status.source());
        }
        if self.known.as_deref() == Some(&endpoints[..]) {
            return Ok(());
        }
        let servers = endpoints.len();
        tracing::info!(
            service = self.service,
            servers,
            "{} tells its servers",
            self.status.source()
        );
        self.status.changed(servers, Instant::now());
        self.is_told = true;
        self.known = Some(Arc::clone(&endpoints));
        (self.tell)(Some(endpoints));
        Ok(())
    }

    fn lost(&mut self, error: &DiscoveryError) {
        self.status.lost(Instant::now());
        // A registry may have a bad moment: it is asked again at once.
        let is_empty = matches!(error, DiscoveryError::Empty | DiscoveryError::EmptyFile { .. });
        let is_sure = is_empty || std::mem::replace(&mut self.has_failed, true);
        if is_sure && !std::mem::replace(&mut self.is_told, true) {
            (self.tell)(None);
        }
        if self.said.is_news(error, Ledger::current().now()) {
            let (service, source) = (self.service, self.status.source());
            let known = self.known.as_ref().map_or(0, |known| known.len());
            tracing::warn!(service, known, "{source}: {error}; the servers that are known stay");
        } else {
            tracing::debug!(service = self.service, "{}: {error}", self.status.source());
        }
    }
}

#[cfg(test)]
mod tests;
