//! The listeners that a core accepts from, as plans have them come and go.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_guard::Guard;
use staunch_net::{Listener, Served};
use staunch_scope::{Canceller, Context, Scope, ScopeBuilder, watch};

use crate::{
    core::{CoreError, Place, Share, Shared, View},
    listeners::Listening,
    plan::Plan,
    reports::Reports,
};

/// What listeners of a core did, by name.
pub(crate) type Booked = Arc<Mutex<Vec<(String, Served)>>>;

/// Accepts from what the plan has.
pub(crate) struct Serving {
    shared: Arc<Shared>,
    place: Place,
    guard: Option<Guard>,
    reports: Reports,
    /// How many accept, those of all cores together.
    up: watch::Sender<usize>,
    into: Booked,
    now: Vec<One>,
}

/// A listener that is accepted from. Dropped, it accepts no more and drains.
struct One {
    listening: Arc<Listening>,
    view: Arc<View>,
    context: Context,
    _stops: Canceller,
}

impl Serving {
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: Place,
        (guard, reports): (Option<Guard>, Reports),
        (up, into): (watch::Sender<usize>, Booked),
    ) -> Serving {
        Serving { shared, place, guard, reports, up, into, now: Vec::new() }
    }

    /// Serves until `context` is cancelled and all have drained. Plans are taken up all the time,
    /// by a child of `around`, which has the connections to servers.
    ///
    /// # Errors
    /// When one of those that it begins with cannot be accepted from.
    pub(crate) async fn run(
        mut self,
        context: &Context,
        around: &Scope<CoreError>,
        mut plans: watch::Receiver<Arc<Plan>>,
        grace: Duration,
    ) -> Result<(), CoreError> {
        let mut begun = Ok(());
        let ended = ScopeBuilder::<Infallible>::new(context)
            .grace(grace)
            .run(async |scope| {
                begun = self.follow(&scope);
                if begun.is_err() {
                    scope.stop();
                    return Ok(());
                }
                let (inner, outer) = (scope.clone(), around.clone());
                around.spawn_named("plans", async move {
                    while plans.changed().await.is_ok() {
                        self.take_up(&inner, &outer, &plans.latest());
                    }
                    Ok(())
                });
                let _asked_to_stop = scope.context().cancelled().await;
                Ok(())
            })
            .await;
        for forced in &ended.forced {
            tracing::warn!(?forced, "a listener did not drain within its grace");
        }
        begun
    }

    fn take_up(&mut self, scope: &Scope<Infallible>, around: &Scope<CoreError>, plan: &Arc<Plan>) {
        let Some(before) = self.shared.take_up(around, Arc::clone(plan), self.place) else {
            return self.give_up(plan);
        };
        self.now.retain(|one| {
            let stays = plan.listeners.iter().any(|it| Arc::ptr_eq(it, &one.listening));
            if !stays {
                one.view.ends_with(Arc::clone(&before));
            }
            stays
        });
        if let Err(error) = self.follow(scope) {
            tracing::error!(%error, "it is closed");
        }
    }

    /// Nobody else would accept from this core's part of those that are new.
    fn give_up(&self, plan: &Plan) {
        for listening in plan.listeners.iter().filter(|it| !self.has(it)) {
            tracing::error!(listener = listening.name(), "is closed: a core cannot take it up");
            if self.now.iter().any(|one| one.listening.endpoint() == listening.endpoint()) {
                listening.is_handed_over(); // the file of a Unix socket is that one's again
            }
            listening.close();
        }
    }

    fn has(&self, listening: &Arc<Listening>) -> bool {
        self.now.iter().any(|one| Arc::ptr_eq(&one.listening, listening))
    }

    /// Accepts from those that are new. Those that cannot be accepted from are closed; the first of
    /// their errors.
    fn follow(&mut self, scope: &Scope<Infallible>) -> Result<(), CoreError> {
        let (state, mut followed) = (self.shared.state(), Ok(()));
        for listening in &state.plan.listeners {
            if self.has(listening) {
                continue;
            }
            if scope.context().is_cancelled() {
                listening.close(); // too late
                continue;
            }
            let (context, stops) = scope.context().with_cancel();
            let (listening, view) = (Arc::clone(listening), View::new(Arc::clone(&self.shared)));
            let one = One { listening, view, context, _stops: stops };
            for share in one.listening.take(self.place.0, &self.reports) {
                match share.attach() {
                    Ok(share) => self.start(scope, share, &one),
                    Err(error) => {
                        one.listening.close(); // or the kernel would go on taking connections
                        followed = followed.and(Err(error));
                    }
                }
            }
            self.now.push(one);
        }
        followed
    }

    fn start(&self, scope: &Scope<Infallible>, share: Share<Listener>, one: &One) {
        let (into, guard, up) = (Arc::clone(&self.into), self.guard.clone(), self.up.clone());
        let (view, context) = (Arc::clone(&one.view), one.context.clone());
        scope.spawn_named("listener", async move {
            // Here, and not where it is started from: that has ended by now, and whoever is told
            // that all accept finds nothing that is about to end.
            up.modify(|listeners| *listeners += 1);
            book(&into, share.serve(&context, view, guard.as_ref()).await);
            Ok(())
        });
    }
}

/// One entry for each name, however often a listener of that name came and went.
fn book(into: &Booked, (name, done): (String, Served)) {
    let mut booked = into.lock().unwrap_or_else(PoisonError::into_inner);
    match booked.iter_mut().find(|(known, _)| *known == name) {
        None => booked.push((name, done)),
        Some((_, sum)) => sum.add(done),
    }
}
