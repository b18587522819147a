//! The first failure stops the siblings, and is told with its birth line.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll},
};

use staunch_scope::{
    BoxError, Cancelled, CollectAll, Context, FailureCause, MAX_FAILURES, ScopeBuilder, ScopeError,
    scope, sleep,
};
use tokio::time::Instant;

use crate::common::{Dropped, HOUR, SECOND};

#[staunch::test(start_paused = true)]
async fn the_first_error_stops_the_siblings() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let started = Instant::now();
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _flag = flag;
            Ok(sleep(HOUR).await?)
        });
        s.spawn(async {
            sleep(SECOND).await?;
            Err("the disk is full".into())
        });
        sleep(HOUR).await?;
        Ok::<(), BoxError>(())
    })
    .await;
    let error = ended.unwrap_err();
    assert_eq!(started.elapsed(), SECOND);
    assert!(dropped.get());
    let line = line!() - 11;
    let text = error.to_string();
    assert!(text.contains(&format!("failing.rs:{line}:")), "{text}");
    assert!(text.ends_with(": the disk is full"), "{text}");
    // Those that stopped because they were told to are no failures.
    let ScopeError::Failed { others, uncounted, .. } = error else { panic!("{error:?}") };
    assert_eq!((others.len(), uncounted), (0, 0));
}

#[staunch::test(start_paused = true)]
async fn the_bodys_error_stops_the_children() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let error = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _flag = flag;
            Ok(sleep(HOUR).await?)
        });
        Err::<(), BoxError>("no configuration".into())
    });
    let error = error.await.unwrap_err().into_error().unwrap();
    assert_eq!(error.to_string(), "no configuration");
    assert!(dropped.get());
}

#[staunch::test]
async fn a_childs_panic_is_told_with_its_birth_line() {
    let error = scope(&Context::current(), |s| async move {
        s.spawn(async { panic!("index out of {}", "bounds") });
        sleep(HOUR).await?;
        Ok::<(), BoxError>(())
    });
    let error = error.await.unwrap_err();
    let line = line!() - 5;
    assert!(error.to_string().contains(&format!("failing.rs:{line}:")), "{error}");
    assert!(error.to_string().ends_with("panicked: index out of bounds"), "{error}");
}

#[staunch::test]
#[should_panic = "in the child"]
async fn a_panic_can_be_resumed() {
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async { panic!("in the child") });
        Ok::<(), BoxError>(())
    });
    let _ = ended.await.map_err(ScopeError::resume_panic);
}

#[staunch::test(start_paused = true)]
async fn a_panic_in_the_body_stops_the_children_first() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let error = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _flag = flag;
            Ok(sleep(HOUR).await?)
        });
        assert!(std::hint::black_box(false), "in the body");
        Ok::<(), BoxError>(())
    });
    let error = error.await.unwrap_err();
    assert!(error.to_string().ends_with("panicked: in the body"), "{error}");
    assert!(dropped.get());
}

/// Not in the future, but in the closure that makes it.
#[staunch::test(start_paused = true)]
async fn a_panic_before_the_bodys_first_await_is_caught_as_well() {
    let error = scope(&Context::current(), |s| {
        s.spawn(async { Ok(sleep(HOUR).await?) });
        assert!(std::hint::black_box(false), "before the body");
        async { Ok::<(), BoxError>(()) }
    });
    assert!(error.await.unwrap_err().to_string().ends_with("panicked: before the body"));
}

/// Ready at once, but its destructor panics.
struct BadDestructor;

impl Future for BadDestructor {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for BadDestructor {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

#[staunch::test]
async fn a_panic_in_a_destructor_is_a_failure_of_the_child() {
    let error = scope(&Context::current(), |s| async move {
        s.spawn(BadDestructor);
        Ok::<(), BoxError>(())
    });
    let error = error.await.unwrap_err();
    let line = line!() - 4;
    assert!(error.to_string().contains(&format!("failing.rs:{line}:")), "{error}");
    assert!(error.to_string().ends_with("panicked: in the destructor"), "{error}");
}

#[staunch::test]
async fn failures_are_kept_up_to_a_bound() {
    let ended = ScopeBuilder::new(&Context::current())
        .policy(CollectAll)
        .run(|s| async move {
            for number in 0..MAX_FAILURES + 10 {
                s.spawn(async move { Err(format!("child {number}").into()) });
            }
            Ok::<(), BoxError>(())
        })
        .await;
    let ScopeError::Failed { first, others, uncounted } = ended.result.unwrap_err() else {
        panic!("not cancelled")
    };
    assert!(matches!(first.cause, FailureCause::Error(e) if e.to_string() == "child 0"));
    assert_eq!((others.len(), uncounted), (MAX_FAILURES - 1, 10));
}

/// A panic is a bug even in a task that was told to stop.
#[staunch::test(start_paused = true)]
async fn a_panic_while_stopping_is_kept() {
    let error = scope(&Context::current(), |s| async move {
        s.spawn(async {
            let asked: Result<(), Cancelled> = sleep(HOUR).await;
            panic!("while cleaning up after {asked:?}");
        });
        s.spawn(async { Err("first".into()) });
        Ok::<(), BoxError>(())
    });
    let ScopeError::Failed { first, others, .. } = error.await.unwrap_err() else {
        panic!("not cancelled")
    };
    assert!(first.to_string().ends_with(": first"));
    assert!(others[0].to_string().ends_with("while cleaning up after Err(Requested)"));
}

#[staunch::test]
async fn a_scope_error_travels_by_question_mark() {
    async fn outer() -> Result<(), BoxError> {
        scope(&Context::current(), |_| async { Err::<(), BoxError>("inner".into()) }).await?;
        Ok(())
    }
    let error = outer().await.unwrap_err();
    assert!(error.downcast_ref::<ScopeError<BoxError>>().is_some());
}
