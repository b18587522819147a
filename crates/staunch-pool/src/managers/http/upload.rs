//! The body of a request on its way over HTTP/2, and an end to it.
//!
//! hyper has a task for each. While that waits for room in the server's window it does not ask the body for more, and
//! once an answer has begun it hears of nothing else: not that nobody wants the answer any more. So it is ended from here. Which of its
//! tasks is which hyper does not say. But it asks each body for its size when its turn has come, and starts
//! what sends it before the next one's: what is known then is known to who starts its tasks ([`Turn`]).
//! (`an_upload_that_is_not_taken_ends_with_its_answer` fails with a hyper that does otherwise.)

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use staunch_scope::BoxError;
use tokio_util::sync::CancellationToken;

use super::request::RequestBody;

/// A body on its way, for whoever waits for its end or makes it end.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Sending>);

#[derive(Debug)]
struct Sending {
    /// Until it is given up. It may be in a line with others for a stream, where nothing else reaches it.
    body: Mutex<Option<RequestBody>>,
    stop: CancellationToken,
    over: CancellationToken,
}

impl Upload {
    fn of(body: RequestBody) -> Upload {
        let [stop, over] = [(); 2].map(|()| CancellationToken::new());
        Upload(Arc::new(Sending { body: Mutex::new(Some(body)), stop, over }))
    }

    fn body(&self) -> MutexGuard<'_, Option<RequestBody>> {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and what sends it: its stream is reset, unless all was sent.
    pub(super) fn stop(&self) {
        self.0.stop.cancel();
        self.ends();
    }

    fn ends(&self) {
        let body = self.body().take();
        drop(body); // which may be anything, so not under the lock
        self.0.over.cancel();
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }

    /// Waits until it is not sent any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn over(&self) {
        self.0.over.cancelled().await;
    }
}

/// What ends the upload whose turn it is on a connection, if the request has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<Mutex<Option<CancellationToken>>>);

impl Turn {
    fn place(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the first task that is started in this turn.
    pub(super) fn take(&self) -> Option<CancellationToken> {
        self.place().take()
    }
}

/// A request's body, as hyper has it.
#[derive(Debug)]
pub(super) struct Uploaded {
    turn: Turn,
    /// `None`: there is none.
    upload: Option<Upload>,
    had_its_turn: AtomicBool,
}

/// It was given up while it was sent.
#[derive(Debug, thiserror::Error)]
#[error("nobody waits for the answer any more")]
struct GivenUp;

impl Uploaded {
    pub(super) fn new(body: RequestBody, turn: &Turn) -> Uploaded {
        let upload = (!body.is_end_stream()).then(|| Upload::of(body));
        Uploaded { turn: turn.clone(), upload, had_its_turn: AtomicBool::new(false) }
    }

    pub(super) fn upload(&self) -> Option<&Upload> {
        self.upload.as_ref()
    }

    fn look<T>(&self, look: impl FnOnce(&RequestBody) -> T) -> Option<T> {
        self.upload.as_ref()?.body().as_ref().map(look)
    }
}

/// It was never sent.
impl From<Uploaded> for RequestBody {
    fn from(uploaded: Uploaded) -> RequestBody {
        uploaded.upload().and_then(|upload| upload.body().take()).unwrap_or_default()
    }
}

impl Drop for Uploaded {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.ends();
        }
    }
}

impl Body for Uploaded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(upload) = &self.upload else { return Poll::Ready(None) };
        match &mut *upload.body() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(GivenUp.into()))),
        }
    }

    /// Of one that was given up the end is an error, and has yet to be asked for.
    fn is_end_stream(&self) -> bool {
        self.upload.is_none() || self.look(Body::is_end_stream) == Some(true)
    }

    /// It is its turn: nobody else asks.
    fn size_hint(&self) -> SizeHint {
        if !self.had_its_turn.swap(true, Ordering::Relaxed) {
            *self.turn.place() = self.upload.as_ref().map(|upload| upload.0.stop.clone());
        }
        match &self.upload {
            Some(_) => self.look(Body::size_hint).unwrap_or_default(),
            None => SizeHint::with_exact(0),
        }
    }
}
