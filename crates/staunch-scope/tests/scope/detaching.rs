//! Detaching needs a reason, and the reason is on the ledger.

use staunch_ledger::{Ledger, Obligation, State};
use staunch_scope::{BoxError, Context, detach, detached, scope, sleep, testing::Runner, timeout};

use crate::common::{Dropped, HOUR, SECOND, deaf_sleep, observed, yield_often};

#[staunch::test(start_paused = true)]
async fn a_detached_task_outlives_its_scope_and_is_on_the_ledger_with_its_reason() {
    let (task, line) = scope(&Context::current().with_timeout(HOUR), |_| async {
        let line = line!() + 1;
        let task = detach("warms the cache", async {
            assert!(Context::current().deadline().is_none());
            assert!(sleep(HOUR).await.is_err());
        });
        Ok::<_, BoxError>((task, line))
    })
    .await
    .unwrap();
    yield_often().await;
    let [entry] = &detached(Ledger::current())[..] else { panic!("one is detached") };
    assert_eq!(entry.id(), task.id());
    assert_eq!((entry.born_at().line(), entry.state()), (line, State::Sleep));
    assert_eq!(entry.obligation(), Obligation::Perpetual("warms the cache"));
    task.stop();
    task.ended().await.unwrap();
    assert!(detached(Ledger::current()).is_empty());
    task.ended().await.unwrap();
}

/// For what it has handed its context to.
#[staunch::test(start_paused = true)]
async fn stopping_a_detached_task_cancels_its_context() {
    let (sender, context) = tokio::sync::oneshot::channel();
    let task = detach("hands on its context", async {
        let _ = sender.send(Context::current()); // the test waits for it
        assert!(sleep(HOUR).await.is_err());
    });
    let context = context.await.unwrap();
    assert!(!context.is_cancelled());
    task.stop();
    assert!(context.is_cancelled());
    task.ended().await.unwrap();
}

#[staunch::test(start_paused = true)]
async fn aborting_runs_the_destructor() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let task = detach("does not listen", async move {
        let _flag = flag;
        deaf_sleep(HOUR).await;
    });
    task.stop();
    assert!(timeout(SECOND, task.ended()).await.is_err());
    task.abort();
    let (one, other) = tokio::join!(task.ended(), task.ended());
    assert!(one.is_ok() && other.is_ok() && dropped.get());
}

#[staunch::test]
async fn a_panic_is_observed() {
    let task = detach("crashes", async { panic!("out of luck") });
    task.ended().await.unwrap();
    assert_eq!(observed("panicked-task"), 1);
    let text = &Ledger::current().observations()[0].text;
    assert_eq!(text, "detached (crashes), it panicked: out of luck");
}

#[staunch::test(start_paused = true)]
async fn the_remains_of_a_scope_it_drops_belong_to_it() {
    let dropped = Dropped::default();
    let flag = dropped.flag();
    let task = detach("drops a scope", async move {
        let inner = scope(&Context::current(), |s| async move {
            s.spawn(async move {
                let _flag = flag;
                let _ = sleep(HOUR).await;
                deaf_sleep(SECOND).await;
                Ok::<_, BoxError>(())
            });
            Ok(())
        });
        assert!(timeout(SECOND, inner).await.is_err());
    });
    task.ended().await.unwrap();
    assert!(dropped.get());
}

#[test]
fn a_test_that_leaves_one_behind_fails_with_the_reason() {
    let run = || {
        Runner::current_thread().settle_within(SECOND / 100).run(async {
            detach("was forgotten", std::future::pending());
        });
    };
    let payload = std::panic::catch_unwind(run).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("task born at"), "{message}");
    assert!(message.contains("perpetual: was forgotten"), "{message}");
}
