//! Waits that nobody can end are found; waits that somebody can end are not.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use staunch_ledger::Ledger;
use staunch_scope::{
    BoxError, Context, Scope,
    channel::{
        Confidence::{self, Certain, Likely},
        DoomedWait, LIKELY_AFTER, doomed_waits,
    },
    mpsc, oneshot, scope, sleep, timeout, watch,
};

use crate::common::{HOUR, Nest, SECOND, deaf_sleep, observed, yield_often};

type Found = Vec<(String, Confidence)>;

/// Runs `work` as a scope in a task of its own until nothing moves any more, compares the doomed
/// waits it then has, by the name of the waiting task, and stops it.
async fn check<F, Fut>(work: F, expected: &[(&str, Confidence)])
where
    F: FnOnce(Scope) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move { Ok(scope(&Context::current(), work).await?) });
        yield_often().await;
        let found = search().await;
        Ledger::current().advance_clock(LIKELY_AFTER + SECOND);
        let found_later = search().await;
        s.stop();
        Ok::<_, BoxError>((found, found_later))
    });
    let (found, found_later) = ended.await.expect("the work stops when asked");
    let expected: Found = expected.iter().map(|(name, sure)| ((*name).to_owned(), *sure)).collect();
    let at_once = expected.iter().filter(|(_, sure)| *sure == Certain).cloned();
    assert_eq!(found, at_once.collect::<Found>(), "at once");
    assert_eq!(found_later, expected, "when it has lasted");
    assert_eq!(observed("doomed-wait"), expected.len() as u64, "each is observed once");
}

/// The doomed waits by the name of the task. The first search has the suspects probed, the
/// second one reports.
async fn search() -> Found {
    let ledger = Ledger::current();
    doomed_waits(ledger);
    yield_often().await;
    let name = |wait: &DoomedWait| {
        let task = ledger.entry(wait.task).expect("a task that waits is live");
        (task.label().to_string(), wait.confidence)
    };
    let mut found: Found = doomed_waits(ledger).iter().map(name).collect();
    found.sort_unstable();
    found
}

#[staunch::test(start_paused = true)]
async fn a_task_that_waits_for_itself() {
    let line = line!();
    let work = |s: Scope| async move {
        s.spawn_named("first", async {
            let (sender, mut receiver) = mpsc::channel(1);
            sender.send(1).await?;
            receiver.recv().await?;
            receiver.recv().await?; // `sender` is still here
            Ok(())
        });
        Ok(())
    };
    check(work, &[("first", Certain)]).await;
    let observation = &Ledger::current().observations()[0];
    let (file, made) = (file!(), line + 3);
    assert!(observation.text.contains("to receive from the channel"), "{observation}");
    assert!(observation.text.contains(&format!("{file}:{made}:")), "{observation}");
}

#[staunch::test(start_paused = true)]
async fn two_tasks_that_wait_for_each_other() {
    let work = |s: Scope| async move {
        let (to_right, mut from_left) = mpsc::channel(1);
        let (to_left, mut from_right) = mpsc::channel(1);
        s.spawn_named("first", async move {
            to_right.send("hello").await?;
            from_right.recv().await?;
            from_right.recv().await?;
            Ok(())
        });
        s.spawn_named("second", async move {
            to_left.send("hello").await?;
            from_left.recv().await?;
            from_left.recv().await?;
            Ok(())
        });
        Ok(())
    };
    check(work, &[("first", Certain), ("second", Certain)]).await;
}

async fn two_full_queues<T: Default + Send + Sync + 'static>(expected: Confidence) {
    let work = |s: Scope| async move {
        let (to_right, mut from_left) = mpsc::channel::<T>(1);
        let (to_left, mut from_right) = mpsc::channel::<T>(1);
        s.spawn_named("first", async move {
            let _ = from_right.try_recv();
            loop {
                to_right.send(T::default()).await?;
            }
        });
        s.spawn_named("second", async move {
            let _ = from_left.try_recv();
            loop {
                to_left.send(T::default()).await?;
            }
        });
        Ok(())
    };
    check(work, &[("first", expected), ("second", expected)]).await;
}

#[staunch::test(start_paused = true)]
async fn two_tasks_whose_queues_are_full() {
    two_full_queues::<u8>(Certain).await;
}

/// The receivers might have gone with the messages, but only to each other.
#[staunch::test(start_paused = true)]
async fn two_tasks_whose_queues_are_full_of_what_may_hold_a_handle() {
    two_full_queues::<Option<mpsc::Receiver<u8>>>(Likely).await;
}

/// It has sent messages of that kind to several channels: nobody can follow that.
#[staunch::test(start_paused = true)]
async fn a_task_that_may_have_handed_its_sender_on_anywhere() {
    let work = |s: Scope| async move {
        let (one, _kept_one) = mpsc::channel(1);
        let (other, _kept_other) = mpsc::channel(1);
        let child = s.fork(async move {
            let (sender, mut receiver) = mpsc::channel::<u8>(1);
            sender.send(1).await?;
            receiver.recv().await?;
            one.send(String::new()).await?;
            other.send(String::new()).await?;
            receiver.recv().await?;
            Ok(())
        });
        Ok(child.join().await?)
    };
    check(work, &[]).await;
}

#[staunch::test(start_paused = true)]
async fn a_circle_of_three_over_different_channels() {
    let work = |s: Scope| async move {
        let (to_b, mut from_a) = mpsc::channel(1);
        let (to_c, mut from_b) = watch::channel(0);
        let (to_a, mut from_c) = mpsc::channel(1);
        s.spawn_named("first", async move {
            to_b.send(()).await?;
            while from_c.recv().await.is_ok() {}
            Ok(())
        });
        s.spawn_named("second", async move {
            to_c.send(1)?;
            while from_a.recv().await.is_ok() {}
            Ok(())
        });
        s.spawn_named("third", async move {
            to_a.send(()).await?;
            while from_b.changed().await.is_ok() {
                from_b.latest();
            }
            Ok(())
        });
        Ok(())
    };
    check(work, &[("first", Certain), ("second", Certain), ("third", Certain)]).await;
}

/// The usual mistake: the original sender outlives the clones.
#[staunch::test(start_paused = true)]
async fn a_sender_that_was_forgotten() {
    let work = |_: Scope| async move {
        let inner = scope(&Context::current(), |s| async move {
            let (sender, mut receiver) = mpsc::channel(8);
            for number in 0..3 {
                let sender = sender.clone();
                s.spawn(async move { Ok(sender.send(number).await?) });
            }
            while let Ok(_number) = receiver.recv().await {} // `sender` is still here
            Ok::<_, BoxError>(())
        });
        Ok(inner.await?)
    };
    check(work, &[("body of the scope", Likely)]).await;
}

/// Each calls the other and waits for the answer, so neither reads its mailbox.
#[staunch::test(start_paused = true)]
async fn two_actors_that_call_each_other() {
    type Call = oneshot::Sender<u8>;
    async fn call(to: &mpsc::Sender<Call>) -> Result<u8, BoxError> {
        let (answer, mut answered) = oneshot::channel();
        to.send(answer).await?;
        Ok(answered.recv().await?)
    }
    let work = |s: Scope| async move {
        let (to_left, mut left) = mpsc::channel::<Call>(1);
        let (to_right, mut right) = mpsc::channel::<Call>(1);
        let (kick_left, kick_right) = (to_left.clone(), to_right.clone());
        s.spawn_named("first", async move {
            let first = left.recv().await?;
            first.send(call(&to_right).await?)?;
            Ok(())
        });
        s.spawn_named("second", async move {
            let first = right.recv().await?;
            first.send(call(&to_left).await?)?;
            Ok(())
        });
        s.spawn_named("third", async move { call(&kick_left).await.map(|_| ()) });
        s.spawn_named("fourth", async move { call(&kick_right).await.map(|_| ()) });
        Ok(())
    };
    check(work, &[("first", Likely), ("fourth", Likely), ("second", Likely), ("third", Likely)])
        .await;
}

#[staunch::test(start_paused = true)]
async fn a_child_that_waits_for_the_body_that_joins_it() {
    let work = |s: Scope| async move {
        let (sender, mut receiver) = mpsc::channel::<u8>(1);
        let child = s.fork(async move {
            while let Ok(_number) = receiver.recv().await {}
            Ok(())
        });
        sender.send(1).await?;
        child.join().await?; // `sender` is still here
        Ok(())
    };
    check(work, &[("", Certain)]).await;
}

#[staunch::test(start_paused = true)]
async fn a_child_that_waits_for_the_task_that_runs_its_scope() {
    let work = |s: Scope| async move {
        s.spawn(async {
            let (sender, mut receiver) = mpsc::channel::<u8>(1);
            sender.send(1).await?;
            let inner = scope(&Context::current(), |inner| async move {
                inner.spawn_named("first", async move {
                    while receiver.recv().await.is_ok() {}
                    Ok(())
                });
                Ok::<_, BoxError>(())
            });
            inner.await?;
            drop(sender);
            Ok(())
        });
        Ok(())
    };
    check(work, &[("first", Certain)]).await;
}

/// The sender lies where somebody could find it, but nobody is left who would.
#[staunch::test(start_paused = true)]
async fn a_sender_whose_last_user_has_ended() {
    let shelf = Arc::new(Mutex::new(None));
    let put = Arc::clone(&shelf);
    let work = move |s: Scope| async move {
        s.spawn_named("first", async move {
            let (sender, mut receiver) = mpsc::channel(1);
            let inner = scope(&Context::current(), |_| async {
                sender.send(1).await?;
                *put.lock().unwrap() = Some(sender);
                Ok::<_, BoxError>(())
            });
            inner.await?;
            while receiver.recv().await.is_ok() {}
            Ok(())
        });
        Ok(())
    };
    check(work, &[("first", Likely)]).await;
    drop(shelf);
}

/// A wait is its new task's when its future is handed over half way.
#[staunch::test(start_paused = true)]
async fn a_wait_that_moved_to_another_task() {
    let work = |s: Scope| async move {
        let (never, mut awaited) = mpsc::channel::<u8>(1);
        let (give, take) = tokio::sync::oneshot::channel();
        s.spawn_named("first", async move {
            let (sender, mut receiver) = mpsc::channel(1);
            let mut moved = Box::pin(async move { awaited.recv().await });
            std::future::poll_fn(|cx| {
                assert!(moved.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert!(give.send(moved).is_ok());
            sender.send(1).await?;
            receiver.recv().await?;
            receiver.recv().await?;
            drop(never);
            Ok(())
        });
        s.spawn_named("second", async move { take.await?.await.map(|_| ()).map_err(Into::into) });
        Ok(())
    };
    check(work, &[("first", Certain), ("second", Likely)]).await;
}

// From here on: waits that somebody can end.

#[staunch::test(start_paused = true)]
async fn a_sender_in_the_hands_of_a_child_that_has_not_used_it_yet() {
    let work = |s: Scope| async move {
        let (sender, mut receiver) = mpsc::channel(1);
        s.spawn(async move {
            sleep(HOUR).await?;
            Ok(sender.send(1).await?)
        });
        receiver.recv().await?;
        Ok(())
    };
    check(work, &[]).await;
}

#[staunch::test(start_paused = true)]
async fn a_sender_in_the_hands_of_a_task_that_waits_for_something_foreign() {
    let work = |s: Scope| async move {
        let (sender, mut receiver) = mpsc::channel(1);
        s.spawn(async move {
            sender.send(1).await?;
            deaf_sleep(HOUR).await;
            Ok(sender.send(2).await?)
        });
        while receiver.recv().await.is_ok() {}
        Ok(())
    };
    check(work, &[]).await;
}

/// Every one of these has its own sender, and waits for something else as well.
#[staunch::test(start_paused = true)]
async fn a_task_that_can_go_on_otherwise() {
    async fn own() -> Result<(mpsc::Sender<u8>, mpsc::Receiver<u8>), BoxError> {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.send(1).await?;
        receiver.recv().await?;
        Ok((sender, receiver))
    }
    let work = |s: Scope| async move {
        s.spawn(async {
            let (_sender, mut receiver) = own().await?;
            tokio::select! {
                received = receiver.recv() => received.map(|_| ())?,
                slept = sleep(HOUR) => slept?,
            }
            Ok(())
        });
        s.spawn(async {
            let (_sender, mut receiver) = own().await?;
            tokio::select! {
                received = receiver.recv() => received.map(|_| ())?,
                () = deaf_sleep(HOUR) => {}
            }
            Ok(())
        });
        s.spawn(async {
            let (_sender, mut receiver) = own().await?;
            timeout(HOUR, receiver.recv()).await??;
            Ok(())
        });
        s.spawn(async {
            let (_sender, mut receiver) = own().await?;
            let context = Context::current().with_timeout(HOUR);
            context.run(receiver.recv()).await??;
            Ok(())
        });
        s.spawn(async {
            let (_sender, mut receiver) = own().await?;
            let mut nest = Nest::new();
            nest.push(async move { assert!(receiver.recv().await.is_err()) });
            nest.push(deaf_sleep(HOUR));
            nest.await;
            Ok(())
        });
        Ok(())
    };
    check(work, &[]).await;
}

/// Two waits of one task: it is stuck only if both are doomed.
#[staunch::test(start_paused = true)]
async fn a_task_with_two_waits_of_which_one_can_end() {
    let work = |s: Scope| async move {
        let (elsewhere, mut other) = mpsc::channel::<u8>(1);
        s.spawn(async move {
            let (sender, mut receiver) = mpsc::channel(1);
            sender.send(1).await?;
            receiver.recv().await?;
            tokio::select! {
                received = receiver.recv() => received?,
                received = other.recv() => received?,
            };
            Ok(())
        });
        sleep(HOUR).await?;
        drop(elsewhere);
        Ok(())
    };
    check(work, &[]).await;
}

#[staunch::test(start_paused = true)]
async fn a_call_to_an_actor_that_takes_its_time() {
    let work = |s: Scope| async move {
        let (to_actor, mut mailbox) = mpsc::channel::<oneshot::Sender<u8>>(1);
        s.spawn(async move {
            while let Ok(call) = mailbox.recv().await {
                sleep(HOUR).await?;
                call.send(1)?;
            }
            Ok(())
        });
        let (answer, mut answered) = oneshot::channel();
        to_actor.send(answer).await?;
        answered.recv().await?;
        Ok(())
    };
    check(work, &[]).await;
}

#[staunch::test(start_paused = true)]
async fn a_handle_that_was_made_outside_any_task() {
    let (sender, mut receiver) =
        std::thread::scope(|threads| threads.spawn(|| mpsc::channel::<u8>(1)).join().unwrap());
    let work = |s: Scope| async move {
        s.spawn(async move { receiver.recv().await.map(|_| ()).map_err(Into::into) });
        Ok(())
    };
    check(work, &[]).await;
    drop(sender);
}

/// Healthy traffic, searched all the time on another thread.
#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_play_ping_pong_are_never_suspected() {
    let found = scope(&Context::current(), |s| async move {
        let (to_right, mut from_left) = mpsc::channel(1);
        let (to_left, mut from_right) = mpsc::channel(1);
        s.spawn(async move {
            for number in 0..20_000_u32 {
                to_right.send(number).await?;
                assert_eq!(from_right.recv().await, Ok(number));
            }
            Ok(())
        });
        s.spawn(async move {
            while let Ok(number) = from_left.recv().await {
                to_left.send(number).await?;
            }
            Ok(())
        });
        let searcher = s.clone();
        let ledger = Ledger::current();
        let searched = s.blocking(move |_| {
            let mut found = Vec::new();
            while searcher.live() > 2 {
                found.extend(doomed_waits(ledger));
                std::thread::sleep(Duration::from_micros(50));
            }
            Ok(found)
        });
        Ok::<_, BoxError>(searched.join().await?)
    });
    let found = found.await.unwrap();
    assert!(found.is_empty(), "{found:#?}");
}
