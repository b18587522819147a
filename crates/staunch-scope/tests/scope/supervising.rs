//! Supervised children are started again, in steps that can be foretold.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use staunch_ledger::Ledger;
use staunch_scope::{BoxError, Context, Restart, ScopeError, scope, sleep};
use tokio::time::Instant;

use crate::common::{DropFlag, Dropped, HOUR, SECOND, named, observed};

fn restart() -> Restart {
    Restart::default().backoff(SECOND, 4 * SECOND).at_most(5, HOUR)
}

#[staunch::test(start_paused = true)]
async fn a_child_that_fails_is_restarted_with_growing_waits() {
    let started = Instant::now();
    let line = line!() + 4;
    scope(&Context::current(), |s| async move {
        let mut starts = Vec::new();
        let mut attempt = 0;
        s.supervise(restart(), move || {
            attempt += 1;
            starts.push(started.elapsed().as_secs());
            let starts = starts.clone();
            async move {
                match attempt {
                    1 => Err("the peer is down".into()),
                    2 | 3 => panic!("crashed"),
                    4 => Err("again".into()),
                    _ => {
                        assert_eq!(starts, [0, 1, 3, 7, 11]);
                        assert_eq!(named("supervised, restart 4 of 5").polls(), 5);
                        Ok(())
                    }
                }
            }
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!(observed("restarted-task"), 4);
    let first = &Ledger::current().observations()[0];
    assert_eq!(first.born_at.line(), line);
    assert_eq!(first.text, "restart 1 of 5 within 3600s, in 1s: the peer is down");
}

#[staunch::test(start_paused = true)]
async fn after_too_many_failures_the_last_one_is_the_scopes() {
    for panics in [false, true] {
        let attempts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&attempts);
        let error = scope(&Context::current(), |s| async move {
            s.supervise(restart(), move || {
                let attempt = count.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    assert!(!panics, "attempt {attempt}");
                    Err(format!("attempt {attempt}").into())
                }
            });
            sleep(HOUR).await?;
            Ok::<_, BoxError>(())
        });
        let error = error.await.unwrap_err();
        assert!(error.to_string().ends_with("attempt 6"), "{error}");
        assert_eq!(attempts.load(Ordering::SeqCst), 6);
    }
}

#[staunch::test(start_paused = true)]
async fn an_attempt_is_dropped_before_the_next_begins() {
    scope(&Context::current(), |s| async move {
        let mut before: Option<Dropped> = None;
        s.supervise(restart(), move || {
            let last = before.is_some();
            assert!(before.as_ref().is_none_or(Dropped::get));
            let dropped = Dropped::default();
            let flag: DropFlag = dropped.flag();
            before = Some(dropped);
            async move {
                let _flag = flag;
                assert!(last, "the first attempt");
                Ok(())
            }
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn a_scope_that_stops_restarts_nobody() {
    for stop_after in [SECOND / 2, 3 * SECOND / 2] {
        let attempts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&attempts);
        let started = Instant::now();
        scope(&Context::current(), |s| async move {
            // Stopped while it waits for its second attempt, or in the middle of that.
            s.supervise(restart(), move || {
                let attempt = count.fetch_add(1, Ordering::SeqCst);
                async move {
                    sleep(attempt * HOUR).await?;
                    Err("failed".into())
                }
            });
            sleep(stop_after).await?;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await
        .unwrap();
        assert_eq!(started.elapsed(), stop_after);
        assert_eq!(attempts.load(Ordering::SeqCst), if stop_after < SECOND { 1 } else { 2 });
    }
    assert_eq!(observed("restarted-task"), 2, "a task that was asked to stop has not failed");
}

#[staunch::test]
async fn a_factory_that_panics_has_failed_as_well() {
    let error = scope(&Context::current(), |s| async move {
        s.supervise(Restart::default().at_most(0, HOUR), || {
            assert!(std::hint::black_box(false), "in the factory");
            async { Ok(()) }
        });
        Ok::<_, BoxError>(())
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, ScopeError::Failed { .. }));
    assert!(error.to_string().ends_with("in the factory"), "{error}");
}
