//! An acquire may be dropped at any of its awaits: nothing is lost.

use std::{sync::atomic::Ordering, time::Duration};

use staunch::{BoxError, Cancelled, Context};
use staunch_harness::{eventually, poll_times};
use staunch_pool::{AcquireError, Condition, PoolOptions};

use crate::manager::{plain, with_pool};

#[staunch::test(start_paused = true)]
async fn at_every_await_in_every_phase() {
    let options = PoolOptions { test_on_borrow: true, test_on_create: true, ..plain(1) };
    with_pool(options, async |pool, server, s| {
        server.delay.store(10, Ordering::SeqCst);
        for busy in [false, true] {
            for times in 0.. {
                let lease = if busy { Some(pool.acquire().await.unwrap()) } else { None };
                let releasing = s.fork(async move {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    if let Some(mut lease) = lease {
                        lease.connection()?.condition = Condition::Dirty;
                    }
                    Ok(())
                });
                let ended = poll_times(times, pool.acquire()).await.is_some();
                releasing.join().await.unwrap();
                eventually("all is back", async || {
                    let status = pool.status();
                    (status.leased, status.waiters, status.size - status.idle) == (0, 0, 0)
                })
                .await;
                assert!(server.live.load(Ordering::SeqCst) <= 1);
                if ended {
                    break;
                }
                assert!(times < 100, "it does not end");
            }
        }
        drop(pool.acquire().await.unwrap());
    })
    .await;
}

#[staunch::test]
async fn the_turn_of_who_leaves_goes_to_the_next() {
    with_pool(plain(1), async |pool, _, _| {
        let lease = pool.acquire().await.unwrap();
        let mut first = Box::pin(pool.acquire());
        let mut second = Box::pin(pool.acquire());
        assert!(poll_times(1, first.as_mut()).await.is_none());
        assert!(poll_times(1, second.as_mut()).await.is_none());
        drop(lease); // the first has it now, and does not know yet
        assert_eq!(pool.status().idle, 0);
        drop(first);
        assert!(poll_times(1, second.as_mut()).await.is_some(), "it was handed on");
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn acquiring_ends_when_its_task_is_asked_to_stop_or_its_context_ends() {
    with_pool(plain(1), async |pool, _, s| {
        let lease = pool.acquire().await.unwrap();
        let waiting = pool.clone();
        let context = Context::current().with_timeout(Duration::from_secs(1));
        let ended = staunch::scope(&context, |_| async move {
            let error = waiting.acquire().await.unwrap_err();
            let deadline = Cancelled::DeadlineExceeded.to_string();
            assert_eq!(error.to_string(), deadline);
            Ok::<_, BoxError>(())
        });
        assert!(ended.await.is_err());
        s.stop();
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Cancelled(Cancelled::Requested)), "{error}");
        drop(lease);
    })
    .await;
}
