//! A pool for each key: keys vanish, limits of all keys together, races.

use std::{
    mem::ManuallyDrop,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use staunch::{BoxError, Cancelled, Context, Ledger, Scope, ledger::Entry, scope};
use staunch_harness::{eventually, observed, poll_times};
use staunch_pool::{
    AcquireError, Condition, KeyedAcquireError, KeyedPool, KeyedPoolOptions, KeyedPoolOptionsError,
    PoolOptions, PoolOptionsError, pools,
};

use crate::{
    abandoning::pass,
    manager::{Scripted, Server, plain},
};

pub(crate) type Keys = KeyedPool<&'static str, Scripted>;

pub(crate) fn limits(max_keys: usize, max_total: usize, of_key: usize) -> KeyedPoolOptions {
    KeyedPoolOptions { max_keys, max_total: Some(max_total), per_key: plain(of_key) }
}

/// Runs `test` on a keyed pool in a scope of its own, with one server for all keys; then no
/// connection is left.
pub(crate) async fn with_keys(
    options: KeyedPoolOptions,
    test: impl AsyncFnOnce(Keys, Arc<Server>, Scope<BoxError>),
) {
    let server = Arc::new(Server::default());
    let ended = scope(&Context::current(), |s| {
        let server = Arc::clone(&server);
        async move {
            let manager = Scripted(Arc::clone(&server));
            let pool = KeyedPool::new(&s, move |_: &&str| manager.clone(), options)?;
            test(pool, server, s.clone()).await;
            s.stop();
            Ok::<_, BoxError>(())
        }
    });
    ended.await.unwrap();
    assert_eq!(server.live.load(Ordering::SeqCst), 0, "connections are left");
}

fn live(server: &Server) -> usize {
    server.live.load(Ordering::SeqCst)
}

fn keys(pool: &Keys) -> Vec<String> {
    pool.status().keys.into_iter().map(|it| it.key).collect()
}

fn entries() -> usize {
    Ledger::current().snapshot().entries().len()
}

#[staunch::test(start_paused = true)]
async fn a_key_without_connections_leases_and_waiters_vanishes_with_its_keeper() {
    let per_key = PoolOptions { min_evictable_idle: Duration::from_secs(30), ..plain(2) };
    let options = KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() };
    with_keys(options, async |pool, server, _| {
        tokio::task::yield_now().await;
        let before = entries();
        let leases = [pool.acquire(&"a").await.unwrap(), pool.acquire(&"b").await.unwrap()];
        assert_eq!(keys(&pool), ["a", "b"]);
        assert!(entries() >= before + 6, "a keeper, a connection and a lease each");
        pass(Duration::from_secs(50)).await;
        assert_eq!(keys(&pool), ["a", "b"], "they have leases");
        drop(leases);
        pass(Duration::from_mins(1)).await;
        eventually("they vanish", async || keys(&pool).is_empty()).await;
        eventually("and all they had", async || entries() == before && live(&server) == 0).await;
        let sum = pool.status().sum;
        assert_eq!((sum.created, sum.size), (2, 0), "what they did is remembered");
        drop(pool.acquire(&"a").await.unwrap());
        assert_eq!(pool.status().sum.created, 3);
    })
    .await;
}

#[staunch::test]
async fn connections_of_one_key_are_used_again_and_not_for_another() {
    with_keys(limits(10, 10, 2), async |pool, _, _| {
        let number = async |key| pool.acquire(&key).await.unwrap().connection().unwrap().number;
        assert_eq!([number("a").await, number("b").await, number("a").await], [1, 2, 1]);
        let in_use = pool.acquire(&"b").await.unwrap().into_use().unwrap();
        assert_eq!((in_use.number, pool.status().sum.leased), (2, 1));
        drop(in_use);
        assert_eq!((pool.status().sum.idle, number("b").await), (2, 2));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn keys_are_bounded_and_the_one_used_longest_ago_gives_way() {
    with_keys(limits(2, 10, 2), async |pool, server, _| {
        drop(pool.acquire(&"a").await.unwrap());
        drop(pool.acquire(&"b").await.unwrap());
        drop(pool.acquire(&"a").await.unwrap());
        let c = pool.acquire(&"c").await.unwrap();
        assert_eq!(keys(&pool), ["a", "c"]);
        eventually("b's connection ends", async || live(&server) == 2).await;
        let a = pool.acquire(&"a").await.unwrap();
        let error = pool.acquire(&"d").await.unwrap_err();
        assert!(matches!(error, KeyedAcquireError::TooManyKeys { limit: 2, .. }), "{error}");
        let said = "pool pool: leases of 2 keys are out already (max_keys): \
                    give them back sooner, or raise it";
        assert_eq!(error.to_string(), said);
        drop((a, c));
        drop(pool.acquire(&"d").await.unwrap());
        let waits = pool.acquire(&"d"); // not polled yet: its key stays all the same
        drop(pool.acquire(&"e").await.unwrap());
        drop(pool.acquire(&"f").await.unwrap());
        assert_eq!(keys(&pool), ["d", "f"]);
        drop(waits.await.unwrap());
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn idle_connections_of_other_keys_give_way_when_all_together_have_enough() {
    with_keys(limits(10, 3, 3), async |pool, server, _| {
        for key in ["a", "b", "c"] {
            drop(pool.acquire(&key).await.unwrap());
        }
        let b = pool.acquire(&"b").await.unwrap();
        let d = pool.acquire(&"d").await.unwrap();
        let idle: Vec<_> = pool.status().keys.iter().map(|it| it.status.size).collect();
        assert_eq!(idle, [0, 1, 1, 1], "a was used longest ago");
        let more = pool.acquire(&"d").await.unwrap();
        assert_eq!((live(&server), server.most.load(Ordering::SeqCst)), (3, 3));
        let error = pool.acquire(&"a").await.unwrap_err();
        assert!(matches!(error, KeyedAcquireError::AllExhausted(_)), "{error}");
        let said = "no connection within 5s: all 3 are taken, by 1 by ";
        assert!(error.to_string().contains(said), "{error}");
        drop((b, d, more));
        drop(pool.acquire(&"a").await.unwrap());
        assert_eq!(server.most.load(Ordering::SeqCst), 3);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn the_crowd_of_one_key_keeps_nobody_from_another() {
    with_keys(limits(10, 3, 1), async |pool, _, s| {
        let lease = pool.acquire(&"a").await.unwrap();
        let crowd: Vec<_> = (0..50)
            .map(|_| {
                let pool = pool.clone();
                s.fork(async move { Ok(pool.acquire(&"a").await.map(drop)?) })
            })
            .collect();
        eventually("they wait", async || pool.status().sum.waiters == 50).await;
        let begun = tokio::time::Instant::now();
        drop((pool.acquire(&"b").await.unwrap(), pool.acquire(&"c").await.unwrap()));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(lease);
        for one in crowd {
            one.join().await.unwrap();
        }
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_key_has_limits_of_its_own() {
    let per_key = PoolOptions { max_waiters: 1, ..plain(1) };
    let options = KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() };
    with_keys(options, async |pool, _, _| {
        let lease = pool.acquire(&"a").await.unwrap();
        let mut waits = Box::pin(pool.acquire(&"a"));
        assert!(poll_times(1, waits.as_mut()).await.is_none());
        let error = pool.acquire(&"a").await.unwrap_err().to_string();
        assert!(error.contains("1 tasks wait for a connection already"), "{error}");
        let error = waits.await.unwrap_err();
        let is_exhausted = matches!(error, KeyedAcquireError::Key(AcquireError::Exhausted(_)));
        assert!(is_exhausted && error.to_string().contains("keyed.rs"), "{error}");
        assert_eq!((pool.status().sum.failed, pool.status().sum.waiters), (2, 0));
        drop(lease);
    })
    .await;
}

/// Of a key, and of all of them together: who has the connections is on the ledger, at most once
/// in each `maintenance_interval`.
#[staunch::test(start_paused = true)]
async fn who_exhausts_it_is_observed_now_and_then() {
    with_keys(limits(3, 2, 1), async |pool, _, _| {
        let leases = [pool.acquire(&"a").await.unwrap(), pool.acquire(&"b").await.unwrap()];
        assert!(pool.acquire(&"a").await.is_err());
        assert!(pool.acquire(&"c").await.is_err());
        let said = observed("pool-exhausted");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("all 1 are taken, by 1 by ") && said[0].contains("keyed.rs"));
        pass(Duration::from_secs(5)).await;
        assert!(pool.acquire(&"c").await.is_err());
        let said = observed("pool-exhausted");
        assert!(said.len() == 2 && said[1].contains("all 2 are taken, by 1 by "), "{said:?}");
        drop(leases);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_forgotten_lease_is_revoked_and_its_right_comes_back() {
    with_keys(limits(1, 1, 1), async |pool, _, _| {
        let mut forgotten = ManuallyDrop::new(pool.acquire(&"a").await.unwrap()); // as `mem::forget` does
        assert!(pool.acquire(&"b").await.is_err());
        pass(Duration::from_mins(2)).await;
        drop(pool.acquire(&"b").await.unwrap());
        assert!(forgotten.connection().is_err());
        drop(ManuallyDrop::into_inner(forgotten));
        let both = pool.acquire(&"b").await.unwrap();
        assert!(pool.acquire(&"a").await.is_err(), "the right came back once");
        drop(both);
    })
    .await;
}

/// At every await, with the connection still to be made, with one that is busy, and with one of
/// another key that has to give way.
#[staunch::test(start_paused = true)]
async fn an_acquire_may_be_dropped_anywhere() {
    let mut options = limits(2, 1, 1);
    options.per_key = PoolOptions { test_on_borrow: true, test_on_create: true, ..plain(1) };
    with_keys(options, async |pool, server, s| {
        server.delay.store(10, Ordering::SeqCst);
        for busy in [None, Some("a"), Some("b")] {
            for times in 0.. {
                let lease = match busy {
                    Some(key) => Some(pool.acquire(&key).await.unwrap()),
                    None => None,
                };
                let releasing = s.fork(async move {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    if let Some(mut lease) = lease {
                        lease.connection()?.condition = Condition::Dirty;
                    }
                    Ok(())
                });
                let ended = poll_times(times, pool.acquire(&"a")).await.is_some();
                releasing.join().await.unwrap();
                eventually("all is back", async || {
                    let sum = pool.status().sum;
                    (sum.leased, sum.waiters, sum.size - sum.idle) == (0, 0, 0)
                })
                .await;
                eventually("and ended", async || live(&server) == pool.status().sum.size).await;
                assert!(live(&server) <= 1);
                if ended {
                    break;
                }
                assert!(times < 100, "it does not end");
            }
        }
        assert_eq!(server.most.load(Ordering::SeqCst), 1);
        drop(pool.acquire(&"b").await.unwrap());
    })
    .await;
}

/// Keys come and go while everybody acquires, on several threads: no acquire fails.
#[staunch::test(flavor = "multi_thread")]
async fn acquiring_from_a_key_that_is_being_removed_does_not_fail() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let mut options = limits(4, 8, 2);
    options.per_key.max_idle = 0; // so a key is empty between two leases
    with_keys(options, async |pool, server, s| {
        let removed = std::sync::atomic::AtomicUsize::new(0);
        let busy: Vec<_> = (0..8)
            .map(|task| {
                let pool = pool.clone();
                s.fork(async move {
                    for turn in 0..500 {
                        let key = NAMES[(task + turn) % NAMES.len()];
                        let mut lease = pool.acquire(&key).await?;
                        drop(lease.connection()?);
                    }
                    Ok(())
                })
            })
            .collect();
        for one in busy {
            let mut joined = Box::pin(one.join());
            while poll_times(1, joined.as_mut()).await.is_none() {
                removed.fetch_add(pool.maintain(), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
        assert!(removed.into_inner() > 0, "nothing was removed meanwhile");
        pool.maintain();
        eventually("all are gone", async || {
            pool.maintain();
            keys(&pool).is_empty() && live(&server) == 0
        })
        .await;
        assert_eq!(pool.status().sum.failed, 0);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_key_whose_server_is_down_is_remembered_until_it_may_be_tried_again() {
    with_keys(limits(10, 10, 1), async |pool, server, _| {
        server.is_down.store(true, Ordering::SeqCst);
        assert!(pool.acquire(&"a").await.is_err());
        assert_eq!((pool.maintain(), keys(&pool).len()), (0, 1));
        let error = pool.acquire(&"a").await.unwrap_err();
        let fails_fast = matches!(error, KeyedAcquireError::Key(AcquireError::Down { .. }));
        assert!(fails_fast, "{error}");
        pass(Duration::from_secs(15)).await;
        assert_eq!(keys(&pool).len(), 0);
    })
    .await;
}

#[staunch::test]
async fn it_is_reported_under_one_name_with_its_keys() {
    with_keys(limits(10, 10, 2), async |pool, _, _| {
        let leases = [pool.acquire(&"a").await.unwrap(), pool.acquire(&"b").await.unwrap()];
        let reports = pools(Ledger::current());
        let [report] = &reports[..] else { panic!("{reports:?}") };
        assert_eq!((report.status.name, report.status.max_total), ("pool", 10));
        assert_eq!((report.status.leased, report.holders.len()), (2, 2));
        let keys: Vec<_> = report.keys.iter().map(|it| (&*it.key, it.status.leased)).collect();
        assert_eq!(keys, [("a", 1), ("b", 1)]);
        assert_eq!(report.keys[0].holders[0].born_at.file(), file!());
        let snapshot = Ledger::current().snapshot();
        let born_here = |entry: &&Entry| entry.born_at().file().contains("src/keyed");
        let nowhere = snapshot.entries().iter().find(born_here);
        assert!(nowhere.is_none(), "a line that says nothing: {nowhere:?}");
        drop(leases);
        assert_eq!((pool.shrink(1), pool.status().sum.idle), (1, 1));
    })
    .await;
}

#[staunch::test]
async fn stopped_nobody_leases_and_everything_ends() {
    with_keys(limits(10, 10, 2), async |pool, _, s| {
        let lease = pool.acquire(&"a").await.unwrap();
        s.stop();
        let error = pool.acquire(&"a").await.unwrap_err();
        let is_asked =
            matches!(error, KeyedAcquireError::Key(AcquireError::Cancelled(Cancelled::Requested)));
        assert!(is_asked, "{error}");
        drop(lease);
    })
    .await;
    let kept = std::sync::OnceLock::new();
    with_keys(limits(10, 10, 2), async |pool, _, _| _ = kept.set(pool)).await;
    let error = kept.get().unwrap().acquire(&"a").await.unwrap_err();
    assert_eq!(error.to_string(), "pool pool: closed");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let of_keys = |per_key| KeyedPoolOptions { per_key, ..KeyedPoolOptions::default() }.check();
    assert_eq!(limits(0, 1, 1).check(), Err(KeyedPoolOptionsError::NoKeys));
    assert_eq!(limits(1, 0, 1).check(), Err(KeyedPoolOptionsError::NoConnections));
    let keeps = KeyedPoolOptionsError::KeepsIdle { min_idle: 1 };
    assert_eq!(of_keys(PoolOptions { min_idle: 1, ..plain(1) }), Err(keeps));
    let nothing = KeyedPoolOptionsError::PerKey(PoolOptionsError::NoConnections);
    assert_eq!(of_keys(plain(0)), Err(nothing));
    assert_eq!(of_keys(plain(1)), Ok(()));
}
