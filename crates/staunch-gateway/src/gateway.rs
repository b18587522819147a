//! The gateway as a whole: listeners spread over cores, and the plan they work by.

use std::{
    convert::Infallible,
    io,
    num::NonZeroUsize,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use staunch_config::{Config, IpRange};
use staunch_guard::Guard;
use staunch_net::{
    Datagram, Endpoint, InheritedSockets, Limits, Served, SharedSocket, SocketOptions, TlsConfig,
    UdpServed, UdpServer,
};
use staunch_scope::{Context, Scope, ScopeBuilder, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    access::AccessLogError,
    checks,
    core::{self, CoreState, Job, Shared},
    counts::{ReloadNumbers, Reloads},
    discovery::{self, Discoveries},
    listeners::{Listeners, Listening},
    plan::{Plan, PlanError},
    remote,
    reports::Reports,
    traces::TracesError,
    udp::{self, Receiver, Ways, guarded_datagrams},
};

/// What listens, and where what comes is sent.
///
/// Each core has a thread, a share of each listener and connections of its own to the servers.
#[derive(Debug)]
pub struct Gateway {
    grace: Duration,
    listeners: Listeners,
    datagrams: Vec<Receiving>,
    control: Control,
    reports: Reports,
}

/// The gateway cannot be what the configuration says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// It cannot be worked by.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// Traces cannot be sent as it says.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// A configuration cannot be taken up; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It cannot be worked by.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nobody would take it up yet.
    #[error("the gateway does not serve yet: wait until it is ready")]
    TooEarly,
    /// Nobody takes it up any more.
    #[error("the gateway accepts no more, and works by what it has until it has ended")]
    TooLate,
}

#[derive(Debug)]
struct Receiving {
    server: UdpServer,
    receiver: Arc<Receiver>,
}

/// Changes what a gateway does while it does it, and shows what it has done: it is a collector for
/// `/metrics`. Clones control the same one.
#[derive(Clone, Debug)]
pub struct Control {
    cores: NonZeroUsize,
    plans: watch::Sender<Arc<Plan>>,
    discoveries: Arc<Discoveries>,
    reports: Reports,
    /// Of datagrams; they are the same for as long as it lives.
    receivers: Arc<Mutex<Vec<Arc<Receiver>>>>,
    /// Locked while it changes which listeners there are, and never for long.
    stage: Arc<Mutex<Stage>>,
    reloads: Arc<Reloads>,
}

/// Where a gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begins,
    Serves,
    Drains,
}

/// Has a gateway accept no more once it is dropped.
struct ClosesSockets(Control);

/// How the connections of a listener are set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How its sockets are set up.
    pub options: SocketOptions,
    /// What its connections may take, on all cores together.
    pub limits: Limits,
    /// TLS, if it is spoken.
    pub tls: Option<TlsConfig>,
    /// Who is believed for whom it speaks
    /// ([`Listener::believe_proxies`](staunch_net::Listener::believe_proxies)).
    pub proxies: Vec<IpRange>,
}

/// What listeners did.
#[derive(Debug, Default)]
pub struct Done {
    /// Those with connections: one entry for each core.
    pub connections: Vec<(String, Served)>,
    /// Those with datagrams.
    pub datagrams: Vec<(String, UdpServed)>,
    /// It ended though nobody asked it to.
    pub has_failed: bool,
}

impl Gateway {
    /// A gateway that works by `config`'s routes and services, on so many cores, and has `grace` to
    /// drain. Reads the files that policies, services and traces name, and opens the access log.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn new(
        config: &Config,
        cores: NonZeroUsize,
        grace: Duration,
    ) -> Result<Gateway, GatewayError> {
        let discoveries = Arc::new(Discoveries::new(config));
        let plan = Plan::new(config, &discoveries.now().1, &Plan::default())?;
        let reports = Reports::open(config, cores.get())?;
        let plans = watch::channel(Arc::new(plan)).0;
        let stage = Arc::new(Mutex::new(Stage::Begins));
        let (reports_of, reloads) = (reports.clone(), Arc::default());
        let receivers = Arc::default();
        let control =
            Control { cores, plans, discoveries, reports: reports_of, receivers, stage, reloads };
        let (listeners, datagrams) = (control.no_listeners(), Vec::new());
        Ok(Gateway { grace, listeners, datagrams, control, reports })
    }

    /// Those with connections, to bind more of them.
    pub fn listeners(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// Has the datagrams of a server go to a service. Each client that the server remembers has a
    /// socket of its own, and a task that stays for its answers: the server's `in_flight` must be
    /// more than its `peers`.
    pub fn udp(&mut self, name: &str, server: UdpServer, service: &str) {
        let receiver = Arc::new(Receiver::new(name, service, &server));
        self.control.receivers().push(Arc::clone(&receiver));
        self.datagrams.push(Receiving { server, receiver });
    }

    /// Whether nothing listens.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.datagrams.is_empty()
    }

    /// What listens, by name, and where.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, String)> {
        let datagrams = self.datagrams.iter();
        self.listeners
            .endpoints()
            .chain(datagrams.map(|it| (it.receiver.name.as_str(), it.server.address().to_string())))
    }

    /// Every socket that receives datagrams once more, to be handed to a successor; those with
    /// connections come and go ([`Control::sockets`]).
    ///
    /// # Errors
    /// When there are no more file descriptors.
    #[track_caller]
    pub fn share(&self) -> io::Result<Vec<SharedSocket>> {
        self.datagrams.iter().map(|receiving| receiving.server.share()).collect()
    }

    /// Changes what it does while it serves.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `context` is cancelled, and drains: what was begun is finished within the
    /// grace. Before it accepts, each registry has a moment to say which servers there are. `ready` is
    /// called once all cores accept. No more is taken on than `guard` admits.
    ///
    /// # Cancel safety
    /// Dropping it closes the listeners and cuts the connections at once.
    pub async fn serve(
        self,
        context: &Context,
        guard: Option<Guard>,
        ready: impl FnOnce(),
    ) -> Done {
        let reports = self.reports.clone();
        let serving = Box::pin(self.serve_all(context, guard, ready));
        reports.around(context, serving).await.unwrap_or_default()
    }

    async fn serve_all(
        self,
        context: &Context,
        guard: Option<Guard>,
        ready: impl FnOnce(),
    ) -> Done {
        let done = Arc::new(Mutex::new(Done::default()));
        // A thread cannot be forced, but what runs on it can: when this future is dropped.
        let cut = CancellationToken::new();
        let _cuts_when_dropped = cut.clone().drop_guard();
        let _closes_when_dropped = ClosesSockets(self.control.clone());
        let (grace, into) = (self.grace, Arc::clone(&done));
        let ended = ScopeBuilder::<Infallible>::new(context)
            .grace(grace + GRACE_MARGIN)
            .run(async |scope| {
                let finding = self.control.clone();
                scope.spawn_named("discoveries", async {
                    discovery::run(finding).await;
                    Ok(())
                });
                let begins = self.control.discoveries().first_answers();
                if context.run(begins).await.is_err() {
                    return Ok(()); // it has not begun, and is not ready
                }
                self.control.publish(); // what was found, before anybody asks for it
                let (up, mut accepting) = watch::channel(0);
                let listeners = self.start(&scope, guard.as_ref(), &cut, &up, &into);
                while accepting.latest() < listeners {
                    if accepting.changed().await.is_err() {
                        return Ok(()); // asked to stop meanwhile
                    }
                }
                ready();
                Ok(())
            })
            .await;
        for forced in &ended.forced {
            tracing::warn!(?forced, "a core did not end within its grace");
        }
        std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts everything. Each listener of each core adds one to `up` when it accepts; how many
    /// there are.
    fn start(
        self,
        scope: &Scope<Infallible>,
        guard: Option<&Guard>,
        cut: &CancellationToken,
        up: &watch::Sender<usize>,
        done: &Arc<Mutex<Done>>,
    ) -> usize {
        let Gateway { grace, listeners, datagrams, control, reports } = self;
        let (cores, listeners) = (control.cores, listeners.into_all());
        let all = listeners.iter().map(|listening| listening.count()).sum();
        control.begin_with(listeners);
        for core in 0..cores.get() {
            let plans = control.plans.subscribe();
            let (place, cut) = ((core, cores.get()), cut.clone());
            let (up, guard, reports) = (up.clone(), guard.cloned(), reports.clone());
            let job = Job { place, plans, guard, reports, grace, cut, up };
            let (done, stops) = (Arc::clone(done), scope.clone());
            let _owned_by_scope = scope.blocking(move |asked| {
                match core::run(asked, job) {
                    Ok(served) => done
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .connections
                        .extend(served),
                    Err(error) => {
                        tracing::error!(core, %error, "a core has ended, and with it the gateway");
                        done.lock().unwrap_or_else(PoisonError::into_inner).has_failed = true;
                        stops.stop();
                    }
                }
                Ok(())
            });
        }
        let plans = control.plans.subscribe();
        scope.spawn_named("health checks", async {
            checks::run(plans).await;
            Ok(())
        });
        let (closing, asked) = (control.clone(), scope.context().clone());
        scope.spawn_named("sockets", async move {
            let _asked_to_stop = asked.cancelled().await;
            closing.close_sockets();
            Ok(())
        });
        let plans = control.plans.subscribe();
        scope.spawn_named("token keys", async {
            remote::keep_token_keys(plans).await;
            Ok(())
        });
        if !datagrams.is_empty() {
            let plans = control.plans.subscribe();
            receive(scope, datagrams, (plans, guard), cores.get(), done);
        }
        all
    }
}

/// What cores have beyond the grace of their listeners.
const GRACE_MARGIN: Duration = Duration::from_secs(2);

/// Serves datagrams on the running runtime.
fn receive(
    scope: &Scope<Infallible>,
    datagrams: Vec<Receiving>,
    (mut plans, guard): (watch::Receiver<Arc<Plan>>, Option<&Guard>),
    cores: usize,
    done: &Arc<Mutex<Done>>,
) {
    let place = (cores, cores);
    let state = match CoreState::new(scope, plans.latest(), None, place) {
        Ok(state) => state,
        Err(error) => return tracing::error!(%error, "datagrams are not served"),
    };
    let shared = Shared::new(state);
    let keeping = Arc::clone(&shared).keep_current(scope.clone(), plans, place);
    scope.spawn_named("plans", async {
        keeping.await;
        Ok(())
    });
    for Receiving { server, receiver } in datagrams {
        let (core, context, name) =
            (Arc::clone(&shared), scope.context().clone(), receiver.name.clone());
        let (ways, done) = (Ways { core, receiver, guard: guard.cloned() }, Arc::clone(done));
        let server = guarded_datagrams(server, guard);
        scope.spawn_named("udp", async move {
            let at_once = ways.clone();
            let served = server.serve_with_shortcut(
                &context,
                move |datagram: &Datagram<udp::Session>| udp::serve_at_once(&at_once, datagram),
                move |datagram| udp::serve(ways.clone(), datagram),
            );
            let served = served.await;
            done.lock().unwrap_or_else(PoisonError::into_inner).datagrams.push((name, served));
            Ok(())
        });
    }
}

impl Control {
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plans.with(Arc::clone)
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Those of datagrams.
    pub(crate) fn receivers(&self) -> MutexGuard<'_, Vec<Arc<Receiver>>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn discoveries(&self) -> &Arc<Discoveries> {
        &self.discoveries
    }

    /// None yet: to bind what [`reload`](Self::reload) is to add.
    pub fn no_listeners(&self) -> Listeners {
        Listeners::new(self.cores)
    }

    /// Every socket that is accepted from, to be handed to a successor. Whoever keeps one has the
    /// kernel go on taking connections.
    pub fn sockets(&self) -> Vec<Arc<SharedSocket>> {
        self.plan().listeners.iter().flat_map(|it| it.sockets()).collect()
    }

    /// The sockets of the listeners that have one of these names, for others to take their place.
    ///
    /// # Errors
    /// When there are no more file descriptors.
    pub fn sockets_of(&self, names: &[&str]) -> io::Result<InheritedSockets> {
        let mut sockets = InheritedSockets::default();
        let plan = self.plan();
        for listening in plan.listeners.iter().filter(|it| names.contains(&it.name())) {
            for socket in listening.sockets() {
                let fd = socket.as_fd().try_clone_to_owned()?;
                sockets.add(fd).map_err(io::Error::other)?;
            }
        }
        Ok(sockets)
    }

    /// A changed configuration was taken up, or could not be: for `/metrics`.
    pub fn note_reload(&self, is_taken_up: bool) {
        self.reloads.note(is_taken_up);
    }

    pub(crate) fn reloads(&self) -> ReloadNumbers {
        self.reloads.read()
    }

    /// Has all cores work by `config`'s routes, services and policies from now on, and accept from
    /// what was `added`. Listeners that `config` does not name, or whose name one that was added
    /// has, accept no more and drain; what they have begun goes on by what was said before. All
    /// others, connections and requests in flight stay as they are, and so do the connections to
    /// servers that both configurations have. Servers that were found stay until their service has
    /// found others, or is not to find any. Reads the files that policies and services name, and so
    /// blocks for a moment.
    ///
    /// # Errors
    /// When one of them cannot be used, or the gateway does not serve; nothing changes then, and what
    /// was `added` is closed.
    pub fn reload(&self, config: &Config, added: Listeners) -> Result<(), ReloadError> {
        let plan = Plan::new(config, &self.discoveries.now().1, &self.plan())?;
        for gone in self.replace(config, plan, added.into_all())? {
            gone.close();
        }
        self.publish(); // what was found meanwhile
        Ok(())
    }

    /// Has all work by `plan`; the listeners that are gone.
    fn replace(
        &self,
        config: &Config,
        mut plan: Plan,
        added: Vec<Arc<Listening>>,
    ) -> Result<Vec<Arc<Listening>>, ReloadError> {
        let stage = self.stage();
        match *stage {
            Stage::Begins => return Err(ReloadError::TooEarly),
            Stage::Serves => {}
            Stage::Drains => return Err(ReloadError::TooLate),
        }
        let is_replaced = |it: &Listening| added.iter().any(|new| new.name() == it.name());
        let is_named =
            |it: &Listening| config.listeners.iter().any(|listener| listener.name() == it.name());
        let before = self.plan().listeners.clone();
        let (stay, go): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|it| is_named(it) && !is_replaced(it));
        for gone in &go {
            if added.iter().any(|new| new.endpoint() == gone.endpoint()) {
                gone.is_handed_over();
            }
        }
        plan.listeners = stay;
        plan.listeners.extend(added);
        let plan = Arc::new(plan);
        self.plans.modify(|now| {
            self.discoveries.want(config);
            *now = plan;
        });
        Ok(go)
    }

    fn begin_with(&self, listeners: Vec<Arc<Listening>>) {
        let mut stage = self.stage();
        self.plans.modify(|plan| *plan = Arc::new(plan.with_listeners(listeners)));
        *stage = Stage::Serves;
    }

    /// Accepts no more, and takes up no more.
    fn close_sockets(&self) {
        *self.stage() = Stage::Drains;
        self.plan().listeners.iter().for_each(|listening| listening.close());
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a plan of what has been found by now. Who is later sees all that whoever was earlier
    /// saw.
    pub(crate) fn publish(&self) {
        self.plans.modify(|plan| {
            let (config, found) = self.discoveries.now();
            *plan = Arc::new(plan.with_found(&config, &found));
        });
    }
}

impl Drop for ClosesSockets {
    fn drop(&mut self) {
        self.0.close_sockets();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[staunch::test]
    async fn a_configuration_is_taken_up_only_while_it_serves() {
        let config = Config::parse(
            "a test",
            "[[listener]]\nname = 'a'\nprotocol = 'echo'\n\
             listen = '127.0.0.1:1'\n",
        )
        .unwrap();
        let cores = NonZeroUsize::MIN;
        let gateway = Gateway::new(&config, cores, Duration::from_secs(1)).unwrap();
        let control = gateway.control();
        let reload = || control.reload(&config, control.no_listeners());
        assert!(matches!(reload(), Err(ReloadError::TooEarly)));
        let (context, cancel) = Context::background().with_cancel();
        let taken_up = Mutex::new(None);
        let done = gateway.serve(&context, None, || {
            *taken_up.lock().unwrap() = Some(reload());
            cancel.cancel();
        });
        assert!(!done.await.has_failed);
        assert!(matches!(taken_up.lock().unwrap().take(), Some(Ok(()))));
        assert!(matches!(reload(), Err(ReloadError::TooLate)));

        let gateway = Gateway::new(&config, cores, Duration::from_secs(1)).unwrap();
        let control = gateway.control();
        let (ready, mut is_ready) = watch::channel(false);
        let context = Context::background();
        let serving = gateway.serve(&context, None, move || ready.modify(|ready| *ready = true));
        tokio::select! {
            _ = serving => unreachable!("nobody asks it to stop"),
            _ = is_ready.changed() => {}
        }
        // It was dropped.
        let reloaded = control.reload(&config, control.no_listeners());
        assert!(matches!(reloaded, Err(ReloadError::TooLate)));
    }
}
