//! Bounded channels: what they carry, how they end, what they say.

use std::time::Duration;

use staunch_ledger::{Kind, Ledger, Obligation, State};
use staunch_scope::{
    BoxError, Cancelled, Context,
    channel::{RecvError, SendError, TryRecvError, TrySendError},
    mpsc, oneshot, scope, sleep, timeout, watch,
};

use crate::common::{Dropped, HOUR, Nest, SECOND, entries, named, yield_often};

const ASKED: Cancelled = Cancelled::Requested;

#[staunch::test(start_paused = true)]
async fn a_full_queue_makes_the_sender_wait() {
    let (sender, mut receiver) = mpsc::channel(2);
    scope(&Context::current(), |s| async move {
        s.spawn_named("sender", async move {
            for number in 0..5 {
                sender.send(number).await?;
            }
            Ok(())
        });
        sleep(SECOND).await?;
        assert_eq!((receiver.len(), named("sender").state()), (2, State::Channel));
        for expected in 0..5 {
            assert_eq!(receiver.recv().await, Ok(expected));
        }
        assert_eq!(receiver.recv().await, Err(RecvError::Closed));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test]
async fn every_failure_to_send_gives_the_value_back() {
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send("first").unwrap();
    let full = sender.try_send("second").unwrap_err();
    assert_eq!(full.to_string(), "the channel is full: its 1 places are taken");
    assert_eq!(full, TrySendError::Full { value: "second", capacity: 1 });
    assert_eq!(full.into_value(), "second");
    assert_eq!((sender.room(), receiver.is_empty(), sender.is_closed()), (0, false, false));
    receiver.close();
    assert_eq!(sender.send("third").await, Err(SendError::Closed("third")));
    assert_eq!(receiver.recv().await, Ok("first"));
    drop(receiver);
    sender.closed().await.unwrap();
    assert_eq!(sender.try_send("fourth"), Err(TrySendError::Closed("fourth")));

    let (sender, receiver) = oneshot::channel();
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(1), Err(SendError::Closed(1)));

    let (sender, receiver) = watch::channel(0);
    drop(receiver);
    assert_eq!(sender.send(1).unwrap_err().into_value(), 1);
    // Values need not be `Debug` for the error to be: they are not shown.
    assert_eq!(format!("{:?}", SendError::Closed(Dropped::default())), "Closed(..)");
}

#[staunch::test(start_paused = true)]
async fn whoever_is_asked_to_stop_stops_waiting_and_nothing_is_lost() {
    let (sender, mut receiver) = mpsc::channel(1);
    sender.send(1).await.unwrap();
    scope(&Context::current(), |s| async move {
        let (mut one, mut watcher) = (oneshot::channel::<u8>(), watch::channel(0_u8));
        let stopper = s.clone();
        s.spawn(async move {
            sleep(SECOND).await?;
            stopper.stop();
            Ok(())
        });
        let (sent, received, changed, closed) =
            tokio::join!(sender.send(2), one.1.recv(), watcher.1.changed(), watcher.0.closed(),);
        assert_eq!(sent, Err(SendError::Cancelled { value: 2, cause: ASKED }));
        assert_eq!(received, Err(RecvError::Cancelled(ASKED)));
        assert_eq!((changed, closed), (Err(RecvError::Cancelled(ASKED)), Err(ASKED)));
        assert_eq!(receiver.recv().await, Err(RecvError::Cancelled(ASKED)), "level-triggered");
        assert_eq!(receiver.try_recv(), Ok(1), "but what is there can be had");
        assert_eq!(one.1.try_recv(), Err(TryRecvError::Empty));
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test(start_paused = true)]
async fn a_wait_below_an_executor_inside_the_task_is_woken() {
    let (sender, mut receiver) = mpsc::channel::<u8>(1);
    scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let mut nest = Nest::new();
            nest.push(async move {
                assert_eq!(receiver.recv().await, Err(RecvError::Cancelled(ASKED)));
            });
            nest.await;
            Ok(())
        });
        sleep(SECOND).await?;
        s.stop();
        drop(sender);
        Ok::<_, BoxError>(())
    })
    .await
    .unwrap();
}

#[staunch::test]
async fn a_oneshot_gives_its_value_once() {
    let (sender, mut receiver) = oneshot::channel();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(42).unwrap();
    assert_eq!(receiver.recv().await, Ok(42));
    assert_eq!(receiver.recv().await, Err(RecvError::Closed));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));

    let (sender, mut receiver) = oneshot::channel::<()>();
    drop(sender);
    assert_eq!(receiver.recv().await, Err(RecvError::Closed));

    let (mut sender, receiver) = oneshot::channel::<()>();
    let (closed, ()) = tokio::join!(sender.closed(), async { drop(receiver) });
    assert_eq!(closed, Ok(()));
}

#[staunch::test]
async fn a_watch_shows_the_latest_value_only() {
    let (sender, mut receiver) = watch::channel(1);
    let mut late = sender.subscribe();
    sender.send(2).unwrap();
    sender.modify(|value| *value += 1);
    assert_eq!(receiver.changed().await, Ok(()));
    assert_eq!((receiver.latest(), sender.with(|value| *value)), (3, 3));
    let mut clone = receiver.clone();
    drop((sender.clone(), sender));
    assert_eq!(receiver.changed().await, Err(RecvError::Closed));
    assert_eq!(late.changed().await, Ok(()), "it has not seen the last value");
    assert_eq!((late.with(|value| *value), clone.latest()), (3, 3));
}

#[staunch::test]
async fn a_channel_is_on_the_ledger_until_its_last_handle_is_gone() {
    let line = line!() + 1;
    let (sender, mut receiver) = mpsc::channel(1);
    let [entry] = &entries(Kind::CHANNEL)[..] else { panic!("one channel") };
    assert_eq!((entry.born_at().line(), entry.parent()), (line, None));
    assert_eq!(entry.obligation(), Obligation::EndsWithParent);
    let ledger = Ledger::current();
    ledger.advance_clock(HOUR);
    sender.send(()).await.unwrap();
    assert_eq!(entries(Kind::CHANNEL)[0].without_progress(), Duration::ZERO);
    let clone = sender.clone();
    drop(sender);
    receiver.recv().await.unwrap();
    drop(receiver);
    assert_eq!(entries(Kind::CHANNEL).len(), 1);
    drop(clone);
    assert_eq!(entries(Kind::CHANNEL).len(), 0);
}

#[staunch::test]
#[should_panic = "buffer"]
async fn a_queue_has_at_least_one_place() {
    let _ = mpsc::channel::<()>(0);
}

#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_lose_nothing() -> Result<(), BoxError> {
    let sum = scope(&Context::current(), |s| async move {
        let (sender, mut receiver) = mpsc::channel(4);
        for _ in 0..8 {
            let sender = sender.clone();
            s.spawn(async move {
                for number in 1..=1_000_u64 {
                    sender.send(number).await?;
                }
                Ok(())
            });
        }
        drop(sender);
        let mut sum = 0;
        while let Ok(number) = receiver.recv().await {
            sum += number;
        }
        Ok::<_, BoxError>(sum)
    });
    assert_eq!(sum.await?, 8 * 500_500);
    Ok(())
}

#[staunch::test(start_paused = true)]
async fn a_timeout_on_a_wait_leaves_the_channel_as_it_was() {
    let (sender, mut receiver) = mpsc::channel(1);
    assert!(timeout(SECOND, receiver.recv()).await.is_err());
    sender.send(1).await.unwrap();
    assert!(timeout(SECOND, sender.send(2)).await.is_err());
    yield_often().await;
    assert_eq!((receiver.recv().await, receiver.try_recv()), (Ok(1), Err(TryRecvError::Empty)));
}
