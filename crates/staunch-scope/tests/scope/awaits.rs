//! Every public asynchronous function, dropped at each of its awaits: nothing is left, and what
//! its "Cancel safety" section promises holds.

use staunch_scope::{
    BoxError, Context, Restart, ScopeBuilder, detach, mpsc, oneshot, patrol, scope, shield, sleep,
    sleep_until, testing::cancel_at_every_await, timeout, watch,
};
use tokio::time::Instant;

use crate::common::{HOUR, SECOND, deaf_sleep};

#[staunch::test(start_paused = true)]
async fn sleeping() {
    assert_eq!(cancel_at_every_await(|| sleep(SECOND)).await, 1);
    assert_eq!(cancel_at_every_await(|| sleep_until(Instant::now() + SECOND)).await, 1);
    assert_eq!(cancel_at_every_await(|| timeout(HOUR, sleep(SECOND))).await, 1);
    assert_eq!(cancel_at_every_await(|| timeout(SECOND, deaf_sleep(HOUR))).await, 1);
    assert_eq!(cancel_at_every_await(|| shield(sleep(SECOND))).await, 1);
}

#[staunch::test(start_paused = true)]
async fn contexts() {
    let soon = || Context::current().with_timeout(SECOND);
    assert_eq!(cancel_at_every_await(|| async { soon().cancelled().await }).await, 1);
    assert_eq!(cancel_at_every_await(|| async { soon().run(deaf_sleep(HOUR)).await }).await, 1);
    assert_eq!(cancel_at_every_await(|| async { soon().run(sleep(SECOND / 2)).await }).await, 1);
}

#[staunch::test(start_paused = true)]
async fn scopes() {
    let work = || {
        scope(&Context::current(), |s| async move {
            s.spawn(async { Ok(sleep(SECOND).await?) });
            let child = s.fork(async {
                sleep(2 * SECOND).await?;
                Ok(42)
            });
            assert_eq!(child.join().await?, 42);
            sleep(SECOND).await?;
            Ok::<_, BoxError>(())
        })
    };
    let awaits = cancel_at_every_await(work).await;
    assert!(awaits >= 2, "{awaits}");
}

#[staunch::test(start_paused = true)]
async fn scopes_that_must_force_somebody() {
    let work = || {
        ScopeBuilder::new(&Context::current().with_timeout(SECOND)).grace(SECOND).run(
            |s| async move {
                s.spawn(async {
                    deaf_sleep(HOUR).await;
                    Ok(())
                });
                let nested = scope(&Context::current(), |nested| async move {
                    nested.spawn(async {
                        deaf_sleep(HOUR).await;
                        Ok(())
                    });
                    Ok::<_, BoxError>(())
                });
                Ok::<_, BoxError>(nested.await?)
            },
        )
    };
    let awaits = cancel_at_every_await(work).await;
    assert!(awaits >= 2, "{awaits}");
}

#[staunch::test(start_paused = true)]
async fn supervised_children() {
    let work = || {
        scope(&Context::current(), |s| async move {
            let mut attempts = 0;
            s.supervise(Restart::default(), move || {
                attempts += 1;
                async move {
                    sleep(SECOND).await?;
                    if attempts < 3 { Err("again".into()) } else { Ok(()) }
                }
            });
            Ok::<_, BoxError>(())
        })
    };
    assert!(cancel_at_every_await(work).await >= 1);
}

#[staunch::test]
async fn blocking_children() {
    let work = || {
        scope(&Context::current(), |s| async move {
            let child = s.blocking(|work| {
                while !work.is_asked() {
                    std::thread::yield_now();
                }
                Ok(())
            });
            tokio::task::yield_now().await;
            s.stop();
            let _ = child.join().await;
            Ok::<_, BoxError>(())
        })
    };
    assert!(cancel_at_every_await(work).await >= 1);
}

/// Two looks, and dropped between them and during them.
#[staunch::test(start_paused = true)]
async fn patrolling() {
    let work = || timeout(SECOND * 5 / 2, patrol(SECOND));
    let awaits = cancel_at_every_await(work).await;
    assert!(awaits >= 3, "{awaits}");
}

#[staunch::test(start_paused = true)]
async fn detached_tasks() {
    let work = || async {
        let task = detach("is stopped by whoever waits for it", async {
            let _ = sleep(SECOND).await;
        });
        let stop = StopAtTheEnd(&task);
        task.ended().await.unwrap();
        drop(stop);
    };
    assert_eq!(cancel_at_every_await(work).await, 1);
}

struct StopAtTheEnd<'a>(&'a staunch_scope::Detached);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Messages come in order while others are sent.
#[staunch::test(start_paused = true)]
async fn receiving() {
    let work = || async {
        let (sender, mut receiver) = mpsc::channel(1);
        tokio::join!(
            async {
                for number in 1..=3 {
                    sleep(SECOND).await.unwrap();
                    sender.send(number).await.unwrap();
                }
            },
            async {
                for expected in 1..=3 {
                    assert_eq!(receiver.recv().await, Ok(expected));
                }
            }
        )
    };
    assert!(cancel_at_every_await(work).await >= 3);
}

#[staunch::test(start_paused = true)]
async fn a_receiver_survives_its_dropped_futures() {
    let (sender, mut receiver) = mpsc::channel(1);
    for number in 0..3 {
        assert!(timeout(SECOND, receiver.recv()).await.is_err());
        sender.send(number).await.unwrap();
        assert!(timeout(SECOND, sender.send(99)).await.is_err());
        assert_eq!(receiver.recv().await, Ok(number));
    }
}

#[staunch::test(start_paused = true)]
async fn channels() {
    let sending = || async {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.send(1).await.unwrap();
        let (sent, received) = tokio::join!(sender.send(2), async {
            sleep(SECOND).await.unwrap();
            receiver.recv().await
        });
        assert_eq!((sent, received), (Ok(()), Ok(1)));
    };
    assert!(cancel_at_every_await(sending).await >= 1);

    let closing = || async {
        let (sender, receiver) = mpsc::channel::<u8>(1);
        let ((), closed) = tokio::join!(
            async {
                sleep(SECOND).await.unwrap();
                drop(receiver);
            },
            sender.closed()
        );
        closed.unwrap();
    };
    assert!(cancel_at_every_await(closing).await >= 1);

    let once = || async {
        let (sender, mut receiver) = oneshot::channel();
        let (mut unwanted, dropped) = oneshot::channel::<u8>();
        let (sent, received, closed) = tokio::join!(
            async {
                sleep(SECOND).await.unwrap();
                drop(dropped);
                sender.send(42)
            },
            receiver.recv(),
            unwanted.closed(),
        );
        assert_eq!((sent, received, closed), (Ok(()), Ok(42), Ok(())));
    };
    assert!(cancel_at_every_await(once).await >= 1);

    let watching = || async {
        let (sender, mut receiver) = watch::channel(0);
        let (sent, changed) = tokio::join!(
            async {
                sleep(SECOND).await.unwrap();
                sender.send(1)
            },
            receiver.changed(),
        );
        assert_eq!((sent, changed, receiver.latest()), (Ok(()), Ok(()), 1));
        let (closed, ()) = tokio::join!(sender.closed(), async {
            sleep(SECOND).await.unwrap();
            drop(receiver);
        });
        closed.unwrap();
    };
    assert!(cancel_at_every_await(watching).await >= 2);
}
