//! A scope whose future is dropped: its children end by themselves, visibly.

use std::{future::Future, pin::pin, task::Poll};

use staunch_ledger::{Entry, Kind, Ledger, State};
use staunch_scope::{BoxError, Context, ScopeBuilder, current_task, scope, sleep};
use tokio::time::Instant;

use crate::common::{Dropped, HOUR, SECOND, deaf_sleep, entries, observed, yield_often};

/// Polls `work` until every task has had its turn, and drops it.
async fn start_and_drop<F: Future>(work: F) {
    let mut work = pin!(work);
    for _ in 0..4 {
        std::future::poll_fn(|cx| {
            assert!(work.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        yield_often().await;
    }
}

/// The scopes on the ledger in a state, the test's own excluded.
fn scopes() -> Vec<State> {
    let own = |entry: &Entry| entry.parent().is_none();
    entries(Kind::SCOPE).iter().filter(|entry| !own(entry)).map(Entry::state).collect()
}

#[staunch::test(start_paused = true)]
async fn children_are_asked_and_the_scope_stays_visible_until_they_have_ended() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    start_and_drop(scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _flag = flag;
            let _ = sleep(HOUR).await;
            deaf_sleep(2 * SECOND).await; // cleans up
            Ok(())
        });
        Ok::<_, BoxError>(())
    }))
    .await;
    assert_eq!(scopes(), [State::Reaping]);
    assert!(!dropped.get());
    sleep(2 * SECOND).await.unwrap();
    yield_often().await;
    assert!(dropped.get());
    assert!(scopes().is_empty());
    assert_eq!(observed("forced-task"), 0);
}

#[staunch::test(start_paused = true)]
async fn who_does_not_hear_is_forced_when_the_grace_is_over() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let builder = ScopeBuilder::new(&Context::current()).grace(3 * SECOND);
    start_and_drop(builder.run(|s| async move {
        s.spawn(async move {
            let _flag = flag;
            deaf_sleep(HOUR).await;
            Ok(())
        });
        Ok::<_, BoxError>(())
    }))
    .await;
    sleep(2 * SECOND).await.unwrap();
    assert!(!dropped.get());
    sleep(SECOND).await.unwrap();
    yield_often().await;
    assert!(dropped.get());
    assert_eq!(observed("forced-task"), 1);
    assert!(scopes().is_empty());
}

/// The children had been asked before the drop, so the signal does not change: they must learn
/// all the same that they now end by themselves.
#[staunch::test(start_paused = true)]
async fn a_scope_dropped_while_it_stops_is_reaped_too() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let builder = ScopeBuilder::new(&Context::current()).grace(3 * SECOND);
    start_and_drop(builder.run(|s| async move {
        s.spawn(async move {
            let _flag = flag;
            deaf_sleep(HOUR).await;
            Ok(())
        });
        tokio::task::yield_now().await;
        s.stop();
        Ok::<_, BoxError>(())
    }))
    .await;
    let started = Instant::now();
    while !dropped.get() {
        sleep(SECOND).await.unwrap();
        assert!(started.elapsed() <= 4 * SECOND, "the child was never reaped");
        yield_often().await;
    }
    assert_eq!(observed("forced-task"), 1);
}

#[staunch::test(start_paused = true)]
async fn a_scope_that_was_never_polled_leaves_no_trace() {
    let births = Ledger::current().births(Kind::SCOPE);
    drop(scope(&Context::current(), |_| async { Ok::<_, BoxError>(()) }));
    assert_eq!(Ledger::current().births(Kind::SCOPE), births);
}

#[staunch::test(start_paused = true)]
async fn the_body_of_a_dropped_scope_is_dropped_with_it() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    start_and_drop(scope(&Context::current(), |_| async move {
        let _flag = flag;
        assert!(current_task().is_some());
        sleep(HOUR).await?;
        Ok::<_, BoxError>(())
    }))
    .await;
    assert!(dropped.get() && scopes().is_empty());
}
