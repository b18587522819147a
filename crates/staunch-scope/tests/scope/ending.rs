//! Children end before the scope does.

use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use staunch_ledger::{Kind, Ledger};
use staunch_scope::{
    BoxError, Context, DEFAULT_GRACE, Scope, ScopeBuilder, is_dismissed, scope, sleep,
};

use crate::common::{Dropped, HOUR, SECOND, deaf_sleep, observed};

#[staunch::test(start_paused = true)]
async fn the_scope_ends_after_its_children_and_their_destructors() -> Result<(), BoxError> {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = tokio::time::Instant::now();
    let value = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _flag = flag;
            Ok(sleep(10 * SECOND).await?)
        });
        Ok::<_, BoxError>("the body is done long before")
    });
    assert_eq!(value.await?, "the body is done long before");
    assert!(dropped.get());
    assert_eq!(started.elapsed(), 10 * SECOND);
    Ok(())
}

#[staunch::test]
async fn the_captures_of_a_child_are_dropped_too() -> Result<(), BoxError> {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let flag = flag;
            std::future::ready(()).await;
            drop(flag);
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await?;
    assert!(dropped.get());
    Ok(())
}

#[staunch::test]
async fn the_body_may_borrow() -> Result<(), BoxError> {
    let word = "borrowed".to_owned();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    scope(&Context::current(), |_| async {
        count.set(word.len());
        Ok::<_, BoxError>(())
    })
    .await?;
    assert_eq!((word.as_str(), count.get()), ("borrowed", 8));
    Ok(())
}

#[staunch::test]
async fn values_come_back_by_join() -> Result<(), BoxError> {
    let sum = scope(&Context::current(), |s| async move {
        let (left, right) = (s.fork(async { Ok(40) }), s.fork(async { Ok(2) }));
        Ok::<_, BoxError>(left.join().await? + right.join().await?)
    });
    assert_eq!(sum.await?, 42);
    Ok(())
}

#[staunch::test]
async fn a_child_whose_handle_is_dropped_still_runs() -> Result<(), BoxError> {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    scope(&Context::current(), |s| async move {
        drop(s.fork(async move {
            tokio::task::yield_now().await;
            Ok(count.fetch_add(1, Ordering::SeqCst))
        }));
        Ok::<_, BoxError>(())
    })
    .await?;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    Ok(())
}

#[staunch::test(start_paused = true)]
async fn children_of_children_belong_to_the_scope_too() -> Result<(), BoxError> {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    scope(&Context::current(), |s| async move {
        let inner = s.clone();
        s.spawn(async move {
            inner.spawn(async move {
                let _flag = flag;
                Ok(sleep(SECOND).await?)
            });
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await?;
    assert!(dropped.get());
    Ok(())
}

#[staunch::test]
async fn a_spawn_on_an_ended_scope_is_dropped_and_observed() -> Result<(), BoxError> {
    let kept = scope(&Context::current(), |s| async move { Ok::<_, BoxError>(s) }).await?;
    let dropped = Dropped::default();
    let flag = dropped.flag();
    kept.spawn(async move {
        drop(flag);
        unreachable!("an ended scope runs nothing");
    });
    assert!(dropped.get());
    assert!(kept.fork(async { Ok(1) }).join().await.is_err());
    assert!(kept.blocking(|_| Ok(1)).join().await.is_err());
    assert_eq!((observed("late-spawn"), kept.live()), (3, 0));
    let late = Ledger::current().observations();
    assert!(late[0].born_at.file().ends_with("ending.rs"));
    Ok(())
}

/// Somebody outside spawns while the scope ends: a child either counts or does not run.
#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_child_slips_in_while_the_scope_ends() -> Result<(), BoxError> {
    let outlived = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        let has_ended = Arc::new(AtomicBool::new(false));
        let (ended, outlived) = (Arc::clone(&has_ended), Arc::clone(&outlived));
        scope(&Context::current(), |outer| async move {
            let (give, take) = tokio::sync::oneshot::channel::<Scope>();
            outer.spawn(async move {
                let inner = take.await?;
                for _ in 0..20 {
                    let (ended, outlived) = (Arc::clone(&ended), Arc::clone(&outlived));
                    inner.spawn(async move {
                        tokio::task::yield_now().await;
                        let late = usize::from(ended.load(Ordering::SeqCst));
                        outlived.fetch_add(late, Ordering::SeqCst);
                        Ok(())
                    });
                }
                Ok(())
            });
            scope(&Context::current(), |inner| async move {
                let _ = give.send(inner);
                tokio::task::yield_now().await;
                Ok::<_, BoxError>(())
            })
            .await?;
            has_ended.store(true, Ordering::SeqCst);
            Ok::<_, BoxError>(())
        })
        .await?;
    }
    assert_eq!(outlived.load(Ordering::SeqCst), 0);
    Ok(())
}

#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_short_children_leaves_nothing() -> Result<(), BoxError> {
    const CHILDREN: usize = 100_000;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    scope(&Context::current(), |s| async move {
        for spawned in 1..=CHILDREN {
            let count = Arc::clone(&count);
            s.spawn(async move {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            if spawned % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, BoxError>(())
    })
    .await?;
    assert_eq!(ended.load(Ordering::Relaxed), CHILDREN);
    assert!(Ledger::current().births(Kind::TASK) >= CHILDREN as u64);
    Ok(())
}

#[staunch::test]
async fn one_child_too_many_is_dropped_and_observed() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let ended = ScopeBuilder::new(&Context::current())
        .max_children(2)
        .run(|s| async move {
            s.spawn(async { Ok(sleep(HOUR).await?) });
            let joined = s.fork(async { Ok(42) });
            s.spawn(async move {
                let _flag = flag;
                Ok(sleep(HOUR).await?)
            });
            assert!(dropped.get());
            assert_eq!(observed("too-many-children"), 1);
            assert_eq!(joined.join().await, Ok(42));
            while s.live() > 2 {
                tokio::task::yield_now().await;
            }
            let there_is_room_again = s.fork(async { Ok(43) });
            assert_eq!(there_is_room_again.join().await, Ok(43));
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok());
    let observations = Ledger::current().observations();
    assert!(observations[0].text.contains("has 2 children"), "{}", observations[0]);
    assert_eq!(observations[0].born_at.line(), line!() - 19);
}

/// As the keeper of a pool does, it serves until it is asked to stop.
async fn serve(dismissed: Arc<AtomicBool>) -> Result<(), BoxError> {
    while sleep(HOUR).await.is_ok() {}
    dismissed.store(is_dismissed(), Ordering::SeqCst);
    Ok(())
}

#[staunch::test(start_paused = true)]
async fn daemons_are_asked_to_stop_once_the_others_have_ended() -> Result<(), BoxError> {
    let dismissed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&dismissed);
    let started = tokio::time::Instant::now();
    let value = scope(&Context::current(), |s| async move {
        for _ in 0..3 {
            s.spawn_daemon_at(Location::caller(), serve(Arc::clone(&seen)));
        }
        let served = s.clone();
        s.spawn(async move {
            sleep(10 * SECOND).await?; // it has not been asked to stop
            assert!(!seen.load(Ordering::SeqCst));
            served.spawn_daemon_at(Location::caller(), serve(seen));
            Ok(())
        });
        Ok::<_, BoxError>("the body is done long before")
    });
    assert_eq!(value.await?, "the body is done long before");
    assert!(dismissed.load(Ordering::SeqCst));
    assert_eq!(started.elapsed(), 10 * SECOND);
    Ok(())
}

#[staunch::test(start_paused = true)]
async fn a_daemon_that_does_not_stop_is_forced_and_named() {
    let started = tokio::time::Instant::now();
    let line = Location::caller();
    let ended = ScopeBuilder::new(&Context::current())
        .run(|s| async move {
            s.spawn_daemon_at(line, async move {
                deaf_sleep(HOUR).await;
                Ok(())
            });
            Ok::<_, BoxError>(7)
        })
        .await;
    let forced: Vec<_> = ended.forced.iter().map(|forced| forced.born_at).collect();
    assert_eq!((ended.result.unwrap(), forced, ended.unheard), (7, vec![line], 0));
    assert_eq!(started.elapsed(), DEFAULT_GRACE);
}

/// It was stopped: nobody is dismissed.
#[staunch::test(start_paused = true)]
async fn a_daemon_of_a_scope_that_is_stopped_is_asked_with_the_others() -> Result<(), BoxError> {
    let dismissed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&dismissed);
    scope(&Context::current(), |s| async move {
        s.spawn_daemon_at(Location::caller(), serve(seen));
        tokio::task::yield_now().await;
        s.stop();
        deaf_sleep(SECOND).await;
        Ok::<_, BoxError>(())
    })
    .await?;
    assert!(!dismissed.load(Ordering::SeqCst));
    Ok(())
}
