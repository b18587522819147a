//! What the end of one child means for the others.

use std::{panic::Location, time::Duration};

use staunch_scope::{
    BoxError, ChildEnd, CollectAll, Context, Ended, FirstSuccess, Isolate, Policy, ScopeBuilder,
    ScopeError, Verdict, sleep,
};
use tokio::time::Instant;

use crate::common::{HOUR, SECOND};

fn builder() -> ScopeBuilder<BoxError> {
    ScopeBuilder::new(&Context::current())
}

fn texts<T>(ended: Ended<T, BoxError>) -> Vec<String> {
    match ended.result {
        Err(ScopeError::Failed { first, others, .. }) => {
            let failures = std::iter::once(first).chain(others);
            failures
                .map(|f| f.to_string().rsplit(": ").next().expect("a text").to_owned())
                .collect()
        }
        _ => Vec::new(),
    }
}

#[staunch::test(start_paused = true)]
async fn collect_all_runs_everybody_to_the_end() {
    let started = Instant::now();
    let ended = builder().policy(CollectAll).run(|s| async move {
        s.spawn(async { Err("first".into()) });
        s.spawn(async { Ok(sleep(10 * SECOND).await?) });
        s.spawn(async {
            sleep(SECOND).await?;
            Err("second".into())
        });
        Ok(())
    });
    assert_eq!(texts(ended.await), ["first", "second"]);
    assert_eq!(started.elapsed(), 10 * SECOND);
}

#[staunch::test(start_paused = true)]
async fn isolate_makes_a_failure_the_childs_own_affair() {
    let ended = builder().policy(Isolate).run(|s| async move {
        s.spawn(async { Err("one connection broke".into()) });
        s.spawn(async { panic!("another crashed") });
        sleep(SECOND).await?;
        Ok(42)
    });
    assert_eq!(ended.await.result.unwrap(), 42);
}

/// However many children failed before, and under a policy that forgives them.
#[staunch::test(start_paused = true)]
async fn the_bodys_failure_is_never_forgiven_nor_hidden() {
    let ended = builder().policy(Isolate).run(|s| async move {
        for _ in 0..100 {
            s.spawn(async { Err("a connection broke".into()) });
        }
        sleep(SECOND).await?;
        Err::<(), BoxError>("the listener broke".into())
    });
    assert_eq!(texts(ended.await), ["the listener broke"]);

    let ended = builder().policy(CollectAll).run(|s| async move {
        s.spawn(async { Err("before".into()) });
        sleep(SECOND).await?;
        s.spawn(async {
            sleep(SECOND).await.ok();
            Err("after: an echo".into())
        });
        Err::<(), BoxError>("the body".into())
    });
    assert_eq!(texts(ended.await), ["before", "the body"]);
}

#[staunch::test(start_paused = true)]
async fn the_first_success_stops_the_others() {
    let started = Instant::now();
    let ended = builder().policy(FirstSuccess::default()).run(|s| async move {
        s.spawn(async { Err("replica 1 is down".into()) });
        s.spawn(async { Ok(sleep(SECOND).await?) });
        s.spawn(async { Ok(sleep(HOUR).await?) });
        Ok(())
    });
    assert!(ended.await.result.is_ok());
    assert_eq!(started.elapsed(), SECOND);
}

#[staunch::test(start_paused = true)]
async fn the_body_gets_the_value_of_the_first_success() {
    let ended = builder().policy(FirstSuccess::default()).run(|s| async move {
        let slow = s.fork(async {
            sleep(HOUR).await?;
            Ok("slow")
        });
        let fast = s.fork(async {
            sleep(SECOND).await?;
            Ok("fast")
        });
        let (slow, fast) = tokio::join!(slow.join(), fast.join());
        Ok(slow.or(fast)?)
    });
    assert_eq!(ended.await.result.unwrap(), "fast");
}

/// The stop, on another thread, must not overtake the value.
#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_success_is_there_before_the_body_is_asked() {
    for _ in 0..5_000 {
        let ended = builder().policy(FirstSuccess::default()).run(|s| async move {
            let child = s.fork(async { Ok(42) });
            Ok(child.join().await?)
        });
        assert_eq!(ended.await.result.unwrap(), 42);
    }
}

#[staunch::test]
async fn when_nobody_succeeds_every_failure_is_told() {
    let ended = builder().policy(FirstSuccess::default()).run(|s| async move {
        s.spawn(async { Err("replica 1".into()) });
        s.spawn(async { Err("replica 2".into()) });
        Ok(())
    });
    assert_eq!(texts(ended.await), ["replica 1", "replica 2"]);
}

/// Stops at the third failure.
#[derive(Default)]
struct ThreeStrikes(u32);

impl Policy<BoxError> for ThreeStrikes {
    fn child_ended(
        &mut self,
        born_at: &'static Location<'static>,
        end: ChildEnd<'_, BoxError>,
    ) -> Verdict {
        assert!(born_at.file().ends_with("policies.rs"));
        self.0 += u32::from(matches!(end, ChildEnd::Error(_) | ChildEnd::Panic(_)));
        if self.0 == 3 { Verdict::Stop } else { Verdict::Continue }
    }
}

#[staunch::test(start_paused = true)]
async fn a_policy_of_ones_own() {
    let started = Instant::now();
    let ended = builder().policy(ThreeStrikes::default()).run(|s| async move {
        for number in 1..=5 {
            s.spawn(async move {
                sleep(number * SECOND).await?;
                Err(number.to_string().into())
            });
        }
        Ok(())
    });
    assert_eq!(texts(ended.await), ["1", "2", "3"]);
    assert_eq!(started.elapsed(), 3 * SECOND);
}

/// Panics at the first end of a child.
struct Panicky;

impl Policy<BoxError> for Panicky {
    fn child_ended(&mut self, _: &'static Location<'static>, _: ChildEnd<'_, BoxError>) -> Verdict {
        panic!("the policy is wrong")
    }
}

#[staunch::test(start_paused = true)]
async fn a_policy_that_panics_stops_the_scope_and_hides_no_failure() {
    let started = Instant::now();
    let ended = builder().policy(Panicky).run(|s| async move {
        s.spawn(async { Err("the disk is full".into()) });
        s.spawn(async { Ok(sleep(HOUR).await?) });
        Ok(())
    });
    assert_eq!(texts(ended.await), ["the disk is full", "the policy is wrong"]);
    assert_eq!(started.elapsed(), Duration::ZERO);

    let ended = builder().policy(Panicky).run(|s| async move {
        let child = s.fork(async { Ok(42) });
        assert_eq!(child.join().await, Ok(42));
        Ok(sleep(HOUR).await?)
    });
    assert_eq!(texts(ended.await), ["the policy is wrong"]);
}
