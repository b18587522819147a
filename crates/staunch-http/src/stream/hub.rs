//! From one to many: each subscriber has a queue, and what happens when it is full is settled.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context as Poller, Poll, Waker},
};

use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use staunch_scope::{Cancelled, Wait};

/// How a [`Hub`] behaves.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Values that wait for one subscriber. Default 64.
    pub capacity: usize,
    /// Values that are kept for subscribers that come again ([`Hub::resume`]). Default 256.
    pub history: usize,
    /// Subscribers at a time. Default 10 000, as many as a process has streams.
    pub subscribers: usize,
    /// What happens to a subscriber that does not take its values. Default: the oldest is dropped.
    pub slow: SlowConsumer,
}

impl Default for HubOptions {
    fn default() -> HubOptions {
        HubOptions {
            capacity: 64,
            history: 256,
            subscribers: 10_000,
            slow: SlowConsumer::DropOldest,
        }
    }
}

/// What happens to a subscriber whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The value that has waited longest is dropped: for what is outdated by what follows it.
    DropOldest,
    /// The new value is dropped: for what counts from the beginning.
    DropNewest,
    /// It gets no more: for what is of no use in part. It may come again and [`resume`](Hub::resume).
    Disconnect,
}

/// Sends values to all who have subscribed, and waits for none of them. Clones are the same.
///
/// A value is cloned for each subscriber: let it be cheap to clone, such as
/// [`Bytes`](bytes::Bytes) or an [`Arc`].
///
/// # Examples
/// ```
/// use staunch_http::{Hub, HubOptions, Received};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let hub = Hub::new(HubOptions { capacity: 2, ..HubOptions::default() });
/// let mut slow = hub.subscribe().unwrap();
/// for value in ["one", "two", "three"] {
///     hub.publish(value);
/// }
/// assert_eq!(slow.next().await, Ok(Some(Received { id: 2, missed: 1, value: "two" })));
/// # });
/// ```
pub struct Hub<T>(Arc<Shared<T>>);

struct Shared<T> {
    options: HubOptions,
    all: Mutex<All<T>>,
}

struct All<T> {
    /// Of the value published last.
    id: u64,
    history: VecDeque<(u64, T)>,
    subscribers: Vec<Weak<Mailbox<T>>>,
}

struct Mailbox<T>(Mutex<Waiting<T>>);

struct Waiting<T> {
    /// Of the history, for one who came again; what is published meanwhile follows it.
    history: VecDeque<(u64, T)>,
    values: VecDeque<(u64, T)>,
    is_over: bool,
    takes: Option<Waker>,
}

/// A [`Hub`] has as many subscribers as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub has {limit} subscribers, and no more (`subscribers`)")]
pub struct HubFullError {
    /// The limit.
    pub limit: usize,
}

/// A value, from a [`Subscription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<T> {
    /// Its number: 1 for the first that was published, and so on.
    pub id: u64,
    /// How many between this and the one before it the subscriber did not get: it was too slow, or
    /// came again too late.
    pub missed: u64,
    /// The value.
    pub value: T,
}

/// The right to the values of a [`Hub`]; ends when dropped. On the ledger it is a `channel`.
#[must_use = "dropping it ends the subscription"]
pub struct Subscription<T> {
    mailbox: Arc<Mailbox<T>>,
    account: Account,
    /// The number of the value before the next.
    last: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Hub<T> {
    /// One without subscribers.
    pub fn new(options: HubOptions) -> Hub<T> {
        let all = All { id: 0, history: VecDeque::new(), subscribers: Vec::new() };
        Hub(Arc::new(Shared { options, all: Mutex::new(all) }))
    }

    /// Sends `value` to everybody; its number.
    pub fn publish(&self, value: T) -> u64 {
        let options = &self.0.options;
        let mut all = lock(&self.0.all);
        all.id += 1;
        let id = all.id;
        all.subscribers.retain(|mailbox| {
            let Some(mailbox) = mailbox.upgrade() else { return false };
            mailbox.push(id, value.clone(), options)
        });
        if options.history > 0 {
            if all.history.len() >= options.history {
                all.history.pop_front();
            }
            all.history.push_back((id, value));
        }
        id
    }

    /// From now on.
    ///
    /// # Errors
    /// [`HubFullError`]
    #[track_caller]
    pub fn subscribe(&self) -> Result<Subscription<T>, HubFullError> {
        let mut all = lock(&self.0.all);
        let last = all.id;
        all.subscribe(VecDeque::new(), last, self.0.options.subscribers)
    }

    /// From the value after `id` on, as far as it is remembered ([`HubOptions::history`]); the rest is
    /// [missed](Received::missed). From now on, if no value has that number yet.
    ///
    /// # Errors
    /// [`HubFullError`]
    #[track_caller]
    pub fn resume(&self, id: u64) -> Result<Subscription<T>, HubFullError> {
        let mut all = lock(&self.0.all);
        let history = all.history.iter().filter(|kept| kept.0 > id).cloned().collect();
        let last = id.min(all.id);
        all.subscribe(history, last, self.0.options.subscribers)
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        let all = lock(&self.0.all);
        all.subscribers.iter().filter(|mailbox| mailbox.strong_count() > 0).count()
    }
}

impl<T> All<T> {
    #[track_caller]
    fn subscribe(
        &mut self,
        history: VecDeque<(u64, T)>,
        last: u64,
        limit: usize,
    ) -> Result<Subscription<T>, HubFullError> {
        // Those who left are forgotten by those who come, too: there may be nothing to publish.
        if self.subscribers.len() >= limit.min(self.subscribers.capacity()) {
            self.subscribers.retain(|mailbox| mailbox.strong_count() > 0);
        }
        if self.subscribers.len() >= limit {
            return Err(HubFullError { limit });
        }
        let values = VecDeque::new();
        let waiting = Waiting { history, values, is_over: false, takes: None };
        let mailbox = Arc::new(Mailbox(Mutex::new(waiting)));
        self.subscribers.push(Arc::downgrade(&mailbox));
        // As of a channel's ends: it goes from task to task.
        let (ledger, promise) = (Ledger::current(), Obligation::EndsWithParent);
        let account = ledger.open_at(Location::caller(), Kind::CHANNEL, promise, None);
        account.label("subscription");
        Ok(Subscription { mailbox, account, last })
    }
}

impl<T> Mailbox<T> {
    /// Whether there may be another.
    fn push(&self, id: u64, value: T, options: &HubOptions) -> bool {
        let mut waiting = lock(&self.0);
        if waiting.values.len() >= options.capacity {
            match options.slow {
                SlowConsumer::DropOldest => drop(waiting.values.pop_front()),
                SlowConsumer::DropNewest => {}
                SlowConsumer::Disconnect => waiting.is_over = true,
            }
        }
        if waiting.values.len() < options.capacity {
            waiting.values.push_back((id, value));
        }
        let (takes, goes_on) = (waiting.takes.take(), !waiting.is_over);
        drop(waiting);
        if let Some(takes) = takes {
            takes.wake();
        }
        goes_on
    }
}

impl<T> Subscription<T> {
    /// The next value; `None` when there will be none: this subscriber was too slow
    /// ([`SlowConsumer::Disconnect`]), or the hub is gone.
    ///
    /// # Errors
    /// [`Cancelled`], when the task is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: no value is lost.
    pub async fn next(&mut self) -> Result<Option<Received<T>>, Cancelled> {
        let mut wait = Wait::new();
        poll_fn(|cx| wait.poll(cx, State::Channel, |cx| self.poll_next(cx))).await
    }

    fn poll_next(&mut self, cx: &Poller<'_>) -> Poll<Option<Received<T>>> {
        let mut waiting = lock(&self.mailbox.0);
        let next = waiting.history.pop_front().or_else(|| waiting.values.pop_front());
        let Some((id, value)) = next else {
            if waiting.is_over {
                return Poll::Ready(None);
            }
            waiting.takes = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(waiting);
        self.account.touch();
        let missed = id.saturating_sub(self.last + 1);
        self.last = id;
        Poll::Ready(Some(Received { id, missed, value }))
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let all = self.all.get_mut().unwrap_or_else(PoisonError::into_inner);
        for mailbox in all.subscribers.drain(..).filter_map(|mailbox| mailbox.upgrade()) {
            let takes = {
                let mut waiting = lock(&mailbox.0);
                waiting.is_over = true;
                waiting.takes.take()
            };
            if let Some(takes) = takes {
                takes.wake();
            }
        }
    }
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Hub<T> {
        Hub(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Hub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a subscriber that takes nothing gets of five values, when it has room for three.
    #[staunch::test]
    async fn a_slow_subscriber_gets_what_is_settled() {
        let check = async |slow, expected: &[(u64, u64)]| {
            let hub = Hub::new(HubOptions { capacity: 3, slow, ..HubOptions::default() });
            let mut subscription = hub.subscribe().unwrap();
            for value in 1..=5 {
                hub.publish(value);
            }
            let mut got = Vec::new();
            drop(hub);
            while let Some(Received { id, missed, value }) = subscription.next().await.unwrap() {
                assert_eq!(id, value);
                got.push((id, missed));
            }
            assert_eq!(got, expected, "{slow:?}");
        };
        check(SlowConsumer::DropOldest, &[(3, 2), (4, 0), (5, 0)]).await;
        check(SlowConsumer::DropNewest, &[(1, 0), (2, 0), (3, 0)]).await;
        check(SlowConsumer::Disconnect, &[(1, 0), (2, 0), (3, 0)]).await;
    }

    #[staunch::test]
    async fn who_was_disconnected_does_not_hear_of_what_follows() {
        let slow = SlowConsumer::Disconnect;
        let hub = Hub::new(HubOptions { capacity: 1, slow, ..HubOptions::default() });
        let mut subscription = hub.subscribe().unwrap();
        hub.publish("a");
        hub.publish("b");
        assert_eq!(hub.0.all.lock().unwrap().subscribers.len(), 0, "at once");
        assert_eq!(subscription.next().await.unwrap().unwrap().value, "a");
        assert_eq!(subscription.next().await, Ok(None));
    }

    #[staunch::test]
    async fn who_comes_again_hears_what_is_remembered() {
        let hub = Hub::new(HubOptions { capacity: 1, history: 3, ..HubOptions::default() });
        for value in 1..=5 {
            hub.publish(value);
        }
        let check = async |id, expected: &[(u64, u64)]| {
            let mut subscription = hub.resume(id).unwrap();
            let mut got = Vec::new();
            for _ in expected {
                let Received { id, missed, .. } = subscription.next().await.unwrap().unwrap();
                got.push((id, missed));
            }
            assert_eq!(got, expected, "after {id}");
            assert!(subscription.mailbox.0.lock().unwrap().history.is_empty());
        };
        check(0, &[(3, 2), (4, 0), (5, 0)]).await;
        check(2, &[(3, 0), (4, 0), (5, 0)]).await;
        check(4, &[(5, 0)]).await;
        check(5, &[]).await;
        let mut subscription = hub.resume(99).unwrap(); // nobody was given that number
        hub.publish(6);
        assert_eq!(subscription.next().await.unwrap().unwrap().missed, 0);
    }

    #[staunch::test]
    async fn who_waits_is_woken_and_who_leaves_is_forgotten() {
        let hub = Hub::new(HubOptions::default());
        let mut subscription = hub.subscribe().unwrap();
        let (received, _) = tokio::join!(subscription.next(), async { hub.publish(1) });
        assert_eq!(received, Ok(Some(Received { id: 1, missed: 0, value: 1 })));
        for _ in 0..1_000 {
            drop(hub.subscribe().unwrap());
        }
        assert!(hub.0.all.lock().unwrap().subscribers.capacity() <= 8);
        assert_eq!(hub.subscribers(), 1);
    }
    #[staunch::test]
    async fn there_are_so_many_subscribers_and_all_are_on_the_ledger() {
        let hub = Hub::<u8>::new(HubOptions { subscribers: 1, ..HubOptions::default() });
        let first = hub.subscribe().unwrap();
        let refused = hub.resume(0).unwrap_err();
        assert_eq!(refused.to_string(), "the hub has 1 subscribers, and no more (`subscribers`)");
        let entries = Ledger::current().snapshot();
        let entry = entries.entries().iter().find(|it| it.kind() == Kind::CHANNEL).unwrap();
        assert_eq!(entry.label().to_string(), "subscription");
        assert!(entry.born_at().file().ends_with("hub.rs"));
        drop(first);
        drop(hub.subscribe().unwrap());
    }
}
