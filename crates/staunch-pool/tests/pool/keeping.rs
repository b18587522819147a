//! What the keeper does: fresh connections, as many as wanted, none that are dead.

use std::{sync::atomic::Ordering, time::Duration};

use staunch::Ledger;
use staunch_harness::{destroyed, eventually};
use staunch_pool::{Destroyed, PoolOptions};

use crate::manager::{plain, with_pool};

const SECOND: Duration = Duration::from_secs(1);

async fn pass(time: Duration) {
    for _ in 0..time.as_secs() {
        Ledger::current().advance_clock(SECOND);
        tokio::time::sleep(SECOND).await;
    }
}

/// Leases all there can be, and gives them back.
async fn fill(pool: &staunch_pool::Pool<crate::manager::Scripted>, count: usize) {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(pool.acquire().await.unwrap());
    }
}

#[staunch::test(start_paused = true)]
async fn what_is_idle_for_long_ends_but_for_the_fewest_wanted() {
    let options = PoolOptions { min_idle: 2, min_evictable_idle: SECOND * 30, ..plain(5) };
    with_pool(options, async |pool, server, _| {
        fill(&pool, 5).await;
        pass(SECOND * 25).await;
        assert_eq!(pool.status().idle, 5);
        pass(SECOND * 15).await;
        assert_eq!((pool.status().idle, destroyed(&pool.status(), Destroyed::Idle)), (2, 3));
        assert_eq!(server.live.load(Ordering::SeqCst), 2);
        assert_eq!(server.goodbyes.load(Ordering::SeqCst), 3);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn some_are_made_ahead_of_need() {
    with_pool(PoolOptions { min_idle: 3, ..plain(5) }, async |pool, _, _| {
        pass(SECOND * 6).await;
        assert_eq!((pool.status().idle, pool.status().created), (3, 3));
        let _lease = pool.acquire().await.unwrap();
        pass(SECOND * 6).await;
        assert_eq!((pool.status().idle, pool.status().created), (3, 4));
    })
    .await;
}

#[staunch::test]
async fn no_more_idle_ones_are_kept_than_wanted() {
    with_pool(PoolOptions { max_idle: 1, ..plain(3) }, async |pool, server, _| {
        fill(&pool, 3).await;
        eventually("two end", async || server.live.load(Ordering::SeqCst) == 1).await;
        assert_eq!((pool.status().size, destroyed(&pool.status(), Destroyed::Surplus)), (1, 2));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_connection_ends_when_it_is_old_or_worn() {
    let old = PoolOptions { max_lifetime: Some(SECOND * 100), ..plain(1) };
    with_pool(old, async |pool, _, _| {
        fill(&pool, 1).await;
        pass(SECOND * 89).await;
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 1);
        pass(SECOND * 22).await;
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 2);
        assert_eq!(destroyed(&pool.status(), Destroyed::Expired), 1);
    })
    .await;
    with_pool(PoolOptions { max_uses: Some(2), ..plain(1) }, async |pool, _, _| {
        for expected in [1, 1, 2, 2, 3] {
            assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, expected);
        }
    })
    .await;
}

#[staunch::test]
async fn dead_connections_are_found_before_they_are_leased() {
    with_pool(PoolOptions { test_on_borrow: true, ..plain(2) }, async |pool, server, _| {
        fill(&pool, 2).await;
        assert_eq!(server.validated.load(Ordering::SeqCst), 0, "new ones are not");
        server.is_down.store(true, Ordering::SeqCst);
        for found in 1..=2 {
            // A new one is made in the place of one that is dead: so each is asked once at most.
            assert!(pool.acquire().await.is_err());
            assert_eq!(destroyed(&pool.status(), Destroyed::Invalid), found);
        }
        assert_eq!(pool.status().size, 0);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn silent_connections_are_found_while_idle_within_the_timeout() {
    with_pool(PoolOptions { test_while_idle: true, ..plain(2) }, async |pool, server, _| {
        fill(&pool, 2).await;
        pass(SECOND * 12).await;
        assert!(server.validated.load(Ordering::SeqCst) >= 2);
        assert_eq!(pool.status().idle, 2);
        server.is_silent.store(true, Ordering::SeqCst);
        pass(SECOND * 12).await;
        assert_eq!((pool.status().size, destroyed(&pool.status(), Destroyed::Invalid)), (0, 2));
    })
    .await;
}

#[staunch::test]
async fn what_comes_back_and_what_is_new_is_validated_if_wanted() {
    let options = PoolOptions { test_on_return: true, test_on_create: true, ..plain(1) };
    with_pool(options, async |pool, server, _| {
        fill(&pool, 1).await;
        eventually("it is idle", async || pool.status().idle == 1).await;
        assert_eq!(server.validated.load(Ordering::SeqCst), 2);
    })
    .await;
}

#[staunch::test]
async fn shrinking_ends_what_is_idle() {
    with_pool(plain(4), async |pool, server, _| {
        fill(&pool, 4).await;
        let _lease = pool.acquire().await.unwrap();
        assert_eq!(pool.shrink(1), 2);
        assert_eq!((pool.status().size, pool.status().idle), (2, 1));
        eventually("two end", async || server.live.load(Ordering::SeqCst) == 2).await;
    })
    .await;
}
