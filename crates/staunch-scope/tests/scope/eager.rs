//! A child that is begun in the turn of whoever starts it is a child like any other.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use staunch_ledger::{Kind, Ledger, Observation};
use staunch_scope::{
    BLOCKED_WORKER, BoxError, Cancelled, Context, Isolate, ScopeBuilder, ScopeError, WorkerWatch,
    scope, sleep, sleep_until,
};
use tokio::{sync::Notify, time::Instant};

use crate::common::{Dropped, HOUR, Nest, SECOND, deaf_sleep, named, observed, yield_often};

#[staunch::test]
async fn one_that_ends_at_once_was_never_a_task_of_the_runtimes() {
    let spawned = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    scope(&Context::current(), |s| async move {
        let (before, (dropped, runner)) = (spawned(), (Dropped::default(), tokio::task::try_id()));
        let flag = dropped.flag();
        let child = async move {
            let _flag = flag;
            assert_eq!(tokio::task::try_id(), runner);
            assert_eq!(named("at once").kind(), Kind::TASK);
            Ok(())
        };
        assert!(s.spawn_eager("at once", Box::pin(child)));
        assert!(dropped.get());
        assert_eq!((spawned(), s.live()), (before, 1));
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn one_that_waits_goes_on_as_a_task() {
    let (word, said) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let ended = scope(&Context::current(), |s| async move {
        let (heard, says) = (Arc::clone(&word), Arc::clone(&said));
        let child = async move {
            heard.notified().await;
            sleep(SECOND).await?;
            says.store(true, Ordering::Relaxed);
            Ok(())
        };
        assert!(!s.spawn_eager("waits", Box::pin(child)));
        word.notify_one(); // before the runtime has polled it
        Ok::<_, BoxError>(said)
    });
    assert!(ended.await.unwrap().load(Ordering::Relaxed));
}

/// What was said to a waker of the first poll is not lost, nor what is said to the scope then.
#[staunch::test(start_paused = true)]
async fn one_that_waits_hears_that_it_is_to_stop() {
    for is_nested in [false, true] {
        for polls in [0, 32] {
            let ended = scope(&Context::current(), |s| async move {
                let (heard, hears) = (Dropped::default(), Dropped::default());
                let (flag, mut nest) = (heard.flag(), Nest::new());
                let stops = async move {
                    assert_eq!(sleep(HOUR).await, Err(Cancelled::Requested));
                    drop(flag);
                };
                let flag = hears.flag();
                let child = async move {
                    let _flag = flag;
                    if is_nested {
                        nest.push(stops);
                        nest.await;
                    } else {
                        stops.await;
                    }
                    Ok(())
                };
                assert!(!s.spawn_eager("stops", Box::pin(child)));
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
                s.stop();
                yield_often().await;
                assert!(heard.get() && hears.get(), "nested {is_nested}, {polls} polls");
                Ok::<_, BoxError>(())
            });
            ended.await.unwrap();
        }
    }
}

#[staunch::test(start_paused = true)]
async fn one_that_does_not_stop_is_forced() {
    let ended = ScopeBuilder::new(&Context::current()).grace(SECOND).run(|s| async move {
        let deaf = async {
            deaf_sleep(HOUR).await;
            Ok(())
        };
        assert!(!s.spawn_eager("deaf", Box::pin(deaf)));
        s.stop();
        Ok::<_, BoxError>(())
    });
    let ended = ended.await;
    assert_eq!(ended.forced.len(), 1);
    assert_eq!(ended.forced[0].born_at.line(), line!() - 6);
}

/// Runs `blocks` as a child that the body of a scope begins in its turn, which a child runs; who was blamed.
async fn blamed(blocks: fn()) -> Vec<Observation> {
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let inner = scope(&Context::current(), |s| async move {
                for _ in 0..2 {
                    let child = async move {
                        blocks();
                        Ok(())
                    };
                    assert!(s.spawn_eager("blocks", Box::pin(child)));
                }
                Ok::<_, BoxError>(())
            });
            Ok(inner.await?)
        });
        Ok::<_, BoxError>(())
    });
    let line = line!() - 8;
    assert!(ended.await.is_ok());
    let observations = Ledger::current().observations();
    assert!(observations.iter().all(|it| it.born_at.line() == line), "{observations:?}");
    observations
}

/// Its starter is not blamed for what it does.
#[staunch::test]
async fn one_that_holds_its_worker_is_reported_and_nobody_else() {
    assert_eq!(blamed(|| thread::sleep(2 * BLOCKED_WORKER)).await.len(), 2);
}

#[staunch::test]
async fn one_that_does_not_return_is_reported_and_nobody_else() {
    let watch = WorkerWatch::start().unwrap();
    let until_observed = || {
        let (before, started) = (observed("blocked-worker"), Instant::now());
        while observed("blocked-worker") == before {
            assert!(started.elapsed() < 20 * SECOND, "nobody reported it");
            thread::yield_now();
        }
    };
    assert!(blamed(until_observed).await.len() >= 2);
    drop(watch);
}

#[staunch::test]
async fn its_failure_and_its_panic_are_its_scopes() {
    type Child = fn() -> Ready<Result<(), BoxError>>;
    let children: [Child; 2] = [|| ready(Err("no".into())), || panic!("no")];
    for child in children {
        let ended = scope(&Context::current(), |s| async move {
            assert!(s.spawn_eager("fails", Box::pin(async move { child().await })));
            sleep_until(Instant::now() + HOUR).await?;
            Ok::<_, BoxError>(())
        });
        let Err(ScopeError::Failed { first, .. }) = ended.await else { panic!("it failed") };
        assert_eq!(first.born_at.line(), line!() - 5);
    }
    let ended = ScopeBuilder::new(&Context::current()).policy(Isolate).run(|s| async move {
        s.spawn_eager("panics", Box::pin(async { panic!("no") }));
        Ok::<_, BoxError>(())
    });
    assert!(ended.await.result.is_ok());
}

#[staunch::test]
async fn one_that_is_refused_has_ended() {
    let ended = ScopeBuilder::new(&Context::current()).max_children(0).run(|s| async move {
        let (dropped, polled) = (Dropped::default(), Arc::new(AtomicBool::new(false)));
        let (flag, polls) = (dropped.flag(), Arc::clone(&polled));
        let child = async move {
            let _flag = flag;
            polls.store(true, Ordering::Relaxed);
            Ok(())
        };
        assert!(s.spawn_eager("too many", Box::pin(child)));
        assert!(dropped.get() && !polled.load(Ordering::Relaxed));
        Ok::<_, BoxError>(())
    });
    assert!(ended.await.result.is_ok());
    assert_eq!(observed("too-many-children"), 1);
}
