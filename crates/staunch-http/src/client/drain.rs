//! What becomes of bodies that nobody read to their end.
//!
//! Over HTTP/1 the rest of a body stands in the way of the next answer: it is read, within
//! bounds, or the connection is closed. A dropped body goes to the *drainer*, a daemon of the
//! client's scope, that has room for so many; a drop starts nothing. Over HTTP/2 the stream is
//! reset, which costs the connection nothing.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Poller, Poll},
};

use hyper::body::Body;
use staunch_ledger::{Kind, Ledger, Observation};
use staunch_pool::PooledBody;
use staunch_scope::{Scope, State, Wait};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep_until},
};

use super::{options::DrainOptions, status::Bodies};

/// The way to the drainer, who ends with it.
#[derive(Debug)]
pub(super) struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: DrainOptions,
    client: &'static str,
    ledger: Ledger,
    queue: Mutex<Queue>,
    more: Notify,
    counts: Counts,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<PooledBody>,
    /// Those that wait, and those that are being drained.
    taken: usize,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    drained: AtomicU64,
    drained_bytes: AtomicU64,
    destroyed: AtomicU64,
    reset: AtomicU64,
    lines: Mutex<Vec<(&'static Location<'static>, u64)>>,
}

/// Lines that drop bodies, beyond which they are not told apart.
const MAX_LINES: usize = 32;

/// Bodies that a line drops until it is a finding, and each time it has dropped ten times as many.
const FINDING: u64 = 10;

impl Drain {
    pub(super) fn start<E: Send + 'static>(
        scope: &Scope<E>,
        born_at: &'static Location<'static>,
        client: &'static str,
        options: DrainOptions,
    ) -> Drain {
        let queue = Queue { waiting: VecDeque::new(), taken: 0, is_open: true };
        let shared = Arc::new(Shared {
            options,
            client,
            ledger: Ledger::current(),
            queue: Mutex::new(queue),
            more: Notify::new(),
            counts: Counts::default(),
        });
        let drainer = Arc::clone(&shared);
        scope.spawn_daemon_at(born_at, async move {
            drain(drainer).await;
            Ok(())
        });
        Drain(shared)
    }

    /// A body was read to its end.
    pub(super) fn read(&self) {
        self.0.counts.read.fetch_add(1, Ordering::Relaxed);
    }

    /// A body was dropped before its end.
    pub(super) fn dropped(&self, body: PooledBody, born_at: &'static Location<'static>) {
        self.0.observe(born_at);
        self.0.put(body);
    }

    /// A body that the client itself does not want, as that of a redirect.
    pub(super) fn forsaken(&self, body: PooledBody, is_shared: bool) {
        if is_shared {
            ended(&self.0.counts.reset, body);
        } else {
            self.0.put(body);
        }
    }

    /// A body whose request was cancelled: nothing is done to save its connection.
    pub(super) fn given_up(&self, body: PooledBody, is_shared: bool) {
        let Counts { reset, destroyed, .. } = &self.0.counts;
        ended(if is_shared { reset } else { destroyed }, body);
    }

    /// A stream that can be reset.
    pub(super) fn reset(&self, body: PooledBody, born_at: &'static Location<'static>) {
        self.0.observe(born_at);
        ended(&self.0.counts.reset, body);
    }

    pub(super) fn status(&self) -> Bodies {
        let Counts { read, drained, drained_bytes, destroyed, reset, lines } = &self.0.counts;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Bodies {
            read: load(read),
            drained: load(drained),
            drained_bytes: load(drained_bytes),
            destroyed: load(destroyed),
            reset: load(reset),
            draining: self.0.queue().taken,
            dropped_by: lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.queue().is_open = false;
        self.0.more.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it to the drainer, if it is worth it and there is room.
    fn put(&self, body: PooledBody) {
        let is_small = body.size_hint().lower() <= self.options.max_bytes;
        let mut queue = self.queue();
        let has_room = queue.is_open && queue.taken < self.options.max_bodies;
        if is_small && has_room && self.options.max_bytes > 0 {
            queue.taken += 1;
            queue.waiting.push_back(body);
            drop(queue);
            self.more.notify_one();
        } else {
            drop(queue);
            ended(&self.counts.destroyed, body);
        }
    }

    fn observe(&self, born_at: &'static Location<'static>) {
        let mut lines = self.counts.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match lines.iter().position(|(known, _)| *known == born_at) {
            Some(at) => at,
            None if lines.len() < MAX_LINES => {
                lines.push((born_at, 0));
                lines.len() - 1
            }
            None => return,
        };
        lines[at].1 += 1;
        let count = lines[at].1;
        drop(lines);
        if !is_remarkable(count) {
            return;
        }
        let client = self.client;
        let text = format!(
            "{client}: {count} bodies of answers were dropped unread: read them to their end, each may cost its connection"
        );
        tracing::warn!(%born_at, client, "dropped-bodies: {text}");
        let (rule, kind, at) = ("dropped-bodies", Kind::BODY, self.ledger.now());
        self.ledger.observe(Observation { rule, kind, born_at, text, at });
    }
}

fn ended(count: &AtomicU64, body: PooledBody) {
    count.fetch_add(1, Ordering::Relaxed);
    drop(body);
}

/// 10, 100, 1 000 and so on: the log is not to grow with the leak.
fn is_remarkable(count: u64) -> bool {
    count >= FINDING && count == 10_u64.pow(count.ilog10())
}

/// A body in the drain.
struct Draining {
    body: PooledBody,
    bytes: u64,
    until: Pin<Box<Sleep>>,
}

impl Draining {
    /// Whether it came to its end within the bounds.
    fn poll(&mut self, cx: &mut Poller<'_>, most: u64) -> Poll<bool> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if self.bytes > most {
                        return Poll::Ready(false);
                    }
                }
            }
        }
    }
}

/// The drainer's work; what is left of it when it ends is closed.
struct Work {
    shared: Arc<Shared>,
    bodies: Vec<Draining>,
}

impl Work {
    fn poll(&mut self, cx: &mut Poller<'_>) {
        let Work { shared, bodies } = self;
        let DrainOptions { max_bytes, max_time, .. } = shared.options;
        let came = std::mem::take(&mut shared.queue().waiting);
        let now = Instant::now();
        let until = now.checked_add(max_time).unwrap_or(now);
        bodies.extend(came.into_iter().map(|body| Draining {
            body,
            bytes: 0,
            until: Box::pin(sleep_until(until)),
        }));
        let counts = &shared.counts;
        let before = bodies.len();
        bodies.retain_mut(|draining| match draining.poll(cx, max_bytes) {
            Poll::Pending => true,
            Poll::Ready(is_whole) => {
                let count = if is_whole { &counts.drained } else { &counts.destroyed };
                count.fetch_add(1, Ordering::Relaxed);
                counts.drained_bytes.fetch_add(draining.bytes, Ordering::Relaxed);
                false
            }
        });
        shared.queue().taken -= before - bodies.len();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_open = false;
        let waiting = std::mem::take(&mut queue.waiting);
        let left = self.bodies.len() + waiting.len();
        queue.taken -= left;
        drop(queue);
        self.shared.counts.destroyed.fetch_add(left as u64, Ordering::Relaxed);
    }
}

/// Drains what comes, until the task is asked to stop, or nobody can drop bodies any more and all
/// are drained.
async fn drain(shared: Arc<Shared>) {
    let mut work = Work { shared: Arc::clone(&shared), bodies: Vec::new() };
    let mut wait = Wait::new();
    loop {
        let mut more = std::pin::pin!(shared.more.notified());
        let waited = poll_fn(|cx| {
            wait.poll(cx, State::Read, |cx| {
                work.poll(cx);
                if work.bodies.is_empty() && !shared.queue().is_open {
                    return Poll::Ready(false);
                }
                more.as_mut().poll(cx).map(|()| true)
            })
        });
        if !matches!(waited.await, Ok(true)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_of_at_each_power_of_ten() {
        let told: Vec<_> = (0..=10_000).filter(|count| is_remarkable(*count)).collect();
        assert_eq!(told, [10, 100, 1000, 10_000]);
    }
}
