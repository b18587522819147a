//! The answer in the making.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::ShedBody;
use crate::{Admission, Refused};

pin_project! {
    /// The future of a [`ShedService`](super::ShedService).
    #[derive(Debug)]
    pub struct Shedding<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<F> {
        Admitted {
            #[pin]
            answer: F,
            admission: Option<Admission>,
        },
        Refused { refused: Refused },
    }
}

impl<F> Shedding<F> {
    pub(super) fn admitted(answer: F, admission: Admission) -> Shedding<F> {
        Shedding { kind: Kind::Admitted { answer, admission: Some(admission) } }
    }

    pub(super) fn refused(refused: Refused) -> Shedding<F> {
        Shedding { kind: Kind::Refused { refused } }
    }
}

impl<F, B, E> Future for Shedding<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ShedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Refused { refused } => Poll::Ready(Ok(refusal(refused))),
            KindProjection::Admitted { answer, admission } => {
                let answer = ready!(answer.poll(cx))?;
                let mut admission = admission.take();
                if let Some(admission) = &mut admission {
                    admission.answered();
                }
                Poll::Ready(Ok(answer.map(|body| ShedBody::admitted(body, admission))))
            }
        }
    }
}

/// The answer to a request that may not begin.
fn refusal<B>(refused: &Refused) -> Response<ShedBody<B>> {
    let text =
        format!("This service has too much to do. Try again in {:?}.\n", refused.retry_after);
    let mut refusal = Response::new(ShedBody::refused(text.into()));
    *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = refusal.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(refused.retry_after)));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    refusal
}

/// What `Retry-After` can say: not sooner than `time`.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let check = |millis, seconds| {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        };
        check(0, 0);
        check(1, 1);
        check(1000, 1);
        check(1001, 2);
    }
}
