//! Leasing: in turn, within the limits, and an error that helps.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use staunch::{BoxError, Context, Kind, Ledger, scope};
use staunch_harness::{destroyed, eventually, live};
use staunch_pool::{
    AcquireError, Condition, Destroyed, Manager, Order, Pool, PoolOptions, PoolOptionsError,
};

use crate::manager::{plain, with_pool};

#[staunch::test]
async fn a_connection_that_comes_back_is_leased_again() {
    with_pool(plain(2), async |pool, server, _| {
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.connection().unwrap().number, 1);
        let entry = Ledger::current().entry(lease.id()).unwrap();
        assert_eq!(entry.kind(), Kind::LEASE);
        assert!(entry.born_at().file().ends_with("leasing.rs"), "{}", entry.born_at());
        drop(lease);
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 1);
        assert_eq!(server.made.load(Ordering::SeqCst), 1);
        let status = pool.status();
        assert_eq!((status.size, status.idle, status.leased), (1, 1, 0));
        assert_eq!((status.created, status.acquired_at_once), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn the_last_or_the_first_that_came_back_is_next() {
    for (order, next) in [(Order::Lifo, 2), (Order::Fifo, 1)] {
        with_pool(PoolOptions { order, ..plain(2) }, async |pool, _, _| {
            let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
            drop(first);
            drop(second);
            assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, next);
        })
        .await;
    }
}

#[staunch::test(start_paused = true)]
async fn an_exhausted_pool_says_who_has_its_connections() {
    with_pool(plain(3), async |pool, _, _| {
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(pool.acquire().await.unwrap());
        }
        let other = pool.acquire().await.unwrap();
        let error = pool.acquire().await.unwrap_err();
        let AcquireError::Exhausted(exhausted) = &error else { panic!("{error}") };
        assert_eq!(exhausted.max_total, 3);
        assert_eq!(exhausted.holders.iter().map(|it| it.count).collect::<Vec<_>>(), [2, 1]);
        assert!(exhausted.waited >= Duration::from_secs(5));
        let text = error.to_string();
        assert!(text.contains("all 3 are taken, by 2 by") && text.contains("leasing.rs"), "{text}");
        assert_eq!(pool.status().failed, 1);
        let again = pool.acquire().await.unwrap_err();
        assert!(matches!(again, AcquireError::Exhausted(_)));
        let observed = Ledger::current().observations();
        let [observed] = &observed[..] else { panic!("once, and not at once again: {observed:?}") };
        assert_eq!((observed.rule, &observed.text), ("pool-exhausted", &text));
        assert!(observed.born_at.file().ends_with("leasing.rs"), "{observed}");
        drop((held, other));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn who_waits_longest_is_served_first_and_nobody_overtakes() {
    with_pool(plain(1), async |pool, _, s| {
        let lease = pool.acquire().await.unwrap();
        let served = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        for number in 0..5 {
            let (pool, served) = (pool.clone(), std::sync::Arc::clone(&served));
            let before = pool.status().waiters;
            let waiting = pool.clone();
            s.spawn(async move {
                let lease = pool.acquire().await?;
                served.lock().unwrap().push(number);
                tokio::task::yield_now().await;
                drop(lease);
                Ok::<_, BoxError>(())
            });
            eventually("it waits", async || waiting.status().waiters == before + 1).await;
        }
        drop(lease);
        eventually("all were served", async || served.lock().unwrap().len() == 5).await;
        assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4]);
    })
    .await;
}

#[staunch::test]
async fn the_line_has_an_end() {
    with_pool(PoolOptions { max_waiters: 1, ..plain(1) }, async |pool, _, s| {
        let lease = pool.acquire().await.unwrap();
        let waiting = pool.clone();
        s.spawn(async move {
            drop(waiting.acquire().await?);
            Ok(())
        });
        eventually("one waits", async || pool.status().waiters == 1).await;
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::TooManyWaiters { limit: 1, .. }), "{error}");
        drop(lease);
    })
    .await;
}

#[staunch::test]
async fn what_is_broken_ends_and_what_is_dirty_is_reset_first() {
    with_pool(plain(1), async |pool, server, _| {
        let mut lease = pool.acquire().await.unwrap();
        lease.connection().unwrap().condition = Condition::Broken;
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.connection().unwrap().number, 2);
        lease.connection().unwrap().condition = Condition::Dirty;
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.connection().unwrap().number, 2);
        assert_eq!(lease.connection().unwrap().condition, Condition::Clean);
        lease.destroy();
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 3);
        assert_eq!(server.resets.load(Ordering::SeqCst), 1);
        assert_eq!(destroyed(&pool.status(), Destroyed::Broken), 2);
        eventually("goodbyes", async || server.goodbyes.load(Ordering::SeqCst) == 2).await;
    })
    .await;
}

/// The ledger says so: the test ends well, and what is left is the one connection.
#[staunch::test]
#[should_panic(expected = "1 thing is left:\n  pooled")]
async fn a_connection_that_somebody_never_gave_back_is_shut_and_what_is_lost_is_named() {
    with_pool(plain(1), async |pool, server, _| {
        let mut lease = pool.acquire().await.unwrap();
        Box::leak(Box::new(lease.connection().unwrap()));
        drop(lease);
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 2);
        assert_eq!(server.killed.load(Ordering::SeqCst), 1, "at least its socket is shut");
        server.live.fetch_sub(1, Ordering::SeqCst); // its memory is lost for ever
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_server_that_is_down_is_left_alone_and_tried_again() {
    with_pool(plain(2), async |pool, server, _| {
        server.is_down.store(true, Ordering::SeqCst);
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Connect { .. }), "{error}");
        let error = pool.acquire().await.unwrap_err();
        let AcquireError::Down { retry_in, last, .. } = &error else { panic!("{error}") };
        assert!(*retry_in <= Duration::from_millis(100) && last == "the server is down");
        assert!(pool.status().is_down);
        server.is_down.store(false, Ordering::SeqCst);
        Ledger::current().advance_clock(Duration::from_millis(100));
        drop(pool.acquire().await.unwrap());
        assert!(!pool.status().is_down);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_server_that_is_silent_costs_the_timeout_and_no_more() {
    with_pool(plain(1), async |pool, server, _| {
        server.is_silent.store(true, Ordering::SeqCst);
        let options = pool.options().clone();
        let error = pool.acquire().await.unwrap_err();
        let timed_out =
            matches!(error, AcquireError::ConnectTimedOut { .. } | AcquireError::Exhausted(_));
        assert!(timed_out, "{error} ({:?})", options.connect_timeout);
        assert_eq!(pool.status().size, 0, "its place is free");
    })
    .await;
}

#[staunch::test]
async fn a_manager_that_panics_costs_nothing() {
    with_pool(plain(1), async |pool, server, s| {
        server.panics.store(true, Ordering::SeqCst);
        let unlucky = pool.clone();
        let ended = staunch::scope(s.context(), |s| async move {
            s.spawn(async move {
                drop(unlucky.acquire().await?);
                Ok(())
            });
            Ok::<_, BoxError>(())
        });
        assert!(ended.await.unwrap_err().to_string().contains("as it should"));
        assert_eq!(pool.status().size, 0);
        server.panics.store(false, Ordering::SeqCst);
        drop(pool.acquire().await.unwrap());
    })
    .await;
}

#[staunch::test]
async fn the_pool_ends_with_its_last_handle_and_leases_later() {
    with_pool(plain(2), async |pool, server, _| {
        let idle = pool.acquire().await.unwrap();
        let mut lease = pool.acquire().await.unwrap();
        drop(idle);
        drop(pool);
        eventually("the idle one ends", async || server.live.load(Ordering::SeqCst) == 1).await;
        assert_eq!(lease.connection().unwrap().number, 2);
        drop(lease);
        eventually("the other, too", async || server.live.load(Ordering::SeqCst) == 0).await;
    })
    .await;
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let check = |options: PoolOptions, expected| assert_eq!(options.check(), Err(expected));
    check(PoolOptions { max_total: 0, ..plain(1) }, PoolOptionsError::NoConnections);
    let too_many = PoolOptionsError::TooManyIdle { min_idle: 5, max_idle: 10, max_total: 4 };
    check(PoolOptions { min_idle: 5, max_total: 4, ..PoolOptions::default() }, too_many);
    let never = PoolOptions { maintenance_interval: Duration::ZERO, ..plain(1) };
    check(never, PoolOptionsError::NoInterval);
}

struct Plain;

impl Manager for Plain {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Its scope ends all the same.
#[staunch::test(start_paused = true)]
async fn a_pool_that_is_kept_does_not_keep_its_scope() {
    let kept = scope(&Context::current(), |s| async move {
        let pool = Pool::new(&s, Plain, PoolOptions::default())?;
        drop(pool.acquire().await?);
        Ok::<_, BoxError>(pool)
    });
    let pool = kept.await.unwrap();
    assert_eq!((pool.status().size, live(Kind::TASK)), (0, 1));
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed { .. })));
}

#[staunch::test(start_paused = true)]
async fn a_lease_that_is_kept_does_not_keep_its_scope_and_is_on_the_ledger() {
    let kept = scope(&Context::current(), |s| async move {
        let pool = Pool::new(&s, Plain, PoolOptions::default())?;
        Ok::<_, BoxError>(pool.acquire().await?)
    });
    let lease = kept.await.unwrap();
    let entry = Ledger::current().entry(lease.id()).unwrap();
    assert_eq!((entry.kind(), live(Kind::TASK)), (Kind::LEASE, 1));
    assert!(entry.born_at().file().ends_with("leasing.rs"), "{}", entry.born_at());
}
