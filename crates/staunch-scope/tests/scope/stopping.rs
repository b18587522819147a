//! Stopping has two stages, and who was forced is named.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context as Poller, Poll, Wake, Waker},
    time::Duration,
};

use staunch_ledger::State;
use staunch_scope::{
    BoxError, Cancelled, Context, DEFAULT_GRACE, ScopeBuilder, ScopeError, detach, scope, shield,
    sleep, timeout,
};
use tokio::time::Instant;

use crate::common::{Dropped, HOUR, SECOND, deaf_sleep, observed, yield_often};

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

/// Two levels: what is left of a scope within a scope that was itself dropped.
#[staunch::test(start_paused = true)]
async fn remains_within_remains_belong_to_the_outermost_scope() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let middle = scope(&Context::current(), |middle| async move {
                middle.spawn(async move {
                    let inner = scope(&Context::current(), |inner| async move {
                        inner.spawn(async move {
                            let _flag = flag;
                            deaf_sleep(3 * SECOND).await;
                            Ok(())
                        });
                        Ok::<_, BoxError>(())
                    });
                    // Asked when `middle` is dropped, it drops `inner` in turn.
                    assert!(timeout(HOUR, inner).await.is_err());
                    Ok(())
                });
                Ok::<_, BoxError>(())
            });
            assert!(timeout(SECOND, middle).await.is_err());
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert!(dropped.get(), "the innermost child ended before the outermost scope did");
    assert_eq!(started.elapsed(), 3 * SECOND);
}

/// Drops what it holds when it is woken.
struct DropWhenWoken<F>(Mutex<Option<Pin<Box<F>>>>);

impl<F: Send> Wake for DropWhenWoken<F> {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("no panic holds it").take());
    }
}

/// A task is forced, and a scope it ran is dropped after its siblings were told and before the
/// task itself is: what is left hears it all the same.
#[staunch::test(start_paused = true)]
async fn remains_hear_what_their_runner_is_about_to_be_told() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let task = detach("is aborted while its scope is dropped", async move {
        let mut inner = Box::pin(scope(&Context::background(), |inner| async move {
            inner.spawn(async move {
                let _flag = flag;
                deaf_sleep(HOUR).await;
                Ok(())
            });
            Ok::<_, BoxError>(())
        }));
        poll_fn(|cx| {
            assert!(inner.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let waker = Waker::from(Arc::new(DropWhenWoken(Mutex::new(Some(inner)))));
        let context = Context::current();
        let mut cancelled = pin!(context.cancelled());
        assert!(cancelled.as_mut().poll(&mut Poller::from_waker(&waker)).is_pending());
        std::future::pending::<()>().await;
    });
    yield_often().await;
    let started = Instant::now();
    task.abort();
    task.ended().await.unwrap();
    yield_often().await;
    assert!(dropped.get());
    assert_eq!(started.elapsed(), Duration::ZERO, "it had no grace of its own");
}

/// Many times, a little later each time, since the abort has to fall into the first poll.
#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_forced_in_its_first_poll_ends() {
    for round in 0..40_000 {
        let task = detach("is aborted at once", std::future::pending());
        for _ in 0..round % 500 {
            std::hint::spin_loop();
        }
        task.abort();
        timeout(10 * SECOND, task.ended()).await.expect("the task was never woken").unwrap();
    }
}

#[staunch::test(start_paused = true)]
async fn an_error_of_the_body_after_it_stopped_the_scope_is_kept() {
    let ended = ScopeBuilder::new(&Context::current())
        .run(|s| async move {
            s.spawn(async { Ok(sleep(HOUR).await?) });
            s.spawn(async {
                let _ = sleep(HOUR).await;
                Err("cannot say goodbye".into())
            });
            tokio::task::yield_now().await;
            s.stop();
            Err::<(), BoxError>("the state was not saved".into())
        })
        .await;
    assert!(ended.result.unwrap_err().to_string().ends_with(": the state was not saved"));
    assert_eq!(ended.unheard, 1, "the goodbye; an echo is not counted");
}

#[staunch::test(start_paused = true)]
async fn an_echo_in_the_body_after_it_stopped_the_scope_is_no_failure() {
    let ended = scope(&Context::current(), |s| async move {
        s.stop();
        sleep(HOUR).await.map_err(std::io::Error::other)?;
        Ok::<(), BoxError>(())
    });
    assert!(matches!(ended.await, Err(ScopeError::Cancelled(Cancelled::Requested))));
}
