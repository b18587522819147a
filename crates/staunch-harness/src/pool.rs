//! What tests of pools share.

use std::{
    error::Error,
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use staunch_ledger::{Kind, Ledger};
use staunch_pool::{Destroyed, Manager, Pool, PoolOptions, PoolStatus};
use staunch_scope::{BoxError, Context, Scope, scope};

/// How long something may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` on a pool in a scope of its own, which ends then; no socket is left on the ledger.
///
/// # Panics
/// When the manager cannot be made, the test panics, or a socket is left.
pub async fn with_pool<M: Manager, E: Error + Send + Sync + 'static>(
    manager: impl FnOnce(&Scope<BoxError>) -> Result<M, E>,
    options: PoolOptions,
    test: impl AsyncFnOnce(Pool<M>, Scope<BoxError>),
) {
    let before = live(Kind::CONNECTION);
    let ended = scope(&Context::current(), |s| async move {
        let pool = Pool::new(&s, manager(&s)?, options)?;
        test(pool, s.clone()).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    if let Err(error) = ended.await {
        panic!("{}", error.resume_panic());
    }
    assert_eq!(live(Kind::CONNECTION), before, "sockets are left");
}

/// Waits until `condition` holds, by looking again and again.
///
/// # Panics
/// When it does not hold within half a minute.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Polls `work` at most `times` times and drops it: cancels it wherever it is then. What it ended
/// with, if it did.
pub async fn poll_times<F: Future>(times: usize, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls < times
            && let Poll::Ready(output) = work.as_mut().poll(cx)
        {
            return Poll::Ready(Some(output));
        }
        polls += 1;
        if polls < times { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

/// How many entries of a kind are on the test's ledger.
pub fn live(kind: Kind) -> usize {
    let snapshot = Ledger::current().snapshot();
    snapshot.entries().iter().filter(|entry| entry.kind() == kind).count()
}

/// How many connections a pool has ended for a reason.
pub fn destroyed(status: &PoolStatus, why: Destroyed) -> u64 {
    status.destroyed.iter().find(|(reason, _)| *reason == why).map_or(0, |(_, count)| *count)
}

/// What a rule has observed on the test's ledger: where, and what.
pub fn observed(rule: &str) -> Vec<String> {
    let mut observed = Ledger::current().observations();
    observed.retain(|observation| observation.rule == rule);
    observed.into_iter().map(|it| format!("{}: {}", it.born_at, it.text)).collect()
}
