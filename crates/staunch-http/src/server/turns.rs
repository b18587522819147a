//! Whose turn an HTTP/2 request is begun in: its connection's, or one of its own.
//!
//! Most handlers have their answer at once, and a task costs more time than they need. So the requests that came
//! together are begun one after the other in the turn of their connection, once all that came has been read, and
//! their answers are sent together. Only one that waits becomes a task. But while they are begun nothing of their
//! connection is read or sent, and no other worker can take one over. So a turn has its [`TIME`], and after one that
//! takes long, or waits, those that follow are tasks from the beginning.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::Context as Poller,
    time::{Duration, Instant},
};

use staunch_scope::Scope;

/// What takes longer holds up the others: more than ten times what a task costs.
const LONG: Duration = Duration::from_micros(50);
/// So many are tasks from the beginning after one that took long: it may have been a thousand times that.
const AFTER_LONG: u32 = 32;
/// And after one that waits, which is polled once more than it had to be.
const AFTER_WAIT: u32 = 16;
/// Those that are begun in one turn of their connection take no longer together.
const TIME: Duration = Duration::from_micros(200);

type Request = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

/// The requests of a connection that are about to begin. Clones are the same; only its own task uses them.
#[derive(Clone)]
pub(super) struct Turns(Arc<State>);

struct State {
    scope: Scope<Infallible>,
    queue: Mutex<VecDeque<Request>>,
    /// So many of those that come next are tasks from the beginning.
    tasks: AtomicU32,
}

impl Turns {
    /// Of a connection whose requests are children of this scope.
    pub(super) fn new(scope: Scope<Infallible>) -> Turns {
        let (queue, tasks) = (Mutex::default(), AtomicU32::new(0));
        Turns(Arc::new(State { scope, queue, tasks }))
    }

    /// Whether the next one is a task from the beginning.
    pub(super) fn is_task(&self) -> bool {
        let tasks = self.0.tasks.load(Ordering::Relaxed);
        self.0.tasks.store(tasks.saturating_sub(1), Ordering::Relaxed);
        tasks > 0
    }

    /// One that is not. There are no more of them than streams.
    pub(super) fn queue(&self, request: Request) {
        self.requests().push_back(request);
    }

    /// Begins those that came; whether there were any.
    pub(super) fn begin(&self) -> bool {
        let begun = Instant::now();
        let mut before = begun;
        let mut any = false;
        while let Some(request) = self.next() {
            any = true;
            if self.is_task() || before - begun > TIME {
                self.0.scope.spawn_named("request", request);
                continue;
            }
            let has_ended = self.0.scope.spawn_eager("request", request);
            let now = Instant::now();
            self.has_begun(has_ended, now - before);
            before = now;
        }
        any
    }

    /// Those that came since have a turn of their connection of their own.
    pub(super) fn begin_soon(&self, cx: &Poller<'_>) {
        if !self.requests().is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    fn has_begun(&self, has_ended: bool, took: Duration) {
        let tasks = match has_ended {
            _ if took > LONG => AFTER_LONG,
            true => 0,
            false => AFTER_WAIT,
        };
        self.0.tasks.store(tasks, Ordering::Relaxed);
    }

    fn next(&self) -> Option<Request> {
        self.requests().pop_front()
    }

    fn requests(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use staunch_scope::{Context, Isolate, ScopeBuilder};

    use super::*;

    /// Runs `test` on the turns of a connection.
    async fn with_turns(test: impl AsyncFnOnce(Turns)) {
        let scope = ScopeBuilder::new(&Context::current()).policy(Isolate);
        let ended = scope.run(async |scope| {
            test(Turns::new(scope.clone())).await;
            scope.stop();
            Ok(())
        });
        assert!(ended.await.result.is_ok());
    }

    /// How many of the next 200 are tasks from the beginning.
    fn tasks(turns: &Turns) -> usize {
        (0..200).filter(|_| turns.is_task()).count()
    }

    #[staunch::test]
    async fn after_one_that_waits_or_takes_long_some_are_tasks() {
        with_turns(async |turns| {
            assert!(!turns.begin(), "there are none");
            turns.has_begun(true, LONG);
            assert_eq!(tasks(&turns), 0);
            turns.has_begun(false, LONG);
            assert_eq!(tasks(&turns), 16);
            turns.has_begun(true, 2 * LONG);
            assert_eq!(tasks(&turns), 32);
        })
        .await;
    }

    #[staunch::test]
    async fn those_that_came_together_are_all_begun() {
        with_turns(async |turns| {
            let ended = Arc::new(AtomicU32::new(0));
            let one = |is_long: bool| {
                let ended = Arc::clone(&ended);
                Box::pin(async move {
                    if is_long {
                        thread::sleep(2 * TIME);
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
            };
            (0..100).for_each(|number| turns.queue(one(number == 0)));
            assert!(turns.begin() && turns.requests().is_empty());
            assert_eq!(ended.load(Ordering::Relaxed), 1, "its turn was over: the others are tasks");
            while turns.0.scope.live() > 1 {
                tokio::task::yield_now().await;
            }
            assert_eq!(ended.load(Ordering::Relaxed), 100);
        })
        .await;
    }

    #[staunch::test]
    async fn one_that_waits_is_a_task() {
        with_turns(async |turns| {
            turns.queue(Box::pin(async { Ok(_ = Context::current().cancelled().await) }));
            assert!(turns.begin());
            assert_eq!(turns.0.scope.live(), 2);
        })
        .await;
    }
}
