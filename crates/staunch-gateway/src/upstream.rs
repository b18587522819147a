//! A service as one core uses it: a pool for each of its servers, and who is next.

use std::{net::IpAddr, sync::Arc, time::Duration};

use staunch_config::{Endpoint, EndpointAddress, Service, UpstreamProtocol};
use staunch_net::{DialError, DialOptions, Dialer, Limits};
use staunch_pool::{Http, HttpOptions, HttpProtocol, Pool, PoolOptions, PoolOptionsError};
use staunch_scope::{Context, Scope};
use tokio::time::Instant;

use crate::{
    balance::{Balancer, Candidate, InFlight, Load},
    plan::{ServerPlan, ServicePlan},
};

/// A service on one core.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) plan: Arc<ServicePlan>,
    servers: Vec<Server>,
    balancer: Balancer,
    /// For connections of which each is used once.
    dialer: Dialer,
}

/// A server on one core.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) plan: Arc<ServerPlan>,
    pub(crate) pool: Pool<Http>,
    endpoint: Endpoint,
    load: Arc<Load>,
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
        let options = pool_options(plan, cores);
        let is_same = |before: &&Upstream| uses_same_pools(&before.plan.service, service);
        let before = before.filter(is_same);
        let servers = service.endpoints.iter().zip(&plan.servers).map(|(endpoint, shared)| {
            let known = before.and_then(|before| before.server(&endpoint.address));
            let (pool, load) = match known {
                Some(known) => (known.pool.clone(), Arc::clone(&known.load)),
                None => (
                    Pool::new(scope, http(scope, service, endpoint), options.clone())?,
                    Arc::default(),
                ),
            };
            Ok(Server {
                plan: Arc::clone(shared),
                pool,
                load,
                endpoint: endpoint.clone(),
                name_hash: name_hash(&shared.name),
                slow_start: service.outliers.slow_start,
                is_asked: service.health.is_some(),
            })
        });
        let servers = servers.collect::<Result<_, _>>()?;
        let dial = DialOptions { timeout: service.timeouts.connect, ..DialOptions::default() };
        Ok(Upstream {
            plan: Arc::clone(plan),
            servers,
            balancer: Balancer::new(service.balance, core),
            dialer: Dialer::watched(scope, dial, stalls_only()),
        })
    }

    fn server(&self, address: &EndpointAddress) -> Option<&Server> {
        self.servers.iter().find(|server| server.endpoint.address == *address)
    }

    /// The next server, and its index; other than those of `tried`, if there is another.
    pub(crate) fn pick(&self, tried: &[usize], client: Option<IpAddr>) -> Option<(usize, &Server)> {
        let index = self.balancer.pick(&self.servers, tried, client, Instant::now())?;
        Some((index, self.servers.get(index)?))
    }

    /// A connection of its own to a server.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn dial(&self, server: &Server) -> Result<staunch_net::Connection, DialError> {
        let context = Context::current();
        match &server.endpoint.address {
            EndpointAddress::Tcp(address) => self.dialer.tcp(&context, address.as_str()).await,
            EndpointAddress::Unix(path) => self.dialer.unix(&context, path).await,
        }
    }
}

impl Server {
    /// A request begins there.
    pub(crate) fn begin(&self) -> InFlight {
        self.load.begin()
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

/// A connection that is copied to another has the limits of that one, its client's; but a server that
/// takes nothing is cut here.
fn stalls_only() -> Limits {
    Limits { idle: None, lifetime: None, half_close: None, read_stall: None, ..Limits::default() }
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

fn http<E: Send + 'static>(scope: &Scope<E>, service: &Service, endpoint: &Endpoint) -> Http {
    let http = match &endpoint.address {
        EndpointAddress::Tcp(address) => Http::tcp(scope, address.as_str()),
        EndpointAddress::Unix(path) => Http::unix(scope, path),
    };
    let protocol = match service.protocol {
        UpstreamProtocol::Http1 => HttpProtocol::Http1,
        UpstreamProtocol::Http2 => HttpProtocol::Http2,
    };
    http.options(HttpOptions {
        protocol,
        head_timeout: Duration::MAX, // whoever sends a request has the time of it
        body_stall: service.timeouts.stall,
        ..HttpOptions::default()
    })
}

fn pool_options(plan: &ServicePlan, cores: usize) -> PoolOptions {
    let (pool, timeouts) = (&plan.service.pool, &plan.service.timeouts);
    let connections = pool.connections.get().div_ceil(cores);
    PoolOptions {
        name: plan.name,
        max_total: connections,
        max_idle: pool.idle.div_ceil(cores).min(connections),
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
