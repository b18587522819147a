//! Stopping has two stages, and who was forced is named.

use std::time::Duration;

use staunch_ledger::State;
use staunch_scope::{
    BoxError, Cancelled, Context, DEFAULT_GRACE, ScopeBuilder, ScopeError, scope, shield, sleep,
    timeout,
};
use tokio::time::Instant;

use crate::common::{Dropped, HOUR, SECOND, deaf_sleep, observed};

#[staunch::test(start_paused = true)]
async fn who_does_not_end_when_asked_is_forced_and_named() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    let ended = ScopeBuilder::new(&Context::current())
        .grace(3 * SECOND)
        .run(|s| async move {
            s.spawn_named("deaf", async move {
                let _flag = flag;
                deaf_sleep(HOUR).await;
                Ok(())
            });
            s.spawn(async { Ok(sleep(HOUR).await?) });
            tokio::task::yield_now().await;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok(), "a scope that stops itself has succeeded");
    assert_eq!(started.elapsed(), 3 * SECOND);
    assert!(dropped.get(), "the destructor of a forced child runs before the scope ends");
    let [forced] = &ended.forced[..] else { panic!("{:?}", ended.forced) };
    assert_eq!(forced.state, State::Waiting);
    assert!(forced.born_at.file().ends_with("stopping.rs"));
    assert!(forced.to_string().ends_with("waiting (deaf)"), "{forced}");
    assert_eq!(observed("forced-task"), 1);
}

#[staunch::test(start_paused = true)]
async fn who_cleans_up_within_the_grace_is_not_forced() {
    let started = Instant::now();
    let ended = ScopeBuilder::new(&Context::current())
        .run(|s| async move {
            s.spawn(async {
                let asked = sleep(HOUR).await;
                shield(sleep(2 * SECOND)).await?; // says goodbye
                Ok(asked?)
            });
            sleep(SECOND).await?;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok() && ended.forced.is_empty());
    assert_eq!(started.elapsed(), 3 * SECOND);
}

#[staunch::test(start_paused = true)]
async fn the_body_can_be_forced() {
    let started = Instant::now();
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let ended = ScopeBuilder::new(&Context::current().with_timeout(SECOND))
        .run(|_| async move {
            let _flag = flag;
            deaf_sleep(HOUR).await;
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(matches!(ended.result, Err(ScopeError::Cancelled(Cancelled::DeadlineExceeded))));
    assert_eq!((ended.forced.len(), started.elapsed()), (1, SECOND + DEFAULT_GRACE));
    assert!(dropped.get());
}

#[staunch::test(start_paused = true)]
async fn a_child_that_comes_while_the_scope_stops_hears_it() {
    let started = Instant::now();
    scope(&Context::current(), |s| async move {
        s.stop();
        s.spawn(async {
            assert_eq!(sleep(HOUR).await, Err(Cancelled::Requested));
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[staunch::test(start_paused = true)]
async fn an_endless_grace_does_not_overflow() {
    let ended = ScopeBuilder::new(&Context::current())
        .grace(Duration::MAX)
        .run(|s| async move {
            s.spawn(async {
                deaf_sleep(HOUR).await;
                Ok(())
            });
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok() && ended.forced.is_empty());
}

/// A child that runs a scope of its own is forced: its grandchildren must not outlive the
/// outer scope, and have had their grace.
#[staunch::test(start_paused = true)]
async fn forcing_a_child_forces_the_scope_it_runs() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    let ended = ScopeBuilder::new(&Context::current())
        .grace(SECOND)
        .run(|s| async move {
            s.spawn(async move {
                let inner = ScopeBuilder::new(&Context::background()).grace(HOUR);
                let ended = inner.run(|inner| async move {
                    inner.spawn(async move {
                        let _flag = flag;
                        deaf_sleep(HOUR).await;
                        Ok(())
                    });
                    Ok::<_, BoxError>(())
                });
                Ok(ended.await.result?)
            });
            tokio::task::yield_now().await;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert_eq!(started.elapsed(), SECOND);
    assert!(dropped.get(), "the grandchild ended before the outer scope did");
    assert_eq!((ended.forced.len(), observed("forced-task")), (1, 2));
}

/// A child drops a scope it ran, and ends: the outer scope still waits for what is left.
#[staunch::test(start_paused = true)]
async fn the_remains_of_a_dropped_scope_belong_to_the_outer_scope() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let inner = scope(&Context::current(), |inner| async move {
                inner.spawn(async move {
                    let _flag = flag;
                    let _ = sleep(HOUR).await;
                    deaf_sleep(2 * SECOND).await;
                    Ok(())
                });
                Ok::<_, BoxError>(())
            });
            assert!(timeout(SECOND, inner).await.is_err());
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert!(dropped.get());
    assert_eq!(started.elapsed(), 3 * SECOND);
}

/// As above, but the remains do not end by themselves before the outer scope is stopped.
#[staunch::test(start_paused = true)]
async fn the_remains_of_a_dropped_scope_are_forced_with_the_outer_scope() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    let ended = ScopeBuilder::new(&Context::current())
        .grace(SECOND)
        .run(|s| async move {
            let inner = ScopeBuilder::new(&Context::current()).grace(HOUR);
            let inner = inner.run(|inner| async move {
                inner.spawn(async move {
                    let _flag = flag;
                    deaf_sleep(2 * HOUR).await;
                    Ok(())
                });
                Ok::<_, BoxError>(())
            });
            assert!(timeout(SECOND, inner).await.is_err());
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(dropped.get());
    assert_eq!((ended.forced.len(), started.elapsed()), (1, 2 * SECOND));
}
