//! A run in its stages: serve; drain, with the admin endpoint still there to be asked; end.
//!
//! Three scopes, one in the other. The innermost has the listeners, and stops with the first
//! signal; those that the gateway hands to stop when it has drained. The one around it has the
//! admin endpoint and the watch for leaks, and stops when the last listener has drained. The
//! outermost has no grace: a second signal stops it, and so cuts whatever is left.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use staunch_console::{Phase, Readiness};
use staunch_findings::watch;
use staunch_gateway::Gateway;
use staunch_guard::{Guard, GuardOptions, GuardOptionsError};
use staunch_net::InheritedSockets;
use staunch_scope::{Context, Scope, ScopeBuilder};

use crate::{
    outcome::Books,
    reload::Reload,
    service::{Bound, Service},
    signals::Signals,
    upgrade::{Predecessor, Successor, notify},
};

/// What a scope has beyond the grace of each of its listeners, to end itself.
const MARGIN: Duration = Duration::from_secs(2);

/// All that a run needs.
pub(crate) struct Run {
    pub(crate) bound: Bound,
    pub(crate) readiness: Readiness,
    pub(crate) books: Arc<Books>,
    /// How long a drain may take.
    pub(crate) grace: Duration,
    /// How often to look for leaks.
    pub(crate) patrol_every: Duration,
    /// What is watched, and done under pressure.
    pub(crate) guard: Option<GuardOptions>,
    /// Who is told that all is served.
    pub(crate) arrival: Arrival,
}

/// What is to be done once all is served.
pub(crate) struct Arrival {
    pub(crate) readiness: Readiness,
    pub(crate) predecessor: Predecessor,
    /// Those of the predecessor that nobody has taken.
    pub(crate) sockets: Option<InheritedSockets>,
    /// Takes up what changes from then on: not before, or the gateway would begin with what it was
    /// bound to.
    pub(crate) reload: Option<Reload>,
}

impl Arrival {
    /// `around` has what takes up changes, while it is `serving`.
    fn is_ready(&mut self, around: &Scope<Infallible>, serving: &Context) {
        if let Some(reload) = self.reload.take() {
            let reloading = reload.keep_current(around.clone(), serving.clone());
            around.spawn_named("reload", async {
                reloading.await;
                Ok(())
            });
        }
        self.readiness.advance(Phase::Ready);
        if let Some(left) = self.sockets.take() {
            self.predecessor.is_ready(left);
        }
    }
}

/// Serves until a signal comes, and drains; or cuts at once when another one comes.
pub(crate) async fn run(run: Run, signals: &mut Signals, mut successor: Successor) {
    let (books, readiness, grace) = (Arc::clone(&run.books), run.readiness.clone(), run.grace);
    let ended = ScopeBuilder::<Infallible>::new(&Context::background())
        .grace(Duration::ZERO)
        .run(async |scope| {
            let (serving, stop_serving) = scope.context().with_cancel();
            let mut stages = pin!(scope.fork(run.stages(serving)).join());
            let why = tokio::select! {
                biased;
                _ = &mut stages => return Ok(()), // a failure, which the books have
                name = signals.next() => {
                    notify("STOPPING=1");
                    readiness.advance(Phase::Draining);
                    name.to_owned()
                }
                // Both answer at the admin endpoint until we have ended, and the service is as ready as it was.
                pid = successor.takes_over() => format!("process {pid} has taken over"),
            };
            // Or the kernel would take connections that nobody accepts.
            drop(successor);
            tracing::info!(signal = why, ?grace, "draining");
            stop_serving.cancel();
            tokio::select! {
                biased;
                _ = &mut stages => {}
                name = signals.next() => {
                    readiness.advance(Phase::Draining); // a successor may be ready, and not this one
                    tracing::warn!(signal = name, "a second signal: who is left is cut at once");
                    books.cut_now();
                    scope.stop();
                }
            }
            Ok(())
        })
        .await;
    books.scope_ended(ended.result, Vec::new()); // who was forced here is in the books already
}

impl Run {
    async fn stages(self, serving: Context) -> Result<(), Infallible> {
        let Run { bound, readiness: _, books, grace, patrol_every, guard, arrival } = self;
        let around = ScopeBuilder::<Infallible>::new(&Context::current())
            .grace(grace + MARGIN)
            .run(async |scope| {
                let guard = guard.and_then(|options| start_guard(&scope, options));
                if let Some(admin) = bound.admin {
                    start(&scope, admin, None, &books);
                }
                scope.spawn_named("findings", async move {
                    let Err(_asked_to_stop) = watch(patrol_every).await;
                    Ok(())
                });
                let (until_then, end) = Context::current().with_cancel();
                let (behind, around) = (bound.behind, (guard.clone(), Arc::clone(&books)));
                let behind = scope.fork(async move {
                    serve_behind(behind, &until_then, around, grace).await;
                    Ok(())
                });
                let listeners = (bound.listeners, bound.gateway);
                let arrival = (arrival, scope.clone());
                let mut serves = pin!(serve(listeners, &serving, guard, arrival, &books, grace));
                // By then what is short has ended; streams end when those who send them are told
                // to.
                let streams_end = async {
                    let _ = serving.cancelled().await;
                    tokio::time::sleep(grace / 10).await;
                };
                tokio::select! {
                    biased;
                    () = &mut serves => end.cancel(),
                    () = streams_end => {
                        end.cancel();
                        serves.await;
                    }
                }
                let _asked_to_stop = behind.join().await;
                scope.stop();
                Ok(())
            })
            .await;
        books.scope_ended(around.result, around.forced);
        Ok(())
    }
}

/// Serves what the gateway hands to, until `context` is cancelled and all have drained.
async fn serve_behind(
    listeners: Vec<Service>,
    context: &Context,
    (guard, books): (Option<Guard>, Arc<Books>),
    grace: Duration,
) {
    let ended = ScopeBuilder::<Infallible>::new(context)
        .grace(grace + MARGIN)
        .run(async |scope| {
            for listener in listeners {
                start(&scope, listener, guard.clone(), &books);
            }
            Ok(())
        })
        .await;
    books.scope_ended(ended.result, ended.forced);
}

/// Serves what is not the admin endpoint, until `serving` is cancelled and all have drained.
async fn serve(
    (listeners, gateway): (Vec<Service>, Option<Gateway>),
    serving: &Context,
    guard: Option<Guard>,
    (mut arrival, around): (Arrival, Scope<Infallible>),
    books: &Arc<Books>,
    grace: Duration,
) {
    let ended = ScopeBuilder::<Infallible>::new(serving)
        .grace(grace + MARGIN)
        .run(async |scope| {
            for listener in listeners {
                start(&scope, listener, guard.clone(), books);
            }
            let asked = serving.clone();
            if let Some(gateway) = gateway {
                let (context, books) = (scope.context().clone(), Arc::clone(books));
                let stops = scope.clone();
                scope.spawn_named("gateway", async move {
                    let ready = || arrival.is_ready(&around, &asked);
                    let done = gateway.serve(&context, guard, ready).await;
                    if done.has_failed {
                        stops.stop(); // it is not for others to go on as if nothing had happened
                    }
                    books.gateway(done);
                    Ok(())
                });
            } else {
                arrival.is_ready(&around, &asked);
            }
            Ok(())
        })
        .await;
    books.scope_ended(ended.result, ended.forced);
}

fn start_guard(scope: &Scope<Infallible>, options: GuardOptions) -> Option<Guard> {
    let failed = |error: &GuardOptionsError| tracing::error!(%error, "nothing is guarded");
    Guard::start(scope, options).inspect_err(failed).ok()
}

fn start(scope: &Scope<Infallible>, service: Service, guard: Option<Guard>, books: &Arc<Books>) {
    let (context, books) = (scope.context().clone(), Arc::clone(books));
    scope.spawn_named("listener", async move {
        service.serve(&context, guard.as_ref(), &books).await;
        Ok(())
    });
}
