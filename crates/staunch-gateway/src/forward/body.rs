//! The body of a request on its way to the server, within the limits of its route.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll},
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
};
use staunch_config::Route;
use staunch_http::RequestBody;
use staunch_scope::BoxError;

use super::answer::{AnswerBody, own};

/// What has become of a body on its way.
#[derive(Debug)]
pub(crate) struct Progress {
    /// It had more than its route takes.
    is_large: AtomicBool,
    /// It is at its end, or nobody wants more of it.
    is_over: AtomicBool,
    most: u64,
}

/// A body of which so many bytes may still come.
struct Bounded {
    body: RequestBody,
    left: u64,
    progress: Arc<Progress>,
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.progress.is_over.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body of the request has more bytes than its route takes (`body`)")]
struct TooLarge;

/// What is sent of `body`. Without a body there is nothing that could be too large, and it can be sent
/// again.
pub(crate) fn upload(
    body: RequestBody,
    route: &Route,
) -> (staunch_pool::RequestBody, Option<Arc<Progress>>) {
    if body.is_end_stream() {
        return (staunch_pool::RequestBody::default(), None);
    }
    let most = route.body.get();
    let [is_large, is_over] = [false, false].map(AtomicBool::new);
    let progress = Arc::new(Progress { is_large, is_over, most });
    let bounded = Bounded { body, left: most, progress: Arc::clone(&progress) };
    (staunch_pool::RequestBody::stream(bounded), Some(progress))
}

impl Progress {
    /// Whether the server has all that it will have of it, and so may be waited for.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// What is answered instead, if it was too large.
    pub(crate) fn answer(&self) -> Option<Response<AnswerBody>> {
        let text = || format!("The body is too large; {} bytes are taken here", self.most);
        let is_large = self.is_large.load(Ordering::Relaxed);
        is_large.then(|| own(StatusCode::PAYLOAD_TOO_LARGE, text()))
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
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let came = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = self.left.checked_sub(came) else {
                self.progress.is_large.store(true, Ordering::Relaxed);
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
