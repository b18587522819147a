//! Blocking work is a child as any other, except that it cannot be forced.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use staunch_ledger::{Ledger, State};
use staunch_scope::{
    BLOCKED_WORKER, BoxError, Cancelled, Context, JoinChildError, ScopeBuilder, WorkerWatch,
    current_task, scope, sleep, timeout,
};

use crate::common::{Dropped, HOUR, SECOND, named, observed};

#[staunch::test]
async fn the_scope_waits_for_blocking_work_and_has_its_value() -> Result<(), BoxError> {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let value = scope(&Context::current(), |s| async move {
        let ignored = s.blocking(move |_| {
            let _flag = flag;
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        });
        drop(ignored);
        let wanted = s.blocking(|work| {
            assert!(!work.is_asked());
            work.account().touch();
            Ok(Ledger::current())
        });
        Ok::<_, BoxError>(wanted.join().await?)
    });
    assert!(value.await? == Ledger::current(), "blocking work is on its scope's ledger");
    assert!(dropped.get());
    Ok(())
}

#[staunch::test]
async fn blocking_work_is_asked_and_waited_for_even_beyond_the_grace() {
    let ended = ScopeBuilder::new(&Context::current())
        .grace(Duration::from_millis(1))
        .run(|s| async move {
            let begun = Arc::new(AtomicBool::new(false));
            let begin = Arc::clone(&begun);
            let work = s.blocking(move |work| {
                begin.store(true, Ordering::SeqCst);
                while !work.is_asked() || observed("forced-task") == 0 {
                    std::thread::yield_now();
                }
                Ok(())
            });
            let line = line!() - 7;
            while !begun.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            let entry = named("blocking");
            assert_eq!((entry.born_at().line(), entry.state()), (line, State::Blocking));
            drop(work);
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok());
    assert_eq!(ended.forced.len(), 1, "it is named, although it could not be forced");
}

/// The scope's future is dropped, so nobody else would say it.
#[staunch::test]
async fn orphaned_blocking_work_that_outlasts_the_grace_is_observed() {
    let done = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&done);
    let inner = ScopeBuilder::new(&Context::current()).grace(Duration::from_millis(1));
    let mut inner = Box::pin(inner.run(|s| async move {
        drop(s.blocking(move |_| {
            while !end.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        }));
        Ok::<_, BoxError>(())
    }));
    let first = std::future::poll_fn(|cx| Poll::Ready(inner.as_mut().poll(cx).is_pending()));
    assert!(first.await);
    while named("blocking").state() != State::Blocking {
        tokio::task::yield_now().await;
    }
    drop(inner);
    let told = timeout(10 * SECOND, async {
        while observed("forced-task") == 0 {
            tokio::task::yield_now().await;
        }
    });
    let (told, state) = (told.await, named("blocking").state());
    done.store(true, Ordering::SeqCst);
    told.expect("nobody observed it");
    assert_eq!(state, State::Blocking, "it is still there");
    let text = &Ledger::current().observations()[0].text;
    assert!(text.ends_with("in state blocking: it cannot be forced, since it blocks its thread"));
}

#[staunch::test]
async fn blocking_work_has_the_context_of_its_scope() -> Result<(), BoxError> {
    let context = Context::current().with_value(42_u8);
    scope(&context, |s| async move {
        let work = s.blocking(|work| {
            let fields = staunch_scope::log_fields().expect("a child runs");
            assert_eq!(fields.trace, work.context().trace_id());
            assert_eq!(current_task(), Some(work.account().id()));
            Ok((work.context().value::<u8>(), Context::current().value::<u8>()))
        });
        let (own, current) = work.join().await?;
        assert_eq!((own.as_deref(), current.as_deref()), (Some(&42), Some(&42)));
        Ok::<_, BoxError>(())
    })
    .await?;
    Ok(())
}

/// Its awaits are below an executor of its own, and hear it all the same.
#[staunch::test]
async fn what_blocking_work_awaits_ends_when_it_is_asked() {
    let runtime = tokio::runtime::Handle::current();
    let ended = ScopeBuilder::new(&Context::current())
        .run(|s| async move {
            drop(s.blocking(move |_| {
                assert_eq!(runtime.block_on(sleep(10 * SECOND)), Err(Cancelled::Requested));
                Ok(())
            }));
            while named("blocking").state() != State::Sleep {
                tokio::task::yield_now().await;
            }
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok() && ended.forced.is_empty());
}

#[staunch::test]
async fn a_panic_in_blocking_work_is_told_with_its_birth_line() {
    let error = scope(&Context::current(), |s| async move {
        let work = s.blocking(|_| -> Result<(), BoxError> { panic!("on the thread") });
        assert_eq!(work.join().await, Err(JoinChildError::Failed));
        Ok::<_, BoxError>(())
    });
    let error = error.await.unwrap_err();
    let line = line!() - 5;
    assert!(error.to_string().contains(&format!("blocking.rs:{line}:")), "{error}");
    assert!(error.to_string().ends_with("panicked: on the thread"), "{error}");
}

#[staunch::test]
async fn a_task_that_holds_its_worker_is_reported_with_its_birth_line() {
    scope(&Context::current(), |s| async move {
        s.spawn(async {
            assert!(current_task().is_some());
            std::thread::sleep(BLOCKED_WORKER + Duration::from_millis(50));
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    let line = line!() - 9;
    let observations = Ledger::current().observations();
    assert_eq!(observed("blocked-worker"), 1);
    assert_eq!(observations[0].born_at.line(), line);
    assert!(observations[0].text.contains("use Scope::blocking"));
}

/// The runtime is stuck: only another thread can say so.
#[staunch::test]
async fn a_poll_that_does_not_return_is_reported_meanwhile() -> Result<(), BoxError> {
    let watch = WorkerWatch::start()?;
    scope(&Context::current(), |s| async move {
        s.spawn(async {
            let started = Instant::now();
            while observed("blocked-worker") == 0 {
                assert!(started.elapsed() < 20 * SECOND, "nobody reported it");
                std::thread::yield_now();
            }
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await?;
    let line = line!() - 11;
    let told = &Ledger::current().observations()[0];
    assert_eq!((told.rule, told.born_at.line()), ("blocked-worker", line));
    assert!(told.text.contains("has not returned"), "{told}");
    let started = Instant::now();
    drop(watch);
    assert!(started.elapsed() < SECOND / 2, "it does not wait for its next look");
    Ok(())
}

#[staunch::test]
async fn blocking_work_holds_no_worker() -> Result<(), BoxError> {
    let _watch = WorkerWatch::start()?;
    scope(&Context::current(), |s| async move {
        let work = s.blocking(|_| {
            std::thread::sleep(Duration::from_millis(1500)); // at least one look
            Ok(())
        });
        Ok::<_, BoxError>(work.join().await?)
    })
    .await?;
    assert_eq!(observed("blocked-worker"), 0);
    Ok(())
}

#[staunch::test]
async fn waiting_is_not_blocking() {
    scope(&Context::current(), |s| async move {
        s.spawn_named("sleeper", async { Ok(sleep(HOUR).await?) });
        tokio::task::yield_now().await;
        assert_eq!(named("sleeper").state(), State::Sleep);
        let ledger = Ledger::current();
        #[expect(clippy::disallowed_methods, reason = "time must pass while no task is polled")]
        tokio::spawn(async move { ledger.advance_clock(HOUR) }).await?;
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!(observed("blocked-worker"), 0);
}
