//! The task that looks after a pool: resets what comes back, says goodbye, keeps the idle
//! connections fresh, and looks for abandoned leases. A daemon of the pool's scope, so that whoever
//! keeps a handle or a lease does not keep the scope from ending; whatever it starts is a child of
//! its own.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use staunch_scope::{Context, Isolate, Scope, ScopeBuilder, is_dismissed, sleep_until};
use tokio::time::Instant;

use crate::{
    abandoned::Watch,
    floating::Floating,
    manager::{Condition, Manager},
    record::{Pooled, Record},
    shared::{Shared, Work},
    status::Destroyed,
};

/// Looks after the pool until it is closed and its connections have ended, or the task is asked to
/// stop. Closes the pool however it ends, also if it never runs. What is still leased when nobody is
/// left in the scope is kept by somebody who will not give it back: it is ended.
pub(crate) fn keep<M: Manager>(shared: Arc<Shared<M>>) -> impl Future<Output = ()> + Send {
    let retires = Retires(shared);
    async move {
        let shared = &retires.0;
        let grace = shared.options.close_timeout.max(shared.options.reset_timeout);
        let ended = ScopeBuilder::<Infallible>::new(&Context::current())
            .policy(Isolate)
            .grace(grace)
            .run(async |scope| {
                look_after(&scope, shared).await;
                shared.close();
                let _ = tokio::time::timeout(grace, say_goodbyes(&scope, shared)).await;
                Ok(())
            })
            .await;
        drop(ended);
        if is_dismissed() {
            shared.live().iter().for_each(|record| record.kill());
        }
    }
}

async fn look_after<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>) {
    let mut rounds = Rounds::new(shared);
    fill(scope, shared);
    while rounds.wait(shared).await && !shared.is_over() {
        if rounds.is_due() {
            rounds.watch.look(shared);
            maintain(scope, shared);
        }
        rounds.has_line = shared.expire();
        if rounds.has_line {
            shared.offer_places();
        }
        start_all(scope, shared);
    }
}

/// Until the last connection is gone. Nobody can be leased one any more.
async fn say_goodbyes<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>) {
    loop {
        start_all(scope, shared);
        if shared.is_over() {
            return;
        }
        shared.work.notified().await;
    }
}

/// When the keeper does what.
struct Rounds {
    watch: Watch,
    /// Between two looks at everything, and between two at the line while there is one.
    long: Duration,
    short: Duration,
    due: Instant,
    has_line: bool,
}

impl Rounds {
    fn new<M: Manager>(shared: &Shared<M>) -> Rounds {
        const FINEST: Duration = Duration::from_millis(1);
        let options = &shared.options;
        // A quarter, so that what is abandoned is not found much later than it could be.
        let long = options.maintenance_interval.min(options.abandoned_timeout / 4).max(FINEST);
        let short = (options.acquire_timeout / 50).max(FINEST);
        let due = Instant::now() + long;
        Rounds { watch: Watch::default(), long, short, due, has_line: false }
    }

    /// Waits until there is something to do; `false` when the task is asked to stop.
    async fn wait<M: Manager>(&self, shared: &Shared<M>) -> bool {
        let line = Instant::now() + self.short;
        let until = if self.has_line { self.due.min(line) } else { self.due };
        tokio::select! {
            biased;
            slept = sleep_until(until) => slept.is_ok(),
            () = shared.work.notified() => true,
        }
    }

    /// Whether it is time to look at everything; then the next time is set.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.due;
        if is_due {
            self.due = now + self.long;
        }
        is_due
    }
}

/// Closes the pool however its keeper ends.
struct Retires<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> Drop for Retires<M> {
    fn drop(&mut self) {
        self.0.close();
        self.0.retire();
    }
}

fn start_all<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>) {
    for work in shared.take_work() {
        start(scope, shared, work);
    }
}

/// Starts work as a child; but what only waits to say goodbye is dropped without, if there is as
/// much of it as there may be connections.
fn start<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>, work: Work<M>) {
    if matches!(work, Work::Close(_)) && scope.live() > 2 * shared.options.max_total {
        return;
    }
    let shared = Arc::clone(shared);
    scope.spawn_named("pool keeper", async move {
        match work {
            Work::Check(floating, condition) => {
                let validate = shared.options.test_on_return;
                if let Ok(Some(record)) = floating.checked(condition, validate).await {
                    Shared::give(record, shared.ledger.now());
                }
            }
            Work::Close(pooled) => {
                let Pooled { connection, _account } = *pooled;
                let goodbye = shared.manager.close(connection);
                let _ = tokio::time::timeout(shared.options.close_timeout, goodbye).await;
            }
        }
        Ok(())
    });
}

/// Ends what is idle for too long or too old, validates the rest, makes what is wanted.
fn maintain<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>) {
    let now = shared.ledger.now();
    let is_stale = |record: &Record<M>| record.idle_for(now) >= shared.options.min_evictable_idle;
    for record in shared.stock.extract(|record, _| record.is_expired(now)) {
        shared.destroy(&record, Destroyed::Expired);
    }
    for record in
        shared.stock.extract(|record, left| left > shared.options.min_idle && is_stale(record))
    {
        shared.destroy(&record, Destroyed::Idle);
    }
    if shared.options.test_while_idle {
        let rest = shared.options.maintenance_interval;
        for record in shared.stock.extract(|record, _| record.idle_for(now) >= rest) {
            let floating = Floating::new(record);
            scope.spawn_named("pool keeper", async move {
                let idle_since = floating.record().idle_since(); // a validation is no use
                if let Ok(Some(record)) = floating.checked(Condition::Clean, true).await {
                    Shared::give(record, idle_since);
                }
                Ok(())
            });
        }
    }
    fill(scope, shared);
}

/// Makes connections ahead of need, one after the other.
fn fill<M: Manager>(scope: &Scope<Infallible>, shared: &Arc<Shared<M>>) {
    if shared.options.min_idle == 0 || shared.is_filling.swap(true, Ordering::Relaxed) {
        return;
    }
    let filling = Filling(Arc::clone(shared));
    scope.spawn_named("pool keeper", async move {
        let shared = &filling.0;
        while let Some(place) = shared.place_ahead() {
            let Ok(record) = shared.create(place, Instant::now()).await else { break };
            Shared::give(record, shared.ledger.now());
        }
        Ok(())
    });
}

/// Somebody makes connections ahead of need as long as this lives.
struct Filling<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> Drop for Filling<M> {
    fn drop(&mut self) {
        self.0.is_filling.store(false, Ordering::Relaxed);
    }
}
