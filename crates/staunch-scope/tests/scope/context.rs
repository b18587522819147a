//! What work carries with it.

use std::sync::Arc;

use staunch_scope::{
    BoxError, Cancelled, Context, ScopeError, TraceId, log_fields, scope, serve_subject, sleep,
};
use tokio::time::Instant;

use crate::common::{HOUR, SECOND, deaf_sleep};

#[staunch::test(start_paused = true)]
async fn a_deadline_is_the_minimum_of_ones_own_and_the_parents() {
    let now = Instant::now();
    let parent = Context::current().with_timeout(10 * SECOND);
    assert_eq!(parent.with_timeout(HOUR).deadline(), Some(now + 10 * SECOND));
    assert_eq!(parent.with_timeout(SECOND).deadline(), Some(now + SECOND));
    assert_eq!(parent.with_deadline(now + HOUR).deadline(), parent.deadline());
    assert_eq!(parent.with_timeout(std::time::Duration::MAX).deadline(), parent.deadline());
    assert_eq!(parent.remaining(), Some(10 * SECOND));
    assert_eq!(Context::background().deadline(), None);
}

#[staunch::test(start_paused = true)]
async fn the_deadline_of_the_outer_scope_ends_the_inner_one() {
    let started = Instant::now();
    let ended = scope(&Context::current().with_timeout(SECOND), |s| async move {
        let own = s.context().with_timeout(HOUR);
        let inner = scope(&own, |inner| async move {
            inner.spawn(async { Ok(sleep(HOUR).await?) });
            assert_eq!(sleep(HOUR).await, Err(Cancelled::DeadlineExceeded));
            Ok::<_, BoxError>(())
        });
        let ended = inner.await;
        assert!(matches!(ended, Err(ScopeError::Cancelled(Cancelled::DeadlineExceeded))));
        assert_eq!(Context::current().check(), Err(Cancelled::DeadlineExceeded));
        Ok::<_, BoxError>(())
    });
    assert!(matches!(ended.await, Err(ScopeError::Cancelled(Cancelled::DeadlineExceeded))));
    assert_eq!(started.elapsed(), SECOND);
}

#[derive(Debug, PartialEq)]
struct Tenant(&'static str);

#[staunch::test]
async fn values_and_trace_reach_the_children() {
    let trace = TraceId::random();
    let context = Context::background()
        .with_value(Tenant("outer"))
        .with_value(7_u32)
        .with_value(Tenant("inner"))
        .with_trace_id(trace);
    scope(&context, |s| async move {
        s.spawn(async move {
            let current = Context::current();
            assert_eq!(*current.value::<Tenant>().unwrap(), Tenant("inner"));
            assert_eq!(*current.value::<u32>().unwrap(), 7);
            assert!(current.value::<String>().is_none());
            assert_eq!(current.trace_id(), trace);
            assert_eq!(log_fields().unwrap().trace, trace);
            Ok(())
        });
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
    assert_eq!(*context.value::<Tenant>().unwrap(), Tenant("inner"));
}

#[staunch::test]
async fn log_lines_carry_what_the_task_serves() {
    assert!(log_fields().unwrap().subject.is_none());
    let connection = staunch_ledger::Ledger::current()
        .open(staunch_ledger::Kind::CONNECTION, staunch_ledger::Obligation::EndsWithParent);
    serve_subject(connection.id());
    let fields = log_fields().unwrap();
    assert_eq!(fields.subject, Some(connection.id()));
    assert_eq!(fields.trace, TraceId::derived(connection.id().number()));
}

#[staunch::test(start_paused = true)]
async fn a_context_cancels_what_was_made_from_it_and_nothing_else() {
    let parent = Context::background();
    let (child, cancel) = parent.with_cancel();
    let (grandchild, sibling) = (child.with_timeout(HOUR), parent.with_timeout(HOUR));
    assert_eq!(grandchild.check(), Ok(()));
    drop(cancel); // forgetting to call `cancel` is not possible
    assert_eq!(grandchild.cause(), Some(Cancelled::Requested));
    assert!(!sibling.is_cancelled() && !parent.is_cancelled());
    assert_eq!(grandchild.run(async { 42 }).await, Err(Cancelled::Requested));
    assert_eq!(sibling.run(async { 42 }).await, Ok(42));
}

#[staunch::test(start_paused = true)]
async fn work_that_is_no_longer_wanted_is_dropped() {
    let context = Context::background().with_timeout(SECOND);
    let started = Instant::now();
    let dropped = crate::common::Dropped::default();
    let flag = dropped.flag();
    let ran = context.run(async move {
        let _flag = flag;
        deaf_sleep(HOUR).await;
    });
    assert_eq!(ran.await, Err(Cancelled::DeadlineExceeded));
    assert_eq!((started.elapsed(), dropped.get()), (SECOND, true));
}

#[test]
fn trace_ids_are_as_w3c_has_them() {
    let id = TraceId::random();
    assert_ne!(id, TraceId::random());
    assert_eq!(TraceId::from_bytes(id.to_bytes()), Some(id));
    assert_eq!(TraceId::from_bytes([0; 16]), None);
    assert_eq!(id.to_string().len(), 32);
    assert_eq!(TraceId::derived(7), TraceId::derived(7));
}

#[staunch::test]
async fn a_value_takes_the_place_of_the_one_before() {
    struct Attempt(#[expect(dead_code, reason = "it is held")] Arc<()>);
    let held = Arc::new(());
    let mut context = Context::background().with_value(7_u8);
    for _ in 0..100_000 {
        context = context.with_value(Attempt(Arc::clone(&held)));
    }
    assert_eq!(Arc::strong_count(&held), 2);
    assert_eq!(context.value::<u8>().as_deref(), Some(&7));
}
