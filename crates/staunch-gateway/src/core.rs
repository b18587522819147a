//! A core: a thread with a runtime of its own, which has its share of each listener and connections
//! to the servers that no other core uses.
//!
//! So a request is answered on one thread from its first byte to its last: nothing wakes another
//! thread, and no lock is asked for that another one has.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    panic::Location,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::{Request, Response, body::Body};
use staunch_config::IpRange;
use staunch_guard::{Guard, Layer, Registration, Shed};
use staunch_http::{ClientOptionsError, HttpLimits, RequestBody, Server, handler};
use staunch_net::{Connection, Listener, Served, TlsConfig, TlsConnection, UnattachedListener};
use staunch_pool::PoolOptionsError;
use staunch_scope::{
    Blocking, BoxError, Context, FailureCause, Scope, ScopeBuilder, ScopeError, shield, watch,
};

use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::{
    access::{Logged, Source},
    fast::Fast,
    forward::Forward,
    grpc::Grpc,
    plan::Plan,
    remote::Remote,
    reports::Reports,
    serving::Serving,
    tcp,
    upstream::Upstream,
};

/// What has begun on a core may take so long beyond the drain of its listeners to end.
const MARGIN: Duration = Duration::from_secs(1);

/// What a core works by, which a new plan replaces.
#[derive(Debug)]
pub(crate) struct Shared {
    state: ArcSwap<CoreState>,
}

#[derive(Debug)]
pub(crate) struct CoreState {
    pub(crate) plan: Arc<Plan>,
    /// As [`Plan::services`].
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Those that policies ask.
    pub(crate) remote: Remote,
}

/// Which of how many.
pub(crate) type Place = (usize, usize);

/// What is served on a core.
pub(crate) struct Job {
    pub(crate) place: Place,
    pub(crate) plans: watch::Receiver<Arc<Plan>>,
    /// Says what may be taken on.
    pub(crate) guard: Option<Guard>,
    /// Where it is told what requests were.
    pub(crate) reports: Reports,
    /// How long a drain may take.
    pub(crate) grace: Duration,
    /// Cancelled when everything is to end at once.
    pub(crate) cut: CancellationToken,
    /// How many listeners accept, those of all cores together.
    pub(crate) up: watch::Sender<usize>,
}

/// A core's part of a listener.
pub(crate) struct Share<L = UnattachedListener> {
    pub(crate) name: String,
    pub(crate) listener: L,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) speaks: Speaks,
    /// Who is believed for whom it speaks.
    pub(crate) proxies: Arc<[IpRange]>,
    pub(crate) access: Option<Arc<Source>>,
}

#[derive(Clone)]
pub(crate) enum Speaks {
    Http(HttpLimits),
    /// Bytes, with a server of this service.
    Tcp(Arc<str>),
}

/// A core could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoreError {
    #[error("cannot start the runtime of a core: {0}")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Pool(#[from] PoolOptionsError),
    #[error(transparent)]
    Client(#[from] ClientOptionsError),
    #[error("a core cannot accept from listener `{name}`: {source}")]
    Attach { name: String, source: io::Error },
    #[error("a core has ended: {0}")]
    Broken(String),
}

impl Shared {
    pub(crate) fn new(state: CoreState) -> Arc<Shared> {
        Arc::new(Shared { state: ArcSwap::from_pointee(state) })
    }

    pub(crate) fn state(&self) -> Arc<CoreState> {
        self.state.load_full()
    }

    /// Takes up each new plan, until no more come or the task is asked to stop.
    pub(crate) async fn keep_current<E: Send + 'static>(
        self: Arc<Self>,
        scope: Scope<E>,
        mut plans: watch::Receiver<Arc<Plan>>,
        place: Place,
    ) {
        while plans.changed().await.is_ok() {
            self.take_up(&scope, plans.latest(), place);
        }
    }

    /// Works by `plan` from now on; what it worked by until now, unless that stays.
    pub(crate) fn take_up<E: Send + 'static>(
        &self,
        scope: &Scope<E>,
        plan: Arc<Plan>,
        place: Place,
    ) -> Option<Arc<CoreState>> {
        let before = self.state();
        match CoreState::new(scope, plan, Some(&before), place) {
            Ok(state) => {
                self.state.store(Arc::new(state));
                Some(before)
            }
            Err(error) => {
                tracing::error!(%error, "the plan before stays");
                None
            }
        }
    }
}

/// What a listener's work goes by: what its core works by; and from when it is no longer wanted, what
/// the core worked by until then, which knows its routes.
#[derive(Debug)]
pub(crate) struct View {
    shared: Arc<Shared>,
    last: OnceLock<Arc<CoreState>>,
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<View> {
        Arc::new(View { shared, last: OnceLock::new() })
    }

    /// Its listener is no longer wanted; `state` was what the core worked by.
    pub(crate) fn ends_with(&self, state: Arc<CoreState>) {
        let _ = self.last.set(state); // it ends once
    }

    pub(crate) fn state(&self) -> Arc<CoreState> {
        self.last.get().map_or_else(|| self.shared.state(), Arc::clone)
    }
}

impl CoreState {
    pub(crate) fn new<E: Send + 'static>(
        scope: &Scope<E>,
        plan: Arc<Plan>,
        before: Option<&CoreState>,
        place: Place,
    ) -> Result<CoreState, CoreError> {
        let known = |name: &str| Some(before?.upstream(name)?.1);
        let upstreams = plan
            .services
            .iter()
            .map(|service| Upstream::new(scope, service, known(service.name), place).map(Arc::new));
        let upstreams = upstreams.collect::<Result<_, _>>()?;
        let remote = Remote::new(scope, &plan, before.map(|before| &before.remote))?;
        Ok(CoreState { plan, upstreams, remote })
    }

    /// The upstream of a service, and its place.
    pub(crate) fn upstream(&self, service: &str) -> Option<(usize, &Upstream)> {
        let known = self.upstreams.iter().map(|known| &**known).enumerate();
        known.into_iter().find(|(_, known)| known.plan.name == service)
    }
}

/// Serves on the running thread until it is asked to stop, and all has drained. What each listener
/// did.
pub(crate) fn run(asked: &Blocking, job: Job) -> Result<Vec<(String, Served)>, CoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CoreError::Runtime)?;
    let (context, cut) = (asked.context().clone(), job.cut.clone());
    // Shielded: it is the listeners that are asked, by their context, and all else ends after them.
    let served = runtime.block_on(cut.run_until_cancelled(shield(serve(context, job))));
    // With it ends what it runs; a name that is still being looked up is not waited for.
    runtime.shutdown_background();
    served.unwrap_or_else(|| Ok(Vec::new()))
}

/// Two scopes, one in the other: the listeners stop when they are asked, and the connections to the
/// servers when all listeners have drained, since what was begun may need them.
async fn serve(context: Context, job: Job) -> Result<Vec<(String, Served)>, CoreError> {
    let Job { place, plans, guard, reports, grace, up, .. } = job;
    let served = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&served);
    let around = ScopeBuilder::<CoreError>::new(&context.without_cancel())
        .grace(MARGIN)
        .max_children(usize::MAX) // they are the pools' and dialers', which have bounds of their own
        .run(async |scope| {
            let mut plans = plans;
            let state = CoreState::new(&scope, plans.latest(), None, place)?;
            let shared = Shared::new(state);
            let serving = Serving::new(shared, place, (guard, reports), (up, into));
            serving.run(&context, &scope, plans, grace + MARGIN).await?;
            scope.stop();
            Ok(())
        })
        .await;
    let served = std::mem::take(&mut *served.lock().unwrap_or_else(PoisonError::into_inner));
    match around.result {
        Ok(()) | Err(ScopeError::Cancelled(_)) => Ok(served),
        Err(ScopeError::Failed { first, .. }) => Err(match first.cause {
            FailureCause::Error(error) => error,
            FailureCause::Panic(panic) => CoreError::Broken(panic.message().to_owned()),
            other => CoreError::Broken(format!("{other:?}")),
        }),
        Err(other) => Err(CoreError::Broken(other.to_string())),
    }
}

impl Share {
    /// Hands it to the runtime of the running thread.
    pub(crate) fn attach(self) -> Result<Share<Listener>, CoreError> {
        let Share { name, listener, tls, speaks, proxies, access } = self;
        match listener.attach() {
            Ok(listener) => Ok(Share { name, listener, tls, speaks, proxies, access }),
            Err(source) => Err(CoreError::Attach { name, source }),
        }
    }
}

impl Share<Listener> {
    /// Serves until `context` is cancelled, and drains.
    pub(crate) async fn serve(
        self,
        context: &Context,
        core: Arc<View>,
        guard: Option<&Guard>,
    ) -> (String, Served) {
        let Share { name, listener, tls, speaks, proxies, access } = self;
        let listener = if proxies.is_empty() {
            listener
        } else {
            let believes = move |peer| proxies.iter().any(|range| range.contains(peer));
            listener.believe_proxies(believes)
        };
        let (listener, _closes) = guarded(listener, guard);
        let served = match speaks {
            Speaks::Http(limits) => {
                let (listens, is_secure) = (name.clone(), tls.is_some());
                let forward = Forward { core, listener: listens, is_secure, access };
                http(forward, listener, context, tls.as_ref(), limits, guard).await
            }
            Speaks::Tcp(service) => bytes((service, access), listener, context, tls, core).await,
        };
        (name, served)
    }
}

/// The listener, which closes idle connections and refuses new ones as long as `guard` has it so.
pub fn guarded(listener: Listener, guard: Option<&Guard>) -> (Listener, Option<Registration>) {
    let Some(guard) = guard else { return (listener, None) };
    let control = listener.control();
    let closes = guard.closes_idle(move |it| control.close_idle(it.most, it.at_least));
    let guard = guard.clone();
    (listener.refuse_while(move || guard.refuses_connections()), Some(closes))
}

async fn http(
    forward: Forward,
    listener: Listener,
    context: &Context,
    tls: Option<&TlsConfig>,
    limits: HttpLimits,
    guard: Option<&Guard>,
) -> Served {
    let forward = Arc::new(forward);
    let long = Arc::clone(&forward);
    let service = handler(move |request| {
        let forward = Arc::clone(&long);
        async move { forward.answer(request).await }
    });
    let (refuser, born_at) = (Arc::clone(&forward), Location::caller());
    let server = Server::new(limits.clone()).hear_refused(move |it| refuser.refused(it));
    match guard {
        None => {
            let service = Logged::new(Grpc(service), forward.access.clone());
            let fast = Fast { forward, limits, guard: None, born_at, long: server, service };
            each(Arc::new(fast), listener, context, tls).await
        }
        Some(guard) => {
            let service = Shed::new(guard).layer(service);
            let service = Logged::new(Grpc(service), forward.access.clone());
            let guard = Some(guard.clone());
            let fast = Fast { forward, limits, guard, born_at, long: server, service };
            each(Arc::new(fast), listener, context, tls).await
        }
    }
}

/// Answers the requests of each connection.
async fn each<S, B>(
    fast: Arc<Fast<S>>,
    listener: Listener,
    context: &Context,
    tls: Option<&TlsConfig>,
) -> Served
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    match tls {
        None => {
            let answer = move |connection: Connection| Arc::clone(&fast).serve(connection);
            listener.serve(context, answer).await
        }
        Some(tls) => {
            let answer = move |connection: TlsConnection| Arc::clone(&fast).serve(connection);
            listener.serve_tls(context, tls, answer).await
        }
    }
}

async fn bytes(
    (service, access): (Arc<str>, Option<Arc<Source>>),
    listener: Listener,
    context: &Context,
    tls: Option<TlsConfig>,
    core: Arc<View>,
) -> Served {
    match tls {
        None => {
            let handle = move |client: Connection| {
                let (core, service) = (Arc::clone(&core), Arc::clone(&service));
                let (ends, access) = (ends(client.peer(), client.local()), access.clone());
                let closer = client.closer();
                async move { tcp::serve(core, &service, (client, closer), ends, access.as_ref()).await }
            };
            listener.serve(context, handle).await
        }
        Some(tls) => {
            let handle = move |client: TlsConnection| {
                let (core, service) = (Arc::clone(&core), Arc::clone(&service));
                let (ends, access) = (ends(client.peer(), client.local()), access.clone());
                let closer = client.closer();
                async move { tcp::serve(core, &service, (client, closer), ends, access.as_ref()).await }
            };
            listener.serve_tls(context, &tls, handle).await
        }
    }
}

/// Who has connected, and with whom; `None` of a Unix socket, or if it has gone.
fn ends(
    peer: io::Result<Option<SocketAddr>>,
    local: io::Result<Option<SocketAddr>>,
) -> Option<(SocketAddr, SocketAddr)> {
    Some((peer.ok()??, local.ok()??))
}
