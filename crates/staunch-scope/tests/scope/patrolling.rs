//! A patrol notices what broke its promise without being asked.

use std::time::Duration;

use staunch_ledger::{Kind, Ledger, Obligation, State};
use staunch_scope::{BoxError, Cancelled, Context, mpsc, patrol, scope, timeout};

use crate::common::{HOUR, SECOND, named, observed};

const EVERY: Duration = Duration::from_millis(1);

/// Runs a patrol beside the body until `rule` was observed.
async fn until_observed(rule: &'static str) -> Result<(), BoxError> {
    scope(&Context::current(), |s| async move {
        s.spawn_named("patrol", async move {
            let Err(cause) = patrol(EVERY).await;
            assert_eq!(cause, Cancelled::Requested);
            Ok(())
        });
        timeout(SECOND * 10, async {
            while observed(rule) == 0 {
                Ledger::current().advance_clock(SECOND);
                tokio::time::sleep(EVERY).await;
            }
        })
        .await?;
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await?;
    Ok(())
}

#[staunch::test]
async fn a_leak_is_told_with_its_line() -> Result<(), BoxError> {
    let leaked = Ledger::current().open(Kind::LEASE, Obligation::ProgressWithin(SECOND));
    let line = line!() - 1;
    until_observed("overdue").await?;
    let observations = Ledger::current().observations();
    let told = observations.iter().find(|told| told.rule == "overdue").expect("just counted");
    assert_eq!((told.kind, told.born_at.line()), (Kind::LEASE, line));
    assert!(told.text.starts_with("1 overdue"), "{}", told.text);
    let entry = Ledger::current().entry(leaked.id()).expect("it is open");
    assert!(!entry.site().is_escalated(), "calmed when the patrol ended");
    Ok(())
}

#[staunch::test]
async fn a_wait_that_nobody_can_end_is_told() -> Result<(), BoxError> {
    scope(&Context::current(), |s| async move {
        s.spawn_named("doomed", async move {
            let (sender, mut receiver) = mpsc::channel::<u8>(1);
            let _ = receiver.recv().await; // while it holds the only sender
            drop(sender);
            Ok(())
        });
        until_observed("doomed-wait").await?;
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await?;
    Ok(())
}

#[staunch::test]
async fn between_looks_it_sleeps_and_ends_when_asked() -> Result<(), BoxError> {
    scope(&Context::current(), |s| async move {
        s.spawn_named("patrol", async move {
            let Err(Cancelled::Requested) = patrol(HOUR).await else { panic!("no deadline") };
            Ok(())
        });
        tokio::task::yield_now().await;
        assert_eq!(named("patrol").state(), State::Sleep);
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await?;
    Ok(())
}
