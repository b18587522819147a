//! A search for leaks that nobody has to ask for.

use std::{convert::Infallible, time::Duration};

use staunch_ledger::{Detector, Ledger, Look, Patrol};

use crate::{
    channel::doomed_waits,
    context::{Cancelled, Context},
    error::{JoinChildError, ScopeError},
    scope::scope,
    sleep::sleep,
};

/// Looks at the current ledger every so often, until the task is asked to stop.
///
/// What it finds is logged as a warning, with the line it was born on, and noted on the ledger:
/// entries that have broken their promise at two looks in a row (`overdue`; see [`Patrol`]), and
/// waits that nobody can end (`doomed-wait`; see [`doomed_waits`]). The lines of the former
/// record backtraces from then on. The looks run on a thread where they may block.
///
/// # Errors
/// [`Cancelled`] once the task is asked to stop; it never ends otherwise.
///
/// # Cancel safety
/// Cancel safe: nothing is lost but what the last look remembers.
///
/// # Panics
/// Outside a tokio runtime with time enabled.
///
/// # Examples
/// ```
/// use staunch_scope::{BoxError, Context, patrol, scope};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let served = scope(&Context::background(), |s| async move {
///     s.spawn(async {
///         let Err(stopped) = patrol(Duration::from_secs(10)).await;
///         Err(stopped.into())
///     });
///     // serve
///     s.stop();
///     Ok::<_, BoxError>(())
/// });
/// # let _ =
/// served.await;
/// # });
/// ```
pub async fn patrol(every: Duration) -> Result<Infallible, Cancelled> {
    let ledger = Ledger::current();
    let mut patrol = Patrol::new(ledger);
    loop {
        sleep(every).await?;
        patrol = look(patrol).await.unwrap_or_else(|error| {
            if !Context::current().is_cancelled() {
                tracing::error!(%error, "cannot look for leaks: the next look starts afresh");
            }
            Patrol::new(ledger)
        });
    }
}

async fn look(mut patrol: Patrol) -> Result<Patrol, ScopeError<JoinChildError>> {
    let ledger = Ledger::current();
    let look = move || {
        tell(&patrol.look());
        doomed_waits(ledger); // tells by itself
        patrol
    };
    scope(&Context::current(), |scope| async move { scope.blocking(|_| Ok(look())).join().await })
        .await
}

fn tell(look: &Look) {
    for suspicion in &look.suspects {
        let born_at = suspicion.site.location();
        tracing::warn!(%born_at, count = suspicion.count, "a leak, it seems: {suspicion}");
    }
    for site in &look.calmed {
        tracing::info!(born_at = %site.location(), "no longer suspected of a leak");
    }
    if look.detector == Detector::Broken {
        tracing::error!("the leak detector is broken: it missed its own canary; report this");
    }
}
