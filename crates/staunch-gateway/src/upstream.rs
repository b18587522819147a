//! A service as one core uses it: a pool for each of its servers, and who is next.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use hyper::StatusCode;
use staunch_config::{Endpoint, EndpointAddress, Service, UpstreamProtocol};
use staunch_net::{DialError, DialOptions, Dialer, Limits};
use staunch_pool::{Http, HttpOptions, HttpProtocol, Pool, PoolOptions, PoolOptionsError};
use staunch_scope::Scope;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    balance::{Balancer, Candidate, InFlight, Load},
    fast::Dials,
    forward::{Failure, speaks_against},
    link::{Carries, Link, LinkTls},
    plan::{ServerPlan, ServicePlan},
};

/// A service on one core.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) plan: Arc<ServicePlan>,
    servers: Vec<Server>,
    balancer: Balancer,
    /// For connections that are used once, and those of the fast path.
    dialer: Arc<Dialer>,
}

/// A server on one core.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) plan: Arc<ServerPlan>,
    /// For the long way.
    pub(crate) pool: Pool<Http>,
    /// For the fast path.
    pub(crate) direct: Pool<Dials>,
    endpoint: Endpoint,
    load: Arc<Load>,
    /// For connections that no pool has: those that lead to another protocol.
    apart: Arc<Semaphore>,
    name_hash: u64,
    slow_start: Duration,
    /// Whether anybody asks whether it is well.
    is_asked: bool,
}

impl Upstream {
    /// One of `cores`, with its share of what the service may have; `before` is what this core had.
    pub(crate) fn new<E: Send + 'static>(
        scope: &Scope<E>,
        plan: &Arc<ServicePlan>,
        before: Option<&Upstream>,
        (core, cores): (usize, usize),
    ) -> Result<Upstream, PoolOptionsError> {
        let service = &plan.service;
        let options = pool_options(plan.name, service, cores);
        let is_same = |before: &&Upstream| {
            uses_same_pools(&before.plan.service, service) && before.plan.tls == plan.tls
        };
        let before = before.filter(is_same);
        // Kept with the pools that dial by it.
        let dialer = before.map_or_else(
            || Arc::new(Dialer::watched(scope, dial_options(service), stalls_only(service))),
            |before| Arc::clone(&before.dialer),
        );
        let known = before.into_iter().flat_map(|before| &before.servers);
        let known: HashMap<_, _> = known.map(|server| (&server.endpoint.address, server)).collect();
        let servers = service.endpoints.iter().zip(&plan.servers).map(|(endpoint, shared)| {
            let known = known.get(&endpoint.address);
            let (pool, direct, load, apart) = if let Some(known) = known {
                let (load, apart) = (Arc::clone(&known.load), Arc::clone(&known.apart));
                (known.pool.clone(), known.direct.clone(), load, apart)
            } else {
                let tls = plan.tls.clone();
                let http = http(scope, service, endpoint, tls.as_deref());
                let dials = Dials::new(Arc::clone(&dialer), endpoint.address.clone(), tls);
                let pool = Pool::new(scope, http, options.clone())?;
                let apart = Arc::new(Semaphore::new(options.max_total));
                (pool, Pool::new(scope, dials, options.clone())?, Arc::default(), apart)
            };
            Ok(Server {
                plan: Arc::clone(shared),
                pool,
                direct,
                load,
                apart,
                endpoint: endpoint.clone(),
                name_hash: name_hash(&shared.name),
                slow_start: service.outliers.slow_start,
                is_asked: service.health.is_some(),
            })
        });
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Upstream {
            plan: Arc::clone(plan),
            servers,
            balancer: Balancer::new(service.balance, core),
            dialer,
        })
    }

    /// The next server, and its index; other than those of `tried`, if there is another.
    pub(crate) fn pick(
        &self,
        tried: &[usize],
        client: Option<IpAddr>,
        now: Instant,
    ) -> Option<(usize, &Server)> {
        let index = self.balancer.pick(&self.servers, tried, client, now);
        let Some(index) = index else {
            self.plan.has_nobody();
            return None;
        };
        Some((index, self.servers.get(index)?))
    }

    /// Whether plain requests can be handed to its servers as they are.
    pub(crate) fn is_direct(&self) -> bool {
        self.plan.service.protocol == UpstreamProtocol::Http1
    }

    /// A server has answered, so or so.
    pub(crate) fn answered(
        &self,
        server: &Server,
        in_flight: &InFlight,
        status: StatusCode,
        now: Instant,
    ) {
        in_flight.answered(now);
        server.plan.counts.answered();
        if speaks_against(status) {
            self.plan.failed(&server.plan, now);
        } else {
            self.plan.succeeded(&server.plan, now);
        }
    }

    /// A server has not answered, for `why`, and that speaks against it.
    pub(crate) fn failed(
        &self,
        server: &Server,
        in_flight: &InFlight,
        failure: Failure,
        why: &dyn fmt::Display,
    ) {
        let now = Instant::now();
        in_flight.answered(now);
        self.plan.unanswered(&server.plan, failure, why, now);
    }

    /// What this core has of a server, if it is one of the service's.
    pub(crate) fn server(&self, plan: &Arc<ServerPlan>) -> Option<&Server> {
        self.servers.iter().find(|server| Arc::ptr_eq(&server.plan, plan))
    }

    /// Whether there is a server that requests may go to.
    pub(crate) fn has_any(&self, now: Instant) -> bool {
        self.servers.iter().any(|server| server.may_be_asked(now))
    }

    /// A connection of its own to a server.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn dial(&self, server: &Server, carries: Carries) -> Result<Link, DialError> {
        let told = self.plan.service.proxy_protocol;
        let (address, tls) = (&server.endpoint.address, self.plan.tls.as_deref());
        Link::dial(&self.dialer, address, tls, (carries, told)).await
    }
}

impl Server {
    /// Whether requests may go there.
    pub(crate) fn may_be_asked(&self, now: Instant) -> bool {
        self.weight(now) > 0.0
    }

    /// A request begins there.
    pub(crate) fn begin(&self, now: Instant) -> InFlight {
        self.load.begin(now)
    }

    /// A place for a connection that no pool has, until it is dropped; `None` if there are as many as may be.
    pub(crate) fn room_apart(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.apart).try_acquire_owned().ok()
    }

    pub(crate) fn address(&self) -> &EndpointAddress {
        &self.endpoint.address
    }

    /// What it is called by a request that names nobody.
    pub(crate) fn authority(&self) -> &str {
        match &self.endpoint.address {
            EndpointAddress::Tcp(address) => address,
            EndpointAddress::Unix(_) => "localhost",
        }
    }
}

impl Candidate for Server {
    fn weight(&self, now: Instant) -> f64 {
        let health = &self.plan.health;
        let is_well = if self.is_asked { health.is_well(now) } else { !health.is_ejected(now) };
        if !is_well {
            return 0.0;
        }
        f64::from(self.endpoint.weight.get()) * self.plan.health.share(now, self.slow_start)
    }

    fn load(&self) -> &Load {
        &self.load
    }

    fn name_hash(&self) -> u64 {
        self.name_hash
    }
}

fn dial_options(service: &Service) -> DialOptions {
    DialOptions { timeout: service.timeouts.connect, ..DialOptions::default() }
}

/// A connection that is copied to another has the limits of that one, its client's; but a server
/// that takes nothing, or stops in the middle of an answer, is cut here.
fn stalls_only(service: &Service) -> Limits {
    Limits {
        first_byte: None,
        idle: None,
        lifetime: None,
        half_close: None,
        message: None,
        read_stall: Some(service.timeouts.stall),
        write_stall: Some(service.timeouts.stall),
        ..Limits::default()
    }
}

/// FNV-1a: the same in every process.
fn name_hash(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Whether connections of the one serve the other as well.
fn uses_same_pools(a: &Service, b: &Service) -> bool {
    a.pool == b.pool && a.timeouts == b.timeouts && a.protocol == b.protocol
}

fn http<E: Send + 'static>(
    scope: &Scope<E>,
    service: &Service,
    endpoint: &Endpoint,
    tls: Option<&LinkTls>,
) -> Http {
    let http = match (&endpoint.address, tls) {
        (EndpointAddress::Tcp(address), None) => Http::tcp(scope, address.as_str()),
        (EndpointAddress::Tcp(address), Some(tls)) => {
            let (name, trust) = tls.peer(address, Carries::Http);
            Http::tls(scope, address.as_str(), name, trust)
        }
        (EndpointAddress::Unix(path), _) => Http::unix(scope, path),
    };
    let protocol = match service.protocol {
        UpstreamProtocol::Http1 => HttpProtocol::Http1,
        UpstreamProtocol::Http2 => HttpProtocol::Http2,
    };
    http.options(HttpOptions {
        protocol,
        head_timeout: Duration::MAX, // whoever sends a request has the time of it
        body_stall: service.timeouts.stall,
        max_lifetime: Some(service.pool.lifetime),
        ..HttpOptions::default()
    })
}

fn pool_options(name: &'static str, service: &Service, cores: usize) -> PoolOptions {
    let (pool, timeouts) = (&service.pool, &service.timeouts);
    let connections = pool.connections.get().div_ceil(cores);
    PoolOptions {
        name,
        max_total: connections,
        // Not divided: clients are not spread evenly, and a core that has more of them than its
        // part would open a connection for every other request.
        max_idle: pool.idle.min(connections),
        acquire_timeout: timeouts.connect,
        connect_timeout: timeouts.connect,
        min_evictable_idle: pool.idle_time,
        max_lifetime: Some(pool.lifetime),
        max_waiters: pool.waiting.div_ceil(cores),
        // What is read from a server waits for its client, and the client has limits of its own.
        abandoned_timeout: timeouts.stall.max(timeouts.first_byte).saturating_mul(4),
        ..PoolOptions::default()
    }
}
