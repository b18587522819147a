//! The body of a request on its way to the server, within the limits of its route.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::HeaderName,
};
use staunch_config::Route;
use staunch_http::RequestBody;
use staunch_ledger::Account;
use staunch_scope::BoxError;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    answer::{AnswerBody, own},
    trailers::clean,
};
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
    begun: Instant,
    /// Milliseconds after that: since when it is the server that takes nothing; [`CLIENT`]: it is the client
    /// that sends nothing.
    waits_since: AtomicU64,
}

const CLIENT: u64 = u64::MAX;

/// A body of which so many bytes may still come.
struct Bounded {
    body: RequestBody,
    left: u64,
    due: Due,
    /// What the route's policies have decided on: its trailers have nothing to say of that.
    decided: Vec<HeaderName>,
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

/// What is sent of `body`; of its trailers without those that were `decided` on. Without a body there is nothing
/// that could be too large, and it can be sent again. `account` is that of the exchange.
pub(crate) fn upload(
    (body, decided): (RequestBody, Vec<HeaderName>),
    route: &Route,
    slot: Option<Slot>,
    account: &Arc<Account>,
) -> (staunch_pool::RequestBody, Option<Arc<Progress>>) {
    if body.is_end_stream() {
        return (staunch_pool::RequestBody::default(), None);
    }
    let most = route.body.get();
    let begun = Instant::now();
    let progress = Arc::new(Progress::new(begun, most));
    let due = Due { begun, time: route.body_time, timer: None };
    let (account, shared) = (Arc::clone(account), Arc::clone(&progress));
    let bounded = Bounded { body, left: most, due, decided, progress: shared, slot, account };
    (staunch_pool::RequestBody::stream(bounded), Some(progress))
}

impl Progress {
    fn new(begun: Instant, most: u64) -> Progress {
        let [is_large, is_slow, has_failed] = [false; 3].map(AtomicBool::new);
        let (over, waits_since) = (OnceLock::new(), AtomicU64::new(0));
        Progress { is_large, is_slow, has_failed, over, most, begun, waits_since }
    }

    /// Since when the server has taken nothing of it that was there.
    pub(crate) fn untaken_since(&self) -> Option<Instant> {
        let since = self.waits_since.load(Ordering::Relaxed);
        (since != CLIENT).then(|| self.begun + Duration::from_millis(since))
    }

    fn waits_for_client(&self, it_does: bool) {
        let millis = || u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(CLIENT);
        self.waits_since.store(if it_does { CLIENT } else { millis() }, Ordering::Relaxed);
    }

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
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.waits_for_client(polled.is_pending());
        if polled.is_pending() {
            let slow = ready!(self.due.poll(cx));
            self.progress.is_slow.store(true, Ordering::Relaxed);
            self.progress.fails();
            return Poll::Ready(Some(Err(slow.into())));
        }
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.progress.fails();
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            self.account.touch();
            clean(frame, &self.decided);
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
