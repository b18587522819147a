//! Room for the connections of all keys, and the rights to lease them: each comes back once, and
//! who waits for one blames no server.

use std::{
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context as Poller, Poll, Wake, Waker},
    time::Duration,
};

use staunch::Ledger;
use staunch_harness::{eventually, poll_times};
use staunch_pool::{AcquireError, Condition, KeyedAcquireError, KeyedLease, PoolOptions};

use crate::{
    abandoning::pass,
    keyed::{limits, with_keys},
    manager::{Down, Scripted, plain},
};

type Acquired = Result<KeyedLease<Scripted>, KeyedAcquireError<Down>>;
type Acquiring = Pin<Box<dyn Future<Output = Acquired> + Send>>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[staunch::test(start_paused = true)]
async fn what_is_forgotten_in_use_has_no_room_once_it_is_revoked() {
    with_keys(limits(2, 1, 1), async |pool, server, s| {
        let leasing = pool.clone();
        let child = s.fork(async move { Ok(leasing.acquire(&"a").await?.into_use()?) });
        let forgotten = ManuallyDrop::new(child.join().await.unwrap()); // as `mem::forget` does
        pass(Duration::from_mins(1)).await;
        assert_eq!(server.killed.load(Ordering::SeqCst), 1);
        drop(pool.acquire(&"b").await.unwrap());
        drop(ManuallyDrop::into_inner(forgotten));
        let lease = pool.acquire(&"b").await.unwrap();
        let mut more = Box::pin(pool.acquire(&"a"));
        assert!(poll_times(1, more.as_mut()).await.is_none(), "its room came back once");
        drop((lease, more));
    })
    .await;
}

/// As in a plain pool: what a key's connection does is known to its pool.
#[staunch::test(start_paused = true)]
async fn a_connection_that_is_at_work_is_not_abandoned() {
    with_keys(limits(1, 1, 1), async |pool, server, s| {
        server.is_busy.store(true, Ordering::SeqCst);
        let leasing = pool.clone();
        let parked = s.fork(async move {
            let mut lease = leasing.acquire(&"a").await?;
            let in_use = lease.connection()?;
            staunch::sleep(Duration::from_mins(5)).await?;
            Ok(in_use.number)
        });
        pass(Duration::from_mins(6)).await;
        assert_eq!(parked.join().await.unwrap(), 1);
        assert_eq!(server.killed.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn never_is_a_duration_too() {
    let mut options = limits(1, 1, 1);
    options.per_key.acquire_timeout = Duration::MAX;
    options.per_key.backoff_max = Duration::MAX;
    options.per_key.maintenance_interval = Duration::MAX;
    with_keys(options, async |pool, _, s| {
        let lease = pool.acquire(&"a").await.unwrap();
        let waiting = pool.clone();
        let waits = s.fork(async move { Ok(waiting.acquire(&"a").await?) });
        eventually("it waits", async || pool.status().sum.waiters == 1).await;
        drop(lease);
        drop(waits.join().await.unwrap());
    })
    .await;
}

/// Polls an acquire as soon as it is woken, on the stack of who wakes it.
struct AtOnce {
    acquiring: Mutex<Acquiring>,
    acquired: Mutex<Option<Acquired>>,
}

impl Wake for AtOnce {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut cx = Poller::from_waker(&waker);
        if let Poll::Ready(acquired) = self.acquiring.lock().unwrap().as_mut().poll(&mut cx) {
            *self.acquired.lock().unwrap() = Some(acquired);
        }
    }
}

#[staunch::test(start_paused = true)]
async fn a_lease_that_ends_takes_no_right_from_the_next_one_of_its_connection() {
    with_keys(limits(1, 10, 2), async |pool, server, _| {
        let (first, mut second) =
            (pool.acquire(&"a").await.unwrap(), pool.acquire(&"a").await.unwrap());
        server.delay.store(10, Ordering::SeqCst);
        second.connection().unwrap().condition = Condition::Dirty;
        drop(second); // its right is free, its connection is being reset
        let acquiring = Mutex::new(Box::pin(pool.acquire(&"a")) as Acquiring);
        let next = Arc::new(AtOnce { acquiring, acquired: Mutex::default() });
        Arc::clone(&next).wake();
        assert!(next.acquired.lock().unwrap().is_none(), "it waits for a connection");
        drop(first);
        let lease = next.acquired.lock().unwrap().take().expect("it was handed over").unwrap();
        let error = pool.acquire(&"b").await.expect_err("a is leased");
        assert!(matches!(error, KeyedAcquireError::TooManyKeys { .. }), "{error}");
        drop(lease);
        drop(pool.acquire(&"b").await.unwrap());
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn no_more_give_way_than_there_are_who_wait() {
    with_keys(limits(10, 4, 4), async |pool, server, _| {
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(pool.acquire(&"a").await.unwrap());
        }
        drop(leases);
        server.goodbye.store(500, Ordering::SeqCst);
        let begun = tokio::time::Instant::now();
        let (one, other) = tokio::join!(pool.acquire(&"b"), pool.acquire(&"c"));
        assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
        assert_eq!(server.goodbyes.load(Ordering::SeqCst), 2);
        assert_eq!(pool.status().sum.idle, 2);
        drop((one.unwrap(), other.unwrap()));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_wait_for_room_says_nothing_of_the_server() {
    let mut options = limits(10, 1, 1);
    let (connect_timeout, acquire_timeout) = (ms(50), ms(700));
    options.per_key = PoolOptions { connect_timeout, acquire_timeout, ..plain(1) };
    with_keys(options, async |pool, server, _| {
        drop(pool.acquire(&"a").await.unwrap());
        server.goodbye.store(500, Ordering::SeqCst);
        drop(pool.acquire(&"b").await.unwrap());
        server.goodbye.store(900, Ordering::SeqCst);
        let error = pool.acquire(&"c").await.unwrap_err();
        assert!(matches!(error, KeyedAcquireError::AllExhausted(_)), "{error}");
        assert!(!pool.status().sum.is_down);
        drop(pool.acquire(&"c").await.unwrap());
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn nobody_gives_way_for_a_server_that_is_down() {
    with_keys(limits(10, 2, 2), async |pool, server, _| {
        drop((pool.acquire(&"a").await.unwrap(), pool.acquire(&"b").await.unwrap()));
        server.is_down.store(true, Ordering::SeqCst);
        let error = pool.acquire(&"c").await.unwrap_err();
        let failed = matches!(error, KeyedAcquireError::Key(AcquireError::Connect { .. }));
        assert!(failed, "{error}");
        server.is_down.store(false, Ordering::SeqCst);
        drop(pool.acquire(&"a").await.unwrap());
        eventually("both are idle again", async || pool.status().sum.idle == 2).await;
        let error = pool.acquire(&"c").await.unwrap_err();
        let fails_fast = matches!(error, KeyedAcquireError::Key(AcquireError::Down { .. }));
        assert!(fails_fast, "{error}");
        assert_eq!(pool.status().sum.idle, 2);
    })
    .await;
}

fn give_back(lease: KeyedLease<Scripted>, on_another_thread: bool) {
    if on_another_thread {
        std::thread::scope(|threads| _ = threads.spawn(|| drop(lease)));
    } else {
        drop(lease);
    }
}

/// Whichever thread's shelf it lies on.
#[staunch::test]
async fn the_one_that_has_been_idle_for_longest_ends_first() {
    with_keys(limits(10, 2, 2), async |pool, _, _| {
        for is_first_elsewhere in [true, false] {
            let both = [pool.acquire(&"a").await.unwrap(), pool.acquire(&"a").await.unwrap()];
            let [first, mut last] = both;
            let number = last.connection().unwrap().number;
            give_back(first, is_first_elsewhere);
            Ledger::current().advance_clock(Duration::from_secs(1));
            last.touch(); // idle since it was used last
            give_back(last, !is_first_elsewhere);
            assert_eq!(pool.shrink(1), 1);
            let mut left = pool.acquire(&"a").await.unwrap();
            assert_eq!(left.connection().unwrap().number, number);
        }
    })
    .await;
}
