//! Servers that are found while the gateway runs: beside the requests, on the runtime of the process.
//!
//! A task for each service with a `[service.discovery]` asks, and says what it finds. One more gathers that
//! for a moment, and has a new plan published, in which what has not changed is taken over. A core takes
//! it up between two requests; it never waits for any of this.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_config::{Config, Discovery, Endpoint, Service};
use staunch_registry::{Status, discover};
use staunch_scope::{Context, ScopeBuilder, sleep, watch};
use tokio::time::timeout;

use crate::{children::Children, gateway::Control};

/// Changes that come within this time after another are one: when a deploy replaces every instance, the
/// cores have twenty plans a second to take up at most.
const GATHER: Duration = Duration::from_millis(50);

/// How long a gateway that begins waits for the first word of each source: the first of two name servers may be
/// down, of which the second is asked after 5 s (resolv.conf(5), `timeout`).
const FIRST_ANSWERS: Duration = Duration::from_secs(6);

/// What is wanted, and what was found.
#[derive(Debug)]
pub(crate) struct Discoveries {
    /// What the user wrote.
    wanted: watch::Sender<Arc<Config>>,
    found: watch::Sender<Found>,
    /// By service.
    statuses: Mutex<BTreeMap<String, Arc<Status>>>,
}

/// The servers that were found, by service; `None`: whoever is asked had no answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found(BTreeMap<String, Option<Arc<[Endpoint]>>>);

impl Discoveries {
    pub(crate) fn new(config: &Config) -> Discoveries {
        Discoveries {
            wanted: watch::channel(Arc::new(config.clone())).0,
            found: watch::channel(Found::default()).0,
            statuses: Mutex::default(),
        }
    }

    pub(crate) fn want(&self, config: &Config) {
        self.wanted.modify(|wanted| *wanted = Arc::new(config.clone()));
    }

    /// What is to be planned with.
    pub(crate) fn now(&self) -> (Arc<Config>, Found) {
        (self.wanted.with(Arc::clone), self.found.with(Clone::clone))
    }

    /// How each goes, by service.
    pub(crate) fn statuses(&self) -> BTreeMap<String, Arc<Status>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until each service without servers that are written down was told of, well or badly, or it
    /// takes too long: who comes before would be refused, though there are servers.
    pub(crate) async fn first_answers(&self) {
        let mut found = self.found.subscribe();
        let all = async {
            while !self.unheard(&found.latest()).is_empty() && found.changed().await.is_ok() {}
        };
        if timeout(FIRST_ANSWERS, all).await.is_err() {
            for service in self.unheard(&found.latest()) {
                let waited = FIRST_ANSWERS;
                tracing::warn!(service, ?waited, "no word of its servers, so it begins without");
            }
        }
    }

    /// The services of which there is nothing to begin with.
    fn unheard(&self, found: &Found) -> Vec<String> {
        let config = self.wanted.with(Arc::clone);
        let is_unheard = |service: &&Service| {
            let has_to_be_found = service.discovery.is_some() && service.endpoints.is_empty();
            has_to_be_found && !found.0.contains_key(&service.name)
        };
        config.services.iter().filter(is_unheard).map(|service| service.name.clone()).collect()
    }

    /// Asks one source for one service, until it is dropped.
    async fn ask(self: Arc<Self>, service: String, discovery: Discovery) {
        let status = self.begin(&service, &discovery);
        let tell = |servers| self.found.modify(|found| found.hear(&service, servers));
        discover(&service, &discovery, &status, tell).await;
    }

    fn begin(&self, service: &str, discovery: &Discovery) -> Arc<Status> {
        let status = Arc::new(Status::new(discovery));
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.insert(service.to_owned(), Arc::clone(&status));
        status
    }

    /// Forgets what belongs to services that are not found any more.
    fn forget(&self, config: &Config) {
        let is_found = |name: &String| {
            let mut services = config.services.iter();
            services.any(|service| service.name == *name && service.discovery.is_some())
        };
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.retain(|name, _| is_found(name));
        drop(statuses);
        self.found.modify(|found| found.0.retain(|name, _| is_found(name)));
    }
}

impl Found {
    /// A source has told. What was known stays if it has nothing to tell.
    fn hear(&mut self, service: &str, servers: Option<Arc<[Endpoint]>>) {
        let known = self.0.entry(service.to_owned()).or_default();
        if servers.is_some() {
            *known = servers;
        }
    }

    /// The service as it is to be used: with the servers that were found, if they are to be found, and
    /// until then with those that were written.
    pub(crate) fn applied(&self, service: &Service) -> Service {
        let found = self.0.get(&service.name).and_then(Option::as_ref);
        let found = found.filter(|_| service.discovery.is_some());
        let endpoints = found.map_or_else(|| service.endpoints.clone(), |found| found.to_vec());
        Service { endpoints, ..service.clone() }
    }
}

#[cfg(test)]
impl Found {
    /// That a service has these servers.
    pub(crate) fn of(service: &str, servers: &[&str]) -> Found {
        let server = |it: &&str| Endpoint::parse(it, "/".as_ref()).unwrap();
        Found([(service.to_owned(), Some(servers.iter().map(server).collect()))].into())
    }
}

/// Asks for all services, as long as the task is not asked to stop.
pub(crate) async fn run(control: Control) {
    let asking = ScopeBuilder::<Infallible>::new(&Context::current())
        .max_children(usize::MAX) // as many as there are services, which the configuration bounds
        .run(async |scope| {
            let discoveries = Arc::clone(control.discoveries());
            let found = discoveries.found.subscribe();
            scope.spawn_named("publish", async {
                publish(found, control).await;
                Ok(())
            });
            let (mut asking, mut wanted) = (Children::new(), discoveries.wanted.subscribe());
            loop {
                let config = wanted.latest();
                discoveries.forget(&config);
                let services = config.services.iter().filter_map(|service| {
                    let asked = (service.name.clone(), service.discovery.clone()?);
                    Some((asked.clone(), asked))
                });
                asking.set(&scope, "discovery", services, |(service, discovery)| {
                    Arc::clone(&discoveries).ask(service, discovery)
                });
                if wanted.changed().await.is_err() {
                    scope.stop();
                    return Ok(());
                }
            }
        });
    let _asked_to_stop = asking.await.result;
}

/// Publishes what was found, each time after having gathered for a moment.
async fn publish(mut found: watch::Receiver<Found>, control: Control) {
    while found.changed().await.is_ok() {
        if sleep(GATHER).await.is_err() {
            return;
        }
        found.with(|_| ()); // what has come meanwhile is published, too
        control.publish();
    }
}
