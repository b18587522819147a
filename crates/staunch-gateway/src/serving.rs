//! The listeners that a core accepts from, as plans have them come and go.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use staunch_guard::Guard;
use staunch_net::Served;
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
    pub(crate) async fn run(
        mut self,
        context: &Context,
        around: &Scope<CoreError>,
        mut plans: watch::Receiver<Arc<Plan>>,
        grace: Duration,
    ) {
        let ended = ScopeBuilder::<Infallible>::new(context)
            .grace(grace)
            .run(async |scope| {
                self.follow(&scope);
                let (inner, outer) = (scope.clone(), around.clone());
                around.spawn_named("plans", async move {
                    while plans.changed().await.is_ok() {
                        self.take_up(&inner, &outer, plans.latest());
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
    }

    fn take_up(&mut self, scope: &Scope<Infallible>, around: &Scope<CoreError>, plan: Arc<Plan>) {
        let Some(before) = self.shared.take_up(around, plan, self.place) else { return };
        let plan = Arc::clone(&self.shared.state().plan);
        self.now.retain(|one| {
            let stays = plan.listeners.iter().any(|it| Arc::ptr_eq(it, &one.listening));
            if !stays {
                one.view.ends_with(Arc::clone(&before));
            }
            stays
        });
        self.follow(scope);
    }

    /// Accepts from those that are new.
    fn follow(&mut self, scope: &Scope<Infallible>) {
        let state = self.shared.state();
        for listening in &state.plan.listeners {
            if self.now.iter().any(|one| Arc::ptr_eq(&one.listening, listening)) {
                continue;
            }
            if scope.context().is_cancelled() {
                listening.close(); // too late
                continue;
            }
            let (context, stops) = scope.context().with_cancel();
            let view = View::new(Arc::clone(&self.shared));
            for share in listening.take(self.place.0, &self.reports) {
                self.start(scope, share, context.clone(), Arc::clone(&view));
            }
            self.now.push(One { listening: Arc::clone(listening), view, _stops: stops });
        }
    }

    fn start(&self, scope: &Scope<Infallible>, share: Share, context: Context, view: Arc<View>) {
        let (into, guard, up) = (Arc::clone(&self.into), self.guard.clone(), self.up.clone());
        scope.spawn_named("listener", async move {
            // Here, and not where it is started from: that has ended by now, and whoever is told
            // that all accept finds nothing that is about to end.
            up.modify(|listeners| *listeners += 1);
            if let Some(done) = share.serve(&context, view, guard.as_ref()).await {
                book(&into, done);
            }
            Ok(())
        });
    }
}

/// One entry for each name, however often a listener of that name came and went.
fn book(into: &Booked, (name, done): (String, Served)) {
    let mut booked = into.lock().unwrap_or_else(PoisonError::into_inner);
    match booked.iter_mut().find(|(known, _)| *known == name) {
        None => booked.push((name, done)),
        Some((_, sum)) => {
            sum.accepted += done.accepted;
            sum.refused += done.refused;
            sum.cut.extend(done.cut);
        }
    }
}
