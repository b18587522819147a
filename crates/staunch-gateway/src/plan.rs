//! What a configuration says, as all cores use it. It never changes: a new configuration is a new
//! plan, which takes over what is known of the servers that stay.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::header::{HeaderName, HeaderValue};
use staunch_config::{Config, Listener, Policy as ConfiguredPolicy, Route, Service};
use staunch_ledger::{Ledger, Seldom};
use staunch_net::LoadTlsError;
use staunch_policy::{Policy, PolicyError, identities};
use tokio::time::Instant;

use crate::{
    balance::{EjectionLimits, Health},
    counts::{EndpointCounts, RouteCounts},
    discovery::Found,
    forward::{Budget, Failure, REASONS_OF_SERVERS},
    link::LinkTls,
    listeners::Listening,
    remote::TokenKeys,
    route::Table,
};

/// A configuration cannot be worked by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A file that a policy names cannot be used.
    #[error("policy \"{policy}\": {source}")]
    Policy {
        /// The policy.
        policy: String,
        /// What is wrong.
        source: PolicyError,
    },
    /// A file of TLS to servers cannot be used.
    #[error("[service.tls] of \"{service}\": {source}")]
    Tls {
        /// The service.
        service: String,
        /// What is wrong.
        source: LoadTlsError,
    },
}

impl PlanError {
    pub(crate) fn of_tls(service: &Service, source: LoadTlsError) -> PlanError {
        PlanError::Tls { service: service.name.clone(), source }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) routes: Vec<Arc<RoutePlan>>,
    /// The requests that no route has.
    pub(crate) unrouted: Arc<RouteCounts>,
    /// By the name of their listener.
    tables: HashMap<String, Arc<Table>>,
    pub(crate) services: Vec<Arc<ServicePlan>>,
    /// Those that have keys of tokens; each of them once.
    pub(crate) token_keys: Vec<Arc<TokenKeys>>,
    /// Those that are to be accepted from, as `before` had them.
    pub(crate) listeners: Vec<Arc<Listening>>,
}

/// A route, and what it needs for each request.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) route: Route,
    /// Its place in [`Plan::services`].
    pub(crate) service: usize,
    pub(crate) upstream_host: Option<HeaderValue>,
    /// What is asked of its requests; most routes ask nothing.
    pub(crate) policy: Option<Policy>,
    /// Those that have the keys of its tokens, if they are asked for.
    pub(crate) token_keys: Option<Arc<TokenKeys>>,
    pub(crate) counts: Arc<RouteCounts>,
}

/// A service, and what all cores know of its servers.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) service: Service,
    /// Whom its servers must prove to be, if they speak TLS.
    pub(crate) tls: Option<Arc<LinkTls>>,
    /// For as long as the process lives, since pools are called so.
    pub(crate) name: &'static str,
    pub(crate) servers: Vec<Arc<ServerPlan>>,
    pub(crate) ejection: EjectionLimits,
    pub(crate) budget: Budget,
    ejecting: Mutex<()>,
    /// A request that nobody can have.
    without_server: Seldom,
}

/// A server, as all cores know it.
#[derive(Debug)]
pub(crate) struct ServerPlan {
    /// What it is called in logs and metrics.
    pub(crate) name: String,
    pub(crate) health: Health,
    pub(crate) counts: EndpointCounts,
    /// A request that it has not answered, by reason.
    unanswered: [Seldom; REASONS_OF_SERVERS],
}

impl Plan {
    /// The plan of a configuration and the servers that were `found`; of the services, servers and
    /// routes that `before` has, it keeps what is known.
    ///
    /// Reads the files that policies and services name, and so blocks for a moment.
    pub(crate) fn new(config: &Config, found: &Found, before: &Plan) -> Result<Plan, PlanError> {
        let services = config.services.iter().map(|service| {
            let tls = LinkTls::load(service).map_err(|error| PlanError::of_tls(service, error))?;
            Ok(before.planned(service, found, tls))
        });
        let services = services.collect::<Result<Vec<_>, PlanError>>()?;
        let place = |name: &str| services.iter().position(|known| known.service.name == name);
        let mut token_keys = Vec::new();
        let told = told(config);
        let routes = config.routes.iter().filter_map(|route| {
            let known = before.route(&route.name);
            let told = told.get(route.service.as_str()).map_or(&[][..], Vec::as_slice);
            let policy = match policy(config, route, told, known) {
                Ok(policy) => policy,
                Err(error) => return Some(Err(error)),
            };
            let jwt = policy.as_ref().and_then(Policy::jwt);
            let counts = known.map(|known| Arc::clone(&known.counts));
            Some(Ok(Arc::new(RoutePlan {
                service: place(&route.service)?,
                upstream_host: route.upstream_host.as_deref().and_then(|host| host.parse().ok()),
                token_keys: jwt
                    .and_then(|jwt| TokenKeys::of(jwt, &mut token_keys, &before.token_keys)),
                policy,
                counts: counts.unwrap_or_default(),
                route: route.clone(),
            })))
        });
        let routes = routes.collect::<Result<_, PlanError>>()?;
        let names = config.listeners.iter().map(Listener::name);
        let tables = names
            .map(|name| (name.to_owned(), Arc::new(Table::new(&config.routes, name))))
            .collect();
        let listeners = before.listeners.clone();
        let unrouted = Arc::clone(&before.unrouted);
        Ok(Plan { routes, unrouted, tables, services, token_keys, listeners })
    }

    /// This plan with the servers that were `found` since; `config` is what it was made of.
    pub(crate) fn with_found(&self, config: &Config, found: &Found) -> Plan {
        Plan { services: self.services(config, found), ..self.clone() }
    }

    /// This plan with these listeners.
    pub(crate) fn with_listeners(&self, listeners: Vec<Arc<Listening>>) -> Plan {
        Plan { listeners, ..self.clone() }
    }

    /// The services of a configuration and the servers that were found, of which this plan knows
    /// some.
    fn services(&self, config: &Config, found: &Found) -> Vec<Arc<ServicePlan>> {
        let known = |service: &Service| self.service(&service.name)?.tls.clone();
        config.services.iter().map(|it| self.planned(it, found, known(it))).collect()
    }

    /// A service and the servers that were found of it; the same object, if this plan has the same.
    fn planned(
        &self,
        service: &Service,
        found: &Found,
        tls: Option<Arc<LinkTls>>,
    ) -> Arc<ServicePlan> {
        let (service, before) = (found.applied(service), self.service(&service.name));
        let same_tls = before.filter(|before| before.tls == tls);
        if let Some(same) = same_tls.filter(|before| before.service == service) {
            return Arc::clone(same);
        }
        // The same object, by which others see that it has not changed.
        let tls = same_tls.map_or(tls, |before| before.tls.clone());
        Arc::new(ServicePlan::new(service, tls, before))
    }

    /// The routes of a listener.
    pub(crate) fn table(&self, listener: &str) -> Option<&Arc<Table>> {
        self.tables.get(listener)
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Arc<ServicePlan>> {
        self.services.iter().find(|known| known.service.name == name)
    }

    /// Whether not everybody may take a route as he will.
    pub(crate) fn guards(&self, route: usize) -> bool {
        let policy = self.routes.get(route).and_then(|route| route.policy.as_ref());
        policy.is_some_and(Policy::guards)
    }

    fn route(&self, name: &str) -> Option<&Arc<RoutePlan>> {
        self.routes.iter().find(|known| known.route.name == name)
    }
}

/// The headers by which the servers of each service are told who somebody is, by whichever route.
fn told(config: &Config) -> HashMap<&str, Vec<HeaderName>> {
    let mut told: HashMap<&str, Vec<HeaderName>> = HashMap::new();
    for route in &config.routes {
        let of_service = told.entry(&route.service).or_default();
        of_service.extend(identities(&config.policy(route)));
        of_service.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        of_service.dedup();
    }
    told
}

/// What `route` asks of its requests; what is known of those that asked until now stays. Nobody may say what its
/// service is `told`.
pub(crate) fn policy(
    config: &Config,
    route: &Route,
    told: &[HeaderName],
    before: Option<&Arc<RoutePlan>>,
) -> Result<Option<Policy>, PlanError> {
    let before = before.and_then(|before| before.policy.as_ref());
    let asked = config.policy(route);
    let made = Policy::new(&route.name, &asked, route.version.as_ref(), told, before);
    // Only keys of tokens are in a file.
    let has_it =
        |policy: &&ConfiguredPolicy| route.policies.contains(&policy.name) && policy.jwt.is_some();
    made.map_err(|source| {
        let policy = config.policies.iter().find(has_it).map(|policy| policy.name.clone());
        PlanError::Policy { policy: policy.unwrap_or_default(), source }
    })
}

impl ServicePlan {
    fn new(
        service: Service,
        tls: Option<Arc<LinkTls>>,
        before: Option<&Arc<ServicePlan>>,
    ) -> ServicePlan {
        let outliers = &service.outliers;
        let ejection = EjectionLimits {
            failures: u32::try_from(outliers.failures).unwrap_or(u32::MAX),
            ejection: outliers.ejection,
            slow_start: outliers.slow_start,
        };
        let servers = before.into_iter().flat_map(|before| &before.servers);
        let known: HashMap<_, _> = servers.map(|server| (server.name.as_str(), server)).collect();
        let servers = service.endpoints.iter().map(|endpoint| {
            let name = endpoint.address.to_string();
            let new = |name| Arc::new(ServerPlan::new(name, &ejection, before.is_some()));
            let server = known.get(name.as_str()).map(|known| Arc::clone(known));
            let server = server.unwrap_or_else(|| new(name));
            if service.health.is_none() {
                server.health.set_down(false, Instant::now()); // nobody asks any more
            }
            server
        });
        ServicePlan {
            name: interned(&service.name),
            servers: servers.collect(),
            ejection,
            budget: Budget::new(service.retry.budget),
            ejecting: Mutex::new(()),
            without_server: Seldom::default(),
            service,
            tls,
        }
    }

    /// One of its servers has not answered, for `why`, and that speaks against it.
    pub(crate) fn unanswered(
        &self,
        server: &ServerPlan,
        failure: Failure,
        why: &dyn fmt::Display,
        now: Instant,
    ) {
        server.counts.failed(failure);
        let (service, name, reason) = (self.name, server.name.as_str(), failure.name());
        let said = server.unanswered.get(failure.place());
        if let Some(times) = said.and_then(|it| it.happened(Ledger::current().now())) {
            tracing::warn!(service, server = name, reason, times, "no answer: {why}");
        }
        self.failed(server, now);
    }

    /// One of its servers has answered well.
    pub(crate) fn succeeded(&self, server: &ServerPlan, now: Instant) {
        if server.health.succeeded(now) {
            tracing::info!(service = self.name, server = server.name, "is back: it answers");
        }
    }

    /// A request is for it, and no server is well.
    pub(crate) fn has_nobody(&self) {
        if let Some(times) = self.without_server.happened(Ledger::current().now()) {
            tracing::warn!(service = self.name, times, "no server of it is well");
        }
    }

    /// A request to one of its servers failed; it may be left out for a while.
    pub(crate) fn failed(&self, server: &ServerPlan, now: Instant) {
        // One at a time, or two cores would each leave another one out.
        let _one_at_a_time = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = || self.servers.iter().filter(|server| !server.health.is_well(now)).count();
        let most = match self.service.outliers.most {
            0 => 0,
            percent => (self.servers.len() * percent / 100).max(1),
        };
        let may_eject = || self.servers.len() > 1 && left_out() < most;
        if let Some(ejection) = server.health.failed(now, &self.ejection, may_eject) {
            tracing::warn!(
                service = self.name,
                server = server.name,
                ?ejection,
                "left out: its requests fail, one after the other"
            );
            server.counts.ejected();
        }
    }
}

impl ServerPlan {
    /// `is_new`: beside others that are there already, so that its share grows.
    fn new(name: String, ejection: &EjectionLimits, is_new: bool) -> ServerPlan {
        let now = Instant::now();
        let health = Health::new(now, ejection);
        if is_new {
            health.begins(now);
        }
        ServerPlan {
            name,
            health,
            counts: EndpointCounts::default(),
            unanswered: Default::default(),
        }
    }
}

/// The same text, kept for as long as the process lives: once for each name there ever was.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.iter().find(|known| **known == name) {
        return known;
    }
    let name: &'static str = Box::leak(name.into());
    names.push(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(of_found: &str) -> Config {
        let text = format!(
            "[[listener]]\nname='a'\nprotocol='tcp'\nlisten='127.0.0.1:1'\nservice='found'\n\
             [[listener]]\nname='b'\nprotocol='tcp'\nlisten='127.0.0.1:2'\nservice='other'\n\
             [[service]]\nname='found'\n{of_found}\n\
             [[service]]\nname='other'\nendpoints=['o:1', 'o:2']\n"
        );
        Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors:#}"))
    }

    fn planned(config: &Config, found: &Found, before: &Plan) -> Plan {
        Plan::new(config, found, before).unwrap()
    }

    #[track_caller]
    fn check(plan: &Plan, servers: &[&str]) {
        let found = plan.service("found").unwrap();
        let names: Vec<_> = found.servers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, servers);
        let addresses = found.service.endpoints.iter().map(|it| it.address.to_string());
        assert_eq!(addresses.collect::<Vec<_>>(), servers, "both in the same order");
    }

    #[test]
    fn servers_that_are_found_take_the_place_of_those_that_are_written() {
        let written = config("endpoints=['w:1']\ndiscovery={ file='f' }");
        let first = planned(&written, &Found::default(), &Plan::default());
        check(&first, &["w:1"]);
        let found = Found::of("found", &["a:1", "b:1"]);
        let second = first.with_found(&written, &found);
        check(&second, &["a:1", "b:1"]);
        let none = second.with_found(&written, &Found::of("found", &[]));
        check(&none, &[]);
        let no_longer = config("endpoints=['w:1']");
        check(&planned(&no_longer, &found, &second), &["w:1"]);
        let nobody = config("discovery={ file='f' }");
        check(&planned(&nobody, &Found::default(), &Plan::default()), &[]);
    }

    #[test]
    fn what_has_not_changed_is_the_same_in_the_next_plan() {
        let written = config("discovery={ file='f' }");
        let first = planned(&written, &Found::of("found", &["a:1", "b:1"]), &Plan::default());
        let second = planned(&written, &Found::of("found", &["b:1", "c:1"]), &first);
        let of = |plan: &Plan, service: &str| Arc::clone(plan.service(service).unwrap());
        assert!(Arc::ptr_eq(&of(&first, "other"), &of(&second, "other")), "nobody touches it");
        let (before, after) = (of(&first, "found"), of(&second, "found"));
        assert!(!Arc::ptr_eq(&before, &after));
        assert!(Arc::ptr_eq(&before.servers[1], &after.servers[0]), "its health and counts");
        let third = planned(&written, &Found::of("found", &["b:1", "c:1"]), &second);
        assert!(Arc::ptr_eq(&after, &of(&third, "found")));
    }
}
