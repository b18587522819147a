//! What the ledger shows of scopes and tasks.

use staunch_ledger::{EntryId, Kind, Ledger, Obligation, State};
use staunch_scope::{BoxError, Context, Scope, current_task, scope, shield, sleep, timeout};

use crate::common::{HOUR, SECOND, deaf_sleep, named, yield_often};

fn parent_of(id: EntryId) -> EntryId {
    Ledger::current().entry(id).expect("it lives").parent().expect("it has an owner")
}

#[staunch::test]
async fn every_task_has_its_scope_as_owner_and_every_scope_its_task() {
    let test = current_task().unwrap();
    scope(&Context::current(), |outer: Scope| async move {
        let body = current_task().unwrap();
        assert_eq!(parent_of(body), outer.id());
        assert_eq!(parent_of(outer.id()), test);
        let id = outer.id();
        outer.spawn(async move {
            let child = current_task().unwrap();
            assert_eq!(parent_of(child), id);
            // Also from within a shield.
            let inner = shield(scope(&Context::current(), |inner: Scope| async move {
                assert_eq!(parent_of(inner.id()), child);
                Ok::<_, BoxError>(())
            }));
            Ok(inner.await?)
        });
        let entry = Ledger::current().entry(id).unwrap();
        assert_eq!((entry.kind(), entry.state()), (Kind::SCOPE, State::Join));
        assert_eq!(entry.obligation(), Obligation::EndsWithParent);
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn a_task_shows_what_it_waits_for() {
    scope(&Context::current(), |s| async move {
        s.spawn_named("sleep", async { Ok(sleep(SECOND).await?) });
        s.spawn_named("shielded sleep", async { Ok(shield(sleep(SECOND)).await?) });
        s.spawn_named("sleep with timeout", async { Ok(timeout(HOUR, sleep(SECOND)).await??) });
        s.spawn_named("foreign", async {
            deaf_sleep(SECOND).await;
            Ok(())
        });
        s.spawn_named("scope", async {
            let inner = scope(&Context::current(), |inner| async move {
                inner.spawn(async { Ok(sleep(SECOND).await?) });
                Ok::<_, BoxError>(())
            });
            Ok(inner.await?)
        });
        let forked = s.fork(async { Ok(sleep(SECOND).await?) });
        s.spawn_named("join", async { Ok(forked.join().await?) });
        yield_often().await;
        for (name, state) in [
            ("sleep", State::Sleep),
            ("shielded sleep", State::Sleep),
            ("sleep with timeout", State::Sleep),
            ("foreign", State::Waiting),
            ("scope", State::Join),
            ("join", State::Join),
        ] {
            let entry = named(name);
            assert_eq!(entry.state(), state, "the task named {name}");
            assert!(entry.polls() >= 1);
        }
        let me = Ledger::current().entry(current_task().unwrap()).unwrap();
        assert_eq!(me.state(), State::Running);
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn polls_and_names_are_shown() {
    scope(&Context::current(), |s| async move {
        s.spawn_named("ticker", async {
            for _ in 0..3 {
                sleep(SECOND).await?;
            }
            Ok(sleep(HOUR).await?)
        });
        sleep(10 * SECOND).await?;
        assert_eq!(named("ticker").polls(), 4);
        s.stop();
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}
