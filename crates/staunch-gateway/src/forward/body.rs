//! The body of a request on its way to the server, within the limits of its route.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
};
use staunch_config::Route;
use staunch_http::RequestBody;
use staunch_ledger::Account;
use staunch_scope::BoxError;
use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::{AnswerBody, own};
use crate::access::Slot;

/// What has become of a body on its way.
#[derive(Debug)]
pub(crate) struct Progress {
    /// It had more than its route takes.
    is_large: AtomicBool,
    /// It took longer than its route has for it.
    is_slow: AtomicBool,
    /// One of these, or it broke off.
    has_failed: AtomicBool,
    /// When it was at its end, or nobody wanted more of it.
    over: OnceLock<Instant>,
    most: u64,
}

/// A body of which so many bytes may still come.
struct Bounded {
    body: RequestBody,
    left: u64,
    due: Due,
    progress: Arc<Progress>,
    slot: Option<Slot>,
    account: Arc<Account>,
}

/// When all of a body must be there.
struct Due {
    begun: Instant,
    time: Duration,
    /// From the first wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Due {
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<TooSlow> {
        let end = self.begun + self.time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        timer.as_mut().poll(cx).map(|()| TooSlow(self.time))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body of the request did not come within {0:?} (`body_time`)")]
struct TooSlow(Duration);

impl Drop for Bounded {
    fn drop(&mut self) {
        let _ = self.progress.over.set(Instant::now());
        let received = self.progress.most.saturating_sub(self.left);
        if let Some(slot) = &self.slot {
            slot.note(|entry| entry.received = received);
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body of the request has more bytes than its route takes (`body`)")]
struct TooLarge;

/// What is sent of `body`. Without a body there is nothing that could be too large, and it can be
/// sent again. `account` is that of the exchange.
pub(crate) fn upload(
    body: RequestBody,
    route: &Route,
    slot: Option<Slot>,
    account: &Arc<Account>,
) -> (staunch_pool::RequestBody, Option<Arc<Progress>>) {
    if body.is_end_stream() {
        return (staunch_pool::RequestBody::default(), None);
    }
    let most = route.body.get();
    let [is_large, is_slow, has_failed] = [false; 3].map(AtomicBool::new);
    let over = OnceLock::new();
    let progress = Arc::new(Progress { is_large, is_slow, has_failed, over, most });
    let due = Due { begun: Instant::now(), time: route.body_time, timer: None };
    let account = Arc::clone(account);
    let bounded = Bounded { body, left: most, due, progress: Arc::clone(&progress), slot, account };
    (staunch_pool::RequestBody::stream(bounded), Some(progress))
}

impl Progress {
    /// When the server had all that it will have of it, and so its time began.
    pub(crate) fn over(&self) -> Option<Instant> {
        self.over.get().copied()
    }

    /// Whether it is the client's doing that there is no answer.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// What is answered instead, if it was too large or too slow.
    pub(crate) fn answer(&self) -> Option<Response<AnswerBody>> {
        if self.is_large.load(Ordering::Relaxed) {
            let text = format!("The body is too large; {} bytes are taken here", self.most);
            return Some(own(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let is_slow = self.is_slow.load(Ordering::Relaxed);
        is_slow.then(|| own(StatusCode::REQUEST_TIMEOUT, "The body took too long to come"))
    }

    fn fails(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            let slow = ready!(self.due.poll(cx));
            self.progress.is_slow.store(true, Ordering::Relaxed);
            self.progress.fails();
            return Poll::Ready(Some(Err(slow.into())));
        }
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.progress.fails();
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.account.touch();
            let came = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = self.left.checked_sub(came) else {
                self.progress.is_large.store(true, Ordering::Relaxed);
                self.progress.fails();
                return Poll::Ready(Some(Err(TooLarge.into())));
            };
            self.left = left;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
