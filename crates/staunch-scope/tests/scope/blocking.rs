//! Blocking work is a child as any other, except that it cannot be forced.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use staunch_ledger::{Ledger, State};
use staunch_scope::{
    BLOCKED_WORKER, BoxError, Context, JoinChildError, ScopeBuilder, current_task, scope, sleep,
};

use crate::common::{Dropped, HOUR, named, observed};

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
            let begun = std::sync::Arc::new(AtomicBool::new(false));
            let begin = std::sync::Arc::clone(&begun);
            let work = s.blocking(move |work| {
                begin.store(true, Ordering::SeqCst);
                while !work.is_asked() {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(20)); // beyond the grace
                Ok(())
            });
            let line = line!() - 8;
            while !begun.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            let entry = named("blocking");
            assert_eq!((entry.born_at().line(), entry.state()), (line, State::Running));
            drop(work);
            s.stop();
            Ok::<_, BoxError>(())
        })
        .await;
    assert!(ended.result.is_ok());
    assert_eq!(ended.forced.len(), 1, "it is named, although it could not be forced");
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

#[staunch::test(start_paused = true)]
async fn waiting_is_not_blocking() {
    sleep(HOUR).await.unwrap();
    assert_eq!(observed("blocked-worker"), 0);
}
