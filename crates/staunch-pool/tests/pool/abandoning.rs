//! Abandoned is not slow.

use std::{
    mem::ManuallyDrop,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use staunch::{BoxError, Ledger, sleep};
use staunch_harness::{eventually, observed};
use staunch_pool::{Lease, Pool, PoolOptions};

use crate::manager::{Scripted, plain, with_pool};

const MINUTE: Duration = Duration::from_mins(1);

/// How often a lease was called slow, and how often abandoned; however long ago.
fn reports() -> (u64, u64) {
    let counts = Ledger::current().observation_counts();
    let times = |rule| counts.iter().find(|(name, _)| *name == rule).map_or(0, |(_, times)| *times);
    (times("slow-lease"), times("abandoned-lease"))
}

/// Time passes, on the runtime's clock and on the ledger's.
pub(crate) async fn pass(time: Duration) {
    let step = MINUTE / 12;
    for _ in 0..time.as_secs() / step.as_secs() {
        Ledger::current().advance_clock(step);
        tokio::time::sleep(step).await;
    }
}

#[staunch::test(start_paused = true)]
async fn a_forgotten_lease_is_found_and_its_place_is_free_again() {
    with_pool(plain(1), async |pool, server, _| {
        let forgotten = ManuallyDrop::new(pool.acquire().await.unwrap()); // as `mem::forget` does
        pass(MINUTE * 2).await;
        let abandoned = observed("abandoned-lease");
        assert_eq!(abandoned.len(), 1, "{abandoned:?}");
        assert!(abandoned[0].contains("abandoning.rs"), "{abandoned:?}");
        assert!(abandoned[0].contains("nobody uses it; held for 60"), "{abandoned:?}");
        assert!(abandoned[0].contains("of task born at"), "who owns it: {abandoned:?}");
        let [(line, 1)] = pool.status().abandoned[..] else { panic!("{:?}", pool.status()) };
        assert!(line.file().ends_with("abandoning.rs"));
        assert_eq!(server.live.load(Ordering::SeqCst), 0, "its connection is closed");
        assert_eq!(pool.acquire().await.unwrap().connection().unwrap().number, 2);
        drop(ManuallyDrop::into_inner(forgotten));
        assert_eq!(pool.status().size, 1, "its end changes nothing any more");
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_lease_in_a_static_is_found_and_its_next_use_says_so() {
    static KEPT: Mutex<Option<Lease<Scripted>>> = Mutex::new(None);
    with_pool(plain(1), async |pool, _, _| {
        let lease = pool.acquire().await.unwrap();
        *KEPT.lock().unwrap() = Some(lease);
        pass(MINUTE * 2).await;
        assert_eq!(observed("abandoned-lease").len(), 1);
        let mut kept = KEPT.lock().unwrap().take().unwrap();
        let revoked = kept.connection().unwrap_err();
        assert!(revoked.held_for >= MINUTE && revoked.born_at.file().ends_with("abandoning.rs"));
        assert!(kept.connection().is_err(), "and it stays so");
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_lease_whose_task_has_ended_is_abandoned() {
    with_pool(plain(1), async |pool, _, s| {
        let leasing = pool.clone();
        let child = s.fork(async move { Ok(leasing.acquire().await?) });
        let _orphan = child.join().await.unwrap();
        pass(MINUTE * 2).await;
        let abandoned = observed("abandoned-lease");
        assert!(abandoned[0].contains("the task that leased it has ended"), "{abandoned:?}");
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_task_parked_with_a_connection_in_hand_has_abandoned_it() {
    with_pool(plain(1), async |pool, server, s| {
        let leasing = pool.clone();
        s.spawn(async move {
            let mut lease = leasing.acquire().await?;
            let _in_use = lease.connection()?;
            sleep(Duration::from_hours(1)).await?;
            Ok(())
        });
        pass(MINUTE * 3).await;
        let abandoned = observed("abandoned-lease");
        assert!(abandoned[0].contains("waits for something else (sleep)"), "{abandoned:?}");
        assert_eq!(server.killed.load(Ordering::SeqCst), 1, "closed under it");
        drop(pool.acquire().await.unwrap());
    })
    .await;
}

/// As `select!` of a query and a channel: what a task waits for last is not all it waits for.
#[staunch::test(start_paused = true)]
async fn a_connection_that_is_at_work_is_not_abandoned_by_a_parked_task() {
    with_pool(plain(1), async |pool, server, s| {
        server.is_busy.store(true, Ordering::SeqCst);
        let leasing = pool.clone();
        let parked = s.fork(async move {
            let mut lease = leasing.acquire().await?;
            let in_use = lease.connection()?;
            sleep(MINUTE * 10).await?;
            Ok(in_use.number)
        });
        pass(MINUTE * 5).await;
        assert_eq!(observed("slow-lease").len(), 1);
        assert!(observed("abandoned-lease").is_empty());
        pass(MINUTE * 6).await;
        assert_eq!(parked.join().await.unwrap(), 1);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_connection_that_was_handed_on_belongs_to_whoever_uses_it() {
    with_pool(plain(2), async |pool, server, s| {
        let leasing = pool.clone();
        let child = s.fork(async move { Ok(leasing.acquire().await?.into_use()?) });
        let handed_on = child.join().await.unwrap();
        let long = s.fork(async move {
            handed_on.touch();
            tokio::time::sleep(MINUTE * 5).await; // as a driver waits for its server
            Ok(handed_on.number)
        });
        pass(MINUTE / 2).await;
        assert!(observed("slow-lease").is_empty(), "half a minute is not long for a use");
        pass(MINUTE * 4).await;
        assert_eq!(observed("slow-lease").len(), 1);
        assert!(observed("abandoned-lease").is_empty());
        pass(MINUTE).await;
        assert_eq!(long.join().await.unwrap(), 1);

        let leasing = pool.clone();
        let child = s.fork(async move { Ok(leasing.acquire().await?.into_use()?) });
        let forgotten = ManuallyDrop::new(child.join().await.unwrap());
        pass(MINUTE / 2).await;
        assert!(observed("abandoned-lease").is_empty());
        pass(MINUTE).await;
        let abandoned = observed("abandoned-lease");
        assert!(abandoned[0].contains("the task that used it last has ended"), "{abandoned:?}");
        assert_eq!(server.killed.load(Ordering::SeqCst), 1);
        drop(ManuallyDrop::into_inner(forgotten));
    })
    .await;
}

/// It is said of the same lease, first that it is slow, then that it is abandoned.
#[staunch::test(start_paused = true)]
async fn a_slow_lease_that_is_abandoned_later_is_counted() {
    with_pool(plain(1), async |pool, _, s| {
        let leasing = pool.clone();
        let slow = s.fork(async move {
            let mut lease = leasing.acquire().await?;
            let in_use = lease.connection()?;
            tokio::time::sleep(MINUTE * 2).await;
            drop(in_use);
            Ok(ManuallyDrop::new(lease))
        });
        pass(MINUTE * 2).await;
        assert_eq!(reports(), (1, 0));
        let forgotten = slow.join().await.unwrap();
        pass(MINUTE * 2).await;
        assert_eq!(reports(), (1, 1));
        assert_eq!(pool.status().abandoned.len(), 1);
        drop(ManuallyDrop::into_inner(forgotten));
    })
    .await;
}

/// Waits with a connection in hand; whether the lease is still good at the end.
async fn parked(pool: Pool<Scripted>) -> Result<bool, BoxError> {
    let mut lease = pool.acquire().await?;
    let in_use = lease.connection()?;
    sleep(MINUTE * 20).await?;
    drop(in_use);
    Ok(lease.connection().is_ok())
}

/// Each look is at the same use of it, by a task that does nothing; only the connection's pulse tells.
#[staunch::test(start_paused = true)]
async fn a_slow_lease_whose_connection_comes_to_rest_is_abandoned_without_a_touch_in_between() {
    with_pool(plain(1), async |pool, server, s| {
        server.is_busy.store(true, Ordering::SeqCst);
        let owner = s.fork(parked(pool.clone()));
        pass(MINUTE * 3).await;
        assert_eq!(reports(), (1, 0));
        server.is_busy.store(false, Ordering::SeqCst);
        pass(MINUTE * 3).await;
        assert_eq!(reports(), (1, 1));
        let abandoned = observed("abandoned-lease");
        assert!(abandoned[0].contains("waits for something else (sleep)"), "{abandoned:?}");
        let [(_, 1)] = pool.status().abandoned[..] else { panic!("{:?}", pool.status()) };
        pass(MINUTE * 15).await;
        assert!(!owner.join().await.unwrap(), "it was revoked");
        assert_eq!(reports(), (1, 1));
    })
    .await;
}

/// One that was found abandoned is not slow afterwards, and not abandoned for a second time.
#[staunch::test(start_paused = true)]
async fn what_was_abandoned_is_said_once_although_its_connection_is_at_work_now_and_then() {
    let options = PoolOptions { remove_abandoned: false, ..plain(1) };
    with_pool(options, async |pool, server, s| {
        let owner = s.fork(parked(pool.clone()));
        for is_busy in [false, true, false] {
            server.is_busy.store(is_busy, Ordering::SeqCst);
            pass(MINUTE * 3).await;
            assert_eq!(reports(), (0, 1), "busy: {is_busy}");
        }
        let [(_, 1)] = pool.status().abandoned[..] else { panic!("{:?}", pool.status()) };
        pass(MINUTE * 12).await;
        assert!(owner.join().await.unwrap(), "it was left alone");
    })
    .await;
}

/// Nobody has the pool any more, but its keeper stays until the last lease is gone.
#[staunch::test(start_paused = true)]
async fn a_lease_that_outlives_its_pool_is_still_watched() {
    with_pool(plain(1), async |pool, server, _| {
        let forgotten = ManuallyDrop::new(pool.acquire().await.unwrap());
        drop(pool);
        pass(MINUTE * 2).await;
        assert_eq!(observed("abandoned-lease").len(), 1);
        assert_eq!(
            (server.live.load(Ordering::SeqCst), server.goodbyes.load(Ordering::SeqCst)),
            (0, 1)
        );
        drop(ManuallyDrop::into_inner(forgotten));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_long_query_is_slow_and_stays() {
    with_pool(plain(1), async |pool, server, s| {
        let leasing = pool.clone();
        let query = s.fork(async move {
            let mut lease = leasing.acquire().await?;
            let connection = lease.connection()?;
            tokio::time::sleep(MINUTE * 10).await; // as a driver waits for its server
            Ok(connection.number)
        });
        pass(MINUTE * 9).await;
        assert_eq!(observed("slow-lease").len(), 1, "said once");
        assert_eq!(query.join().await.unwrap(), 1);
        assert!(observed("abandoned-lease").is_empty());
        assert_eq!(server.killed.load(Ordering::SeqCst), 0);
        assert_eq!(pool.status().idle, 1);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_holder_that_makes_progress_is_never_reported() {
    with_pool(plain(1), async |pool, _, _| {
        let mut lease = pool.acquire().await.unwrap();
        for _ in 0..20 {
            pass(MINUTE / 2).await;
            assert_eq!(lease.connection().unwrap().number, 1);
        }
        assert!(observed("abandoned-lease").is_empty() && observed("slow-lease").is_empty());
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn not_removed_it_is_reported_once_and_can_be_used_again() {
    with_pool(PoolOptions { remove_abandoned: false, ..plain(1) }, async |pool, _, _| {
        let mut lease = pool.acquire().await.unwrap();
        pass(MINUTE * 5).await;
        assert_eq!(observed("abandoned-lease").len(), 1);
        assert_eq!(lease.connection().unwrap().number, 1);
    })
    .await;
}

/// One lease in a thousand is lost; it is found although the pool is busy.
#[staunch::test(start_paused = true)]
async fn one_lost_lease_among_many_requests_is_found() {
    static LOST: Mutex<Vec<ManuallyDrop<Lease<Scripted>>>> = Mutex::new(Vec::new());
    with_pool(plain(20), async |pool, _, s| {
        let begun = tokio::time::Instant::now();
        for request in 0..15_000 {
            let working = pool.clone();
            s.spawn(async move {
                let mut lease = working.acquire().await?;
                let in_use = lease.connection()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(in_use);
                if request % 1000 == 500 {
                    LOST.lock().unwrap().push(ManuallyDrop::new(lease));
                }
                Ok::<_, BoxError>(())
            });
            tokio::time::sleep(Duration::from_millis(2)).await; // 500 requests a second
            Ledger::current().advance_clock(Duration::from_millis(2));
            if !observed("abandoned-lease").is_empty() {
                break;
            }
        }
        let abandoned = observed("abandoned-lease");
        assert!(!abandoned.is_empty() && begun.elapsed() < Duration::from_secs(30));
        assert!(abandoned.iter().all(|it| it.contains("abandoning.rs")), "{abandoned:?}");
        let lost = std::mem::take(&mut *LOST.lock().unwrap());
        drop(lost.into_iter().map(ManuallyDrop::into_inner).collect::<Vec<_>>());
        eventually("all are back", async || pool.status().leased == 0).await;
    })
    .await;
}
