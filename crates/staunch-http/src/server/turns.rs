//! Whose turn an HTTP/2 request is begun in: its connection's, or one of its own.
//!
//! Most handlers have their answer at once, and a task costs more time than they need. So the requests that came
//! together are begun one after the other in the turn of their connection, once all that came has been read, and
//! their answers are sent together. Only one that waits becomes a task. But while they are begun nothing of their
//! connection is read or sent, and no other worker can take one over. So none is begun after the [`TIME`] of a turn, and
//! after one that takes long, or waits, those that follow are tasks from the beginning.
//!
//! **Invariant.** What is queued goes with its connection, whatever ends that: a request knows the queue that it is in
//! (hyper's future of it has its executor), and so only weakly.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
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
/// When so long was spent on others in one turn of their connection, those that are left are tasks.
const TIME: Duration = Duration::from_micros(200);
/// No more are queued. h2 lets a client have more for a moment, if it resets them.
const QUEUE: usize = 256;

type Request = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

/// The requests of a connection that are about to begin. Only its own task uses them.
pub(super) struct Turns(Arc<State>);

/// Where they are queued.
#[derive(Clone)]
pub(super) struct Queue(Weak<State>);

struct State {
    scope: Scope<Infallible>,
    requests: Mutex<VecDeque<Request>>,
    /// So many of those that come next are tasks from the beginning.
    tasks: AtomicU32,
}

impl State {
    /// Whether the next one is a task from the beginning.
    fn is_task(&self) -> bool {
        let tasks = self.tasks.load(Ordering::Relaxed);
        self.tasks.store(tasks.saturating_sub(1), Ordering::Relaxed);
        tasks > 0
    }

    fn requests(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Has a request begin in the next turn of its connection, or as a task; not if that is over.
    pub(super) fn add(
        &self,
        request: impl Future<Output = Result<(), Infallible>> + Send + 'static,
    ) {
        let Some(state) = self.0.upgrade() else { return };
        if state.is_task() || state.requests().len() >= QUEUE {
            state.scope.spawn_named("request", request);
        } else {
            state.requests().push_back(Box::pin(request));
        }
    }
}

impl Turns {
    /// Of a connection whose requests are children of this scope.
    pub(super) fn new(scope: Scope<Infallible>) -> Turns {
        let (requests, tasks) = (Mutex::default(), AtomicU32::new(0));
        Turns(Arc::new(State { scope, requests, tasks }))
    }

    pub(super) fn queue(&self) -> Queue {
        Queue(Arc::downgrade(&self.0))
    }

    /// Begins those that came; whether there were any.
    pub(super) fn begin(&self) -> bool {
        let begun = Instant::now();
        let mut before = begun;
        let mut any = false;
        while let Some(request) = self.next() {
            any = true;
            if self.0.is_task() || before - begun > TIME {
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
        if !self.0.requests().is_empty() {
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
        self.0.requests().pop_front()
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
        (0..200).filter(|_| turns.0.is_task()).count()
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
                async move {
                    if is_long {
                        thread::sleep(2 * TIME);
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            };
            let queue = turns.queue();
            (0..100).for_each(|number| queue.add(one(number == 0)));
            assert!(turns.begin() && turns.0.requests().is_empty());
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
            turns.queue().add(async { Ok(_ = Context::current().cancelled().await) });
            assert!(turns.begin());
            assert_eq!(turns.0.scope.live(), 2);
        })
        .await;
    }

    /// As hyper's future of a request has its executor, it has the queue.
    #[staunch::test]
    async fn what_is_queued_goes_with_its_connection() {
        let queued = Arc::new(());
        let had = Arc::clone(&queued);
        with_turns(async |turns| {
            let queue = turns.queue();
            queue.clone().add(async move {
                drop((had, queue));
                Ok(())
            });
        })
        .await;
        assert_eq!(Arc::strong_count(&queued), 1);
    }

    #[staunch::test]
    async fn the_queue_has_an_end() {
        with_turns(async |turns| {
            let queue = turns.queue();
            (0..QUEUE + 10).for_each(|_| queue.add(async { Ok(()) }));
            assert_eq!((turns.0.requests().len(), turns.0.scope.live()), (QUEUE, 11));
        })
        .await;
    }
}
