//! What several tests use.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as Poller, Poll, Wake, Waker},
    time::Duration,
};

use staunch_ledger::{Entry, Kind, Ledger};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// Remembers that it was dropped.
#[derive(Clone, Default)]
pub(crate) struct Dropped(Arc<AtomicBool>);

/// Sets its [`Dropped`] when it is dropped.
pub(crate) struct DropFlag(Dropped);

impl Dropped {
    pub(crate) fn flag(&self) -> DropFlag {
        DropFlag(self.clone())
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// Sleeps without hearing that the task is asked to stop: a future that is not ours.
pub(crate) async fn deaf_sleep(delay: Duration) {
    tokio::time::sleep(delay).await;
}

/// The live entries of a kind on the current ledger.
pub(crate) fn entries(kind: Kind) -> Vec<Entry> {
    let snapshot = Ledger::current().snapshot();
    snapshot.entries().iter().filter(|entry| entry.kind() == kind).cloned().collect()
}

/// The live task called `name`.
#[track_caller]
pub(crate) fn named(name: &str) -> Entry {
    let found = entries(Kind::TASK);
    let found = found.iter().find(|task| task.label().to_string() == name);
    found.unwrap_or_else(|| panic!("no task is named {name}")).clone()
}

/// How often `rule` was observed on the current ledger.
pub(crate) fn observed(rule: &str) -> u64 {
    let counts = Ledger::current().observation_counts();
    counts.iter().find(|(known, _)| *known == rule).map_or(0, |(_, count)| *count)
}

/// Lets every task that is ready run.
pub(crate) async fn yield_often() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// An executor inside a task, as `FuturesUnordered` is one: polls a member only when its own
/// waker was called.
pub(crate) struct Nest {
    members: Vec<(Option<Work>, Arc<Member>)>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Member {
    woken: AtomicBool,
    parent: Mutex<Option<Waker>>,
    polls: AtomicUsize,
}

impl Nest {
    pub(crate) fn new() -> Nest {
        Nest { members: Vec::new() }
    }

    pub(crate) fn push(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let member = Member {
            woken: AtomicBool::new(true),
            parent: Mutex::new(None),
            polls: AtomicUsize::new(0),
        };
        self.members.push((Some(Box::pin(future)), Arc::new(member)));
    }
}

impl Wake for Member {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(parent) = self.parent.lock().expect("no panic holds it").take() {
            parent.wake();
        }
    }
}

impl Future for Nest {
    /// How often its members were polled.
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<usize> {
        for (future, member) in &mut self.members {
            *member.parent.lock().expect("no panic holds it") = Some(cx.waker().clone());
            if !member.woken.swap(false, Ordering::SeqCst) {
                continue;
            }
            let Some(running) = future else { continue };
            member.polls.fetch_add(1, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(member));
            if running.as_mut().poll(&mut Poller::from_waker(&waker)).is_ready() {
                *future = None;
            }
        }
        if self.members.iter().any(|(future, _)| future.is_some()) {
            return Poll::Pending;
        }
        Poll::Ready(self.members.iter().map(|(_, m)| m.polls.load(Ordering::SeqCst)).sum())
    }
}
