//! What of a request's body nobody reads, over HTTP/2.
//!
//! An answer may be there before its request has come to its end: a refusal, most of all. Once nobody
//! has a hold on the request h2 resets its stream, after the answer and with NO_ERROR, as RFC 9113
//! (section 8.1) has it. But clients that are still sending lose the answer to that reset (curl up to
//! 7.88, for one). So the rest of such a body is taken and forgotten for a while, as servers of HTTP/1
//! linger before they close: until the client has ended or reset its stream, or has had [`TIME`], or has
//! sent [`BYTES`] more.
//!
//! It is the connection's task that takes them; there are no more of them than streams.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, Waker, ready},
    time::Duration,
};

use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::{Sleep, sleep};

/// A few round trips: an answer on its way, and a client that makes up its mind.
const TIME: Duration = Duration::from_secs(2);
/// What a client sends before it has the answer, on a link of 400 Mbit/s at 80 ms.
const BYTES: usize = 4 << 20;
/// A frame that is not counted byte by byte has so many at the most.
const FRAME_BYTES: usize = 16 << 10;

/// The bodies of one connection that nobody reads any more. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers(Arc<Mutex<Arrivals>>);

#[derive(Debug, Default)]
struct Arrivals {
    bodies: Vec<Limited<Incoming>>,
    /// The connection's task.
    waker: Option<Waker>,
}

impl Leftovers {
    pub(super) fn add(&self, body: Limited<Incoming>) {
        let waker = {
            let mut arrivals = self.arrivals();
            arrivals.bodies.push(body);
            arrivals.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Those that came since, and where to tell of the next.
    fn take(&self, cx: &mut Poller<'_>) -> Vec<Limited<Incoming>> {
        let mut arrivals = self.arrivals();
        arrivals.waker = Some(cx.waker().clone());
        std::mem::take(&mut arrivals.bodies)
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connection's task takes of them.
#[derive(Debug, Default)]
pub(super) struct Lingering(Vec<Leftover>);

impl Lingering {
    /// Takes what there is. A connection that is to end has no time for it.
    pub(super) fn poll(&mut self, leftovers: &Leftovers, is_ending: bool, cx: &mut Poller<'_>) {
        self.0.extend(leftovers.take(cx).into_iter().map(Leftover::new));
        if is_ending {
            self.0.clear();
        }
        self.0.retain_mut(|leftover| leftover.poll(cx).is_pending());
    }
}

#[derive(Debug)]
struct Leftover {
    body: Limited<Incoming>,
    /// So many bytes may still be taken.
    left: usize,
    due: Pin<Box<Sleep>>,
}

impl Leftover {
    fn new(body: Limited<Incoming>) -> Leftover {
        Leftover { body, left: BYTES, due: Box::pin(sleep(TIME)) }
    }

    /// Ready when its stream may be reset, or has ended.
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        if self.due.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while self.left > 0 {
            let bytes = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.data_ref().map_or(0, bytes::Bytes::len),
                Some(Err(error)) if error.is::<LengthLimitError>() => FRAME_BYTES,
                None | Some(Err(_)) => return Poll::Ready(()),
            };
            self.left = self.left.saturating_sub(bytes);
        }
        Poll::Ready(())
    }
}
