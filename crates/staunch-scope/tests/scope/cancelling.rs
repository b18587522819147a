//! Cancellation is level-triggered and reaches every await of ours.

use staunch_scope::{
    BoxError, Cancelled, Context, JoinChildError, ScopeBuilder, ScopeError, Wait, mpsc, scope,
    shield, sleep, sleep_until, timeout,
};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

use crate::common::{HOUR, Nest, SECOND, deaf_sleep};

const ASKED: Result<(), Cancelled> = Err(Cancelled::Requested);

#[staunch::test(start_paused = true)]
async fn once_asked_every_await_says_so_every_time() {
    scope(&Context::current(), |s| async move {
        let never = s.fork(async {
            deaf_sleep(SECOND).await;
            Ok(())
        });
        s.stop();
        for _ in 0..3 {
            assert_eq!(sleep(HOUR).await, ASKED);
            assert_eq!(sleep_until(Instant::now()).await, ASKED, "even if it is over");
            assert_eq!(timeout(HOUR, async {}).await, ASKED);
        }
        let asked = JoinChildError::Cancelled(Cancelled::Requested);
        assert_eq!(never.join().await, Err(asked));
        assert_eq!(s.context().check(), ASKED);
        assert_eq!(s.context().cancelled().await, Cancelled::Requested);
        assert_eq!(s.context().run(async {}).await, ASKED);
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn a_wait_that_has_begun_is_woken() {
    let started = Instant::now();
    let ended = scope(&Context::current(), |s| async move {
        let stopper = s.clone();
        s.spawn(async move {
            sleep(SECOND).await?;
            stopper.stop();
            Ok(())
        });
        let (left, right) = tokio::join!(sleep(HOUR), timeout(HOUR, deaf_sleep(HOUR)));
        assert_eq!((left, right), (ASKED, ASKED));
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    assert_eq!(started.elapsed(), SECOND);
}

/// An executor inside the task polls only what was woken by name: waking the task is not enough.
#[staunch::test(start_paused = true)]
async fn waits_below_an_executor_inside_the_task_are_woken() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let started = Instant::now();
    scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let mut nest = Nest::new();
            for number in 1..=3 {
                let count = Arc::clone(&count);
                nest.push(async move {
                    assert_eq!(sleep(number * HOUR).await, ASKED);
                    assert_eq!(sleep(HOUR).await, ASKED);
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
            assert_eq!(nest.await, 6, "each member is polled once to start and once to stop");
            Ok(())
        });
        sleep(SECOND).await?;
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!((heard.load(Ordering::SeqCst), started.elapsed()), (3, SECOND));
}

#[staunch::test(start_paused = true)]
async fn a_cancelled_context_stops_the_scope() {
    let (context, cancel) = Context::current().with_cancel();
    let started = Instant::now();
    let (ended, ()) = tokio::join!(
        scope(&context, |s| async move {
            s.spawn(async { Ok(sleep(HOUR).await?) });
            Ok::<_, BoxError>(())
        }),
        async {
            sleep(SECOND).await.unwrap();
            cancel.cancel();
        }
    );
    assert!(matches!(ended, Err(ScopeError::Cancelled(Cancelled::Requested))));
    assert_eq!(started.elapsed(), SECOND);
}

#[staunch::test(start_paused = true)]
async fn a_scope_on_a_cancelled_context_runs_nothing_that_waits() {
    let (context, cancel) = Context::current().with_cancel();
    cancel.cancel();
    let ended = scope(&context, |s| async move {
        assert_eq!(sleep(HOUR).await, ASKED, "in its very first await");
        s.spawn(async {
            assert_eq!(sleep(HOUR).await, ASKED);
            Ok(())
        });
        Ok::<_, BoxError>(())
    });
    assert!(matches!(ended.await, Err(ScopeError::Cancelled(Cancelled::Requested))));
}

/// The inner scope has a context of its own: asking the outer task reaches it all the same.
#[staunch::test(start_paused = true)]
async fn asking_a_task_asks_the_scope_it_runs() {
    let started = Instant::now();
    scope(&Context::current(), |s| async move {
        s.spawn(async {
            let inner = scope(&Context::background(), |inner| async move {
                inner.spawn(async {
                    assert_eq!(sleep(HOUR).await, ASKED);
                    Ok(())
                });
                Ok::<_, BoxError>(())
            });
            assert!(matches!(inner.await, Err(ScopeError::Cancelled(Cancelled::Requested))));
            Ok(())
        });
        sleep(SECOND).await?;
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!(started.elapsed(), SECOND);
}

#[staunch::test(start_paused = true)]
async fn shielded_work_does_not_hear_it() {
    scope(&Context::current(), |s| async move {
        s.stop();
        let before = Instant::now();
        let shielded = shield(async {
            sleep(SECOND).await?;
            // A scope inside the shield is shielded as well, but can be stopped by itself.
            let inner = scope(&Context::current(), |inner| async move {
                inner.spawn(async { Ok(sleep(SECOND).await?) });
                sleep(SECOND).await?;
                assert_eq!(Context::current().check(), Ok(()));
                inner.stop();
                assert_eq!(sleep(SECOND).await, ASKED);
                Ok::<_, BoxError>(())
            });
            inner.await?;
            Ok::<_, BoxError>(())
        });
        shielded.await?;
        assert_eq!(before.elapsed(), 2 * SECOND);
        assert_eq!(sleep(SECOND).await, ASKED, "outside the shield it is heard again");
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

/// What a crate with awaits of its own does.
#[staunch::test]
async fn a_wait_outside_a_scope_only_waits() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut wait, mut polls) = (Wait::new(), 0);
        let waited = runtime.block_on(poll_fn(|cx| {
            wait.poll(cx, staunch_scope::State::Read, |cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
            })
        }));
        sender.send(waited).unwrap();
    });
    assert_eq!(receiver.await.unwrap(), Ok(3));
    thread.unwrap().join().unwrap();
}

#[staunch::test(start_paused = true)]
async fn timeouts_end_what_takes_too_long_and_nothing_else() {
    let started = Instant::now();
    assert_eq!(timeout(SECOND, deaf_sleep(HOUR)).await, Err(Cancelled::DeadlineExceeded));
    assert_eq!(timeout(HOUR, async { 42 }).await, Ok(42));
    assert_eq!(timeout(std::time::Duration::MAX, sleep(SECOND)).await, Ok(Ok(())));
    assert_eq!(started.elapsed(), 2 * SECOND);
}

/// A context that nobody cancels: the task is asked all the same.
#[staunch::test(start_paused = true)]
async fn waiting_for_a_context_ends_when_the_task_is_asked() {
    let started = Instant::now();
    let ended = ScopeBuilder::new(&Context::current())
        .run(|s| async move {
            s.spawn(async {
                assert_eq!(Context::background().cancelled().await, Cancelled::Requested);
                let ran = Context::background().run(deaf_sleep(HOUR)).await;
                assert_eq!(ran, Err(Cancelled::Requested));
                Ok(())
            });
            tokio::task::yield_now().await;
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok() && ended.forced.is_empty());
    assert_eq!(started.elapsed(), std::time::Duration::ZERO);
}

/// Uses up, in each turn, all that tokio lets a task do in one.
async fn never_rests() {
    loop {
        tokio::task::consume_budget().await;
    }
}

#[staunch::test]
async fn a_deadline_is_heard_by_who_never_rests() {
    let limit = Duration::from_millis(20);
    assert_eq!(timeout(limit, never_rests()).await, Err(Cancelled::DeadlineExceeded));
    let context = Context::current().with_timeout(limit);
    let ended = ScopeBuilder::<BoxError>::new(&context).grace(limit).run(|_| async {
        never_rests().await;
        Ok(())
    });
    let ended = ended.await;
    assert!(matches!(ended.result, Err(ScopeError::Cancelled(Cancelled::DeadlineExceeded))));
    assert_eq!(ended.forced.len(), 1, "it does not listen");
}

/// More than tokio lets a task have in one turn.
#[staunch::test]
async fn values_that_are_there_are_had_by_who_was_asked_to_stop() {
    scope(&Context::current(), |s| async move {
        let children: Vec<_> = (0..300).map(|number| s.fork(async move { Ok(number) })).collect();
        while s.live() > 1 {
            tokio::task::yield_now().await;
        }
        s.stop();
        for (number, child) in children.into_iter().enumerate() {
            assert_eq!(child.join().await, Ok(number));
        }
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

/// What comes back from our own awaits makes no scope fail that stopped itself.
#[staunch::test]
async fn our_own_errors_are_known_for_echoes() {
    let (full, _receiver) = mpsc::channel(1);
    full.send(1).await.unwrap();
    let sender = full.clone();
    let ended = ScopeBuilder::<BoxError>::new(&Context::current()).run(|s| async move {
        s.stop();
        sender.send(2).await?;
        Ok(())
    });
    assert!(matches!(ended.await.result, Err(ScopeError::Cancelled(_)) | Ok(())));
    let ended = ScopeBuilder::<JoinChildError>::new(&Context::current()).run(|s| async move {
        let child = s.fork(async {
            deaf_sleep(Duration::from_millis(1)).await;
            Ok(())
        });
        s.stop();
        child.join().await
    });
    assert!(matches!(ended.await.result, Err(ScopeError::Cancelled(_)) | Ok(())));
}
