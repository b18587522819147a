//! What is taken for an outage of the server, and what is not.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use staunch::{BoxError, Cancelled, Child, Context, Ledger, Scope, ScopeBuilder, scope};
use staunch_harness::eventually;
use staunch_pool::{AcquireError, Condition, Lease, Pool, PoolOptions, PoolOptionsError};
use tokio::time::Instant;

use crate::manager::{Down, Scripted, Server, plain, with_pool};

const SECOND: Duration = Duration::from_secs(1);

#[staunch::test(start_paused = true)]
async fn a_caller_who_is_asked_to_stop_says_nothing_of_the_server() {
    with_pool(plain(1), async |pool, server, _| {
        server.delay.store(1000, Ordering::SeqCst);
        let hurried = Context::current().with_timeout(SECOND / 20);
        let (begun, heard) = (Instant::now(), OnceLock::new());
        let ended = scope(&hurried, |_| async {
            heard.set(pool.acquire().await.unwrap_err()).unwrap();
            Ok::<_, BoxError>(())
        });
        let _ = ended.await; // it may be late
        assert!(matches!(heard.get(), Some(AcquireError::Cancelled(_))), "{heard:?}");
        assert_eq!((begun.elapsed(), server.made.load(Ordering::SeqCst)), (SECOND / 20, 0));
        assert!(!pool.status().is_down);
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 1);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn what_is_lacking_here_says_nothing_of_the_server() {
    with_pool(plain(2), async |pool, server, _| {
        server.is_lacking.store(true, Ordering::SeqCst);
        server.is_down.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let error = pool.acquire().await.unwrap_err();
            assert!(matches!(error, AcquireError::Connect { source: Down, .. }), "{error}");
            assert!(!pool.status().is_down);
        }
        server.is_down.store(false, Ordering::SeqCst);
        drop(pool.acquire().await.unwrap()); // without a pause
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_caller_whose_time_is_nearly_over_says_nothing_of_the_server() {
    with_pool(plain(1), async |pool, server, s| {
        let mut lease = pool.acquire().await.unwrap();
        let waiting = pool.clone();
        let waits = s.fork(async move { Ok(waiting.acquire().await.err()) });
        tokio::time::sleep(SECOND / 10 * 49).await;
        lease.connection().unwrap().condition = Condition::Broken;
        server.delay.store(1000, Ordering::SeqCst);
        drop(lease); // its place is the waiter's, for a tenth of a second
        let error = waits.join().await.unwrap().unwrap();
        let AcquireError::Late { waited, connecting, .. } = &error else { panic!("{error}") };
        assert!(*waited >= SECOND * 5 && *connecting <= SECOND / 10, "{error}");
        assert!(!pool.status().is_down);
        drop(pool.acquire().await.unwrap());
    })
    .await;
}

/// Also when nobody can wait for as long as a connect may take.
#[staunch::test(start_paused = true)]
async fn a_silent_server_is_down_however_long_a_connect_may_take() {
    let options = PoolOptions { connect_timeout: SECOND * 60, ..plain(2) };
    with_pool(options, async |pool, server, _| {
        server.is_silent.store(true, Ordering::SeqCst);
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Late { .. }), "{error}");
        assert!(pool.status().is_down);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_server_that_does_not_answer_new_connections_is_down() {
    let options = PoolOptions { test_on_create: true, ..plain(2) };
    with_pool(options, async |pool, server, _| {
        drop(pool.acquire().await.unwrap());
        assert_eq!(pool.shrink(0), 1);
        server.is_silent.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::ConnectTimedOut { .. }), "{error}");
        assert!(pool.status().is_down && begun.elapsed() <= SECOND * 5);
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Down { .. }), "fast: {error}");
        assert_eq!(begun.elapsed(), SECOND * 5);
    })
    .await;
}

/// One that takes connections, and then does not answer on them.
#[staunch::test(start_paused = true)]
async fn a_server_whose_new_connections_fail_their_test_is_down() {
    let options = PoolOptions { test_on_create: true, ..plain(2) };
    with_pool(options, async |pool, server, _| {
        server.is_mute.store(true, Ordering::SeqCst);
        for attempt in ["the first connects", "the second is not let near the server"] {
            let error = pool.acquire().await.unwrap_err();
            assert!(matches!(error, AcquireError::Down { .. }), "{attempt}: {error}");
            assert!(pool.status().is_down, "{attempt}");
            assert_eq!(server.made.load(Ordering::SeqCst), 1, "{attempt}");
        }
    })
    .await;
}

type Waits = Child<Result<(u64, Instant), AcquireError<Down>>>;

/// So many stand in line, one after the other; each has its connection for a tenth of a second. Which
/// it was and when, or why none.
async fn line(pool: &Pool<Scripted>, s: &Scope<BoxError>, many: usize) -> Vec<Waits> {
    let mut all = Vec::new();
    for nth in 1..=many {
        let waiting = pool.clone();
        all.push(s.fork(async move {
            let acquired = waiting.acquire().await;
            let had = Instant::now();
            Ok(match acquired {
                Err(error) => Err(error),
                Ok(mut lease) => {
                    let number = lease.connection()?.number;
                    tokio::time::sleep(SECOND / 10).await;
                    Ok((number, had))
                }
            })
        }));
        eventually("it stands in line", async || pool.status().waiters == nth).await;
    }
    all
}

fn break_off(mut lease: Lease<Scripted>) {
    lease.connection().unwrap().condition = Condition::Broken;
}

#[staunch::test(start_paused = true)]
async fn who_waits_while_the_server_refuses_new_connections_has_what_comes_back() {
    with_pool(plain(2), async |pool, server, s| {
        let (breaks, mut stays) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let number = stays.connection().unwrap().number;
        let mut waiting = line(&pool, &s, 3).await.into_iter();
        server.is_down.store(true, Ordering::SeqCst);
        break_off(breaks);
        let first = waiting.next().unwrap().join().await.unwrap();
        assert!(matches!(first, Err(AcquireError::Connect { .. })), "it tried: {first:?}");
        tokio::time::sleep(SECOND).await;
        let status = pool.status();
        assert_eq!((status.is_down, status.waiters, status.size), (true, 2, 1));
        drop(stays);
        for next in waiting {
            assert_eq!(next.join().await.unwrap().unwrap().0, number);
        }
        assert_eq!(server.made.load(Ordering::SeqCst), 2);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn who_waits_hears_at_once_that_the_last_connection_is_gone_too() {
    with_pool(plain(2), async |pool, server, s| {
        let (breaks, last) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let mut waiting = line(&pool, &s, 3).await.into_iter();
        server.is_down.store(true, Ordering::SeqCst);
        break_off(breaks);
        assert!(waiting.next().unwrap().join().await.unwrap().is_err());
        let begun = Instant::now();
        break_off(last);
        for next in waiting {
            let heard = next.join().await.unwrap();
            assert!(matches!(heard, Err(AcquireError::Down { .. })), "{heard:?}");
        }
        assert_eq!((begun.elapsed(), pool.status().size), (Duration::ZERO, 0));
    })
    .await;
}

/// Two places are kept back, and three wait: when the server may be tried again one of them does, then
/// the second has the other place, and the third what comes back first.
#[staunch::test(start_paused = true)]
async fn places_that_were_kept_back_are_used_when_the_server_answers_again() {
    let options = PoolOptions { acquire_timeout: SECOND * 50, backoff: SECOND, ..plain(3) };
    with_pool(options, async |pool, server, s| {
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(pool.acquire().await.unwrap());
        }
        let mut waiting = line(&pool, &s, 4).await.into_iter();
        server.is_down.store(true, Ordering::SeqCst);
        break_off(leases.remove(0));
        assert!(waiting.next().unwrap().join().await.unwrap().is_err());
        break_off(leases.remove(0));
        assert_eq!((pool.status().waiters, pool.status().size), (3, 1));
        server.is_down.store(false, Ordering::SeqCst);
        server.delay.store(10, Ordering::SeqCst); // long enough for a second to try, if it might
        Ledger::current().advance_clock(SECOND);
        let begun = Instant::now();
        let mut had = Vec::new();
        for next in waiting {
            had.push(next.join().await.unwrap().unwrap());
        }
        let [first, second, third] = had[..] else { panic!("{had:?}") };
        assert_eq!((first.0, second.0), (4, 5));
        assert!(first.1 - begun <= SECOND * 2, "the keeper's look: {had:?}");
        assert_eq!((second.1 - first.1, third.1 - first.1), (SECOND / 100, SECOND / 10));
        assert_eq!(third.0, 4, "what comes back first");
        assert!(!pool.status().is_down);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn who_has_waited_in_vain_hears_what_the_server_said() {
    with_pool(plain(2), async |pool, server, s| {
        let (breaks, stays) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let mut waiting = line(&pool, &s, 2).await.into_iter();
        server.is_down.store(true, Ordering::SeqCst);
        break_off(breaks);
        assert!(waiting.next().unwrap().join().await.unwrap().is_err());
        let error = waiting.next().unwrap().join().await.unwrap().unwrap_err().to_string();
        assert!(error.contains("is down") && error.contains("the server is down"), "{error}");
        drop(stays);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn who_waits_for_a_validation_hears_that_it_is_to_stop() {
    let options = PoolOptions {
        test_on_borrow: true,
        validation_timeout: SECOND * 100,
        acquire_timeout: SECOND * 100,
        ..plain(1)
    };
    with_pool(options, async |pool, server, _| {
        drop(pool.acquire().await.unwrap());
        server.is_silent.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let ended = scope(&Context::current().with_timeout(SECOND), |_| async {
            let error = pool.acquire().await.unwrap_err();
            let is_asked = matches!(error, AcquireError::Cancelled(Cancelled::DeadlineExceeded));
            assert!(is_asked, "{error}");
            Ok::<_, BoxError>(())
        });
        let _ = ended.await;
        assert_eq!(begun.elapsed(), SECOND);
        server.is_silent.store(false, Ordering::SeqCst);
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 2);
    })
    .await;
}

/// Two wait; the connection that comes back first does not answer. Its place is the first's.
#[staunch::test(start_paused = true)]
async fn whose_connection_does_not_answer_keeps_the_turn() {
    let options = PoolOptions { test_on_borrow: true, ..plain(1) };
    with_pool(options, async |pool, server, s| {
        let lease = pool.acquire().await.unwrap();
        let wait = |nth: u32| {
            let (pool, server) = (pool.clone(), Arc::clone(&server));
            s.fork(async move {
                let mut lease = pool.acquire().await?;
                server.is_silent.store(false, Ordering::SeqCst);
                let number = lease.connection()?.number;
                tokio::time::sleep(SECOND / 10).await;
                Ok((nth, number, Instant::now()))
            })
        };
        let first = wait(1);
        tokio::time::sleep(SECOND / 100).await;
        let second = wait(2);
        tokio::time::sleep(SECOND / 100).await;
        server.is_silent.store(true, Ordering::SeqCst);
        drop(lease);
        tokio::time::sleep(SECOND).await; // the validation's time
        server.is_silent.store(false, Ordering::SeqCst);
        let (first, second) = (first.join().await.unwrap(), second.join().await.unwrap());
        assert_eq!((first.0, first.1), (1, 2), "a new connection, and it is not overtaken");
        assert!(first.2 < second.2, "{first:?} {second:?}");
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_pool_whose_keeper_cannot_start_is_closed() {
    let heard = OnceLock::new();
    let ended = ScopeBuilder::<BoxError>::new(&Context::current()).max_children(1).run(async |s| {
        s.spawn(async { Ok(staunch::sleep(SECOND * 3600).await?) });
        let manager = Scripted(Arc::new(Server::default()));
        let pool = Pool::new(&s, manager, plain(1))?;
        heard.set(pool.acquire().await.unwrap_err().to_string()).unwrap();
        s.stop();
        Ok(())
    });
    let _ = ended.await; // a child could not start
    let heard = heard.get().map(String::as_str).unwrap_or_default();
    assert!(heard.contains("closed"), "{heard}");
}

#[staunch::test(start_paused = true)]
async fn connections_ahead_of_need_are_made_at_once_and_one_after_the_other() {
    let options = PoolOptions { min_idle: 3, maintenance_interval: SECOND * 3600, ..plain(5) };
    with_pool(options, async |pool, server, _| {
        server.delay.store(1000, Ordering::SeqCst);
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(pool.status().size, 1, "one is being made");
        tokio::time::sleep(SECOND * 3).await;
        assert_eq!((pool.status().idle, pool.status().size), (3, 3));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn never_is_a_duration_too() {
    let never = Duration::MAX;
    let options = PoolOptions {
        acquire_timeout: never,
        connect_timeout: never,
        validation_timeout: never,
        reset_timeout: never,
        close_timeout: never,
        maintenance_interval: never,
        min_evictable_idle: never,
        abandoned_timeout: never,
        max_lifetime: Some(never),
        backoff_max: never,
        ..plain(1)
    };
    with_pool(options, async |pool, _, s| {
        let lease = pool.acquire().await.unwrap();
        let waiting = pool.clone();
        let waits = s.fork(async move { Ok(waiting.acquire().await?) });
        eventually("it waits", async || pool.status().waiters == 1).await;
        drop(lease);
        drop(waits.join().await.unwrap());
    })
    .await;
    let none = PoolOptions { abandoned_timeout: Duration::ZERO, ..plain(1) };
    assert_eq!(none.check(), Err(PoolOptionsError::NoPatience));
}
