//! The body of an answer, which is in flight until it ends.

use std::{
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::Admission;

pin_project! {
    /// The inner service's body, with its admission; or the text of a refusal.
    #[derive(Debug)]
    pub struct ShedBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        // The body is dropped before its admission: what it holds is given back by then.
        Admitted {
            #[pin]
            body: B,
            admission: Option<Admission>,
        },
        Refused { text: Option<Bytes> },
    }
}

impl<B> ShedBody<B> {
    pub(super) fn admitted(body: B, admission: Option<Admission>) -> ShedBody<B> {
        ShedBody { kind: Kind::Admitted { body, admission } }
    }

    pub(super) fn refused(text: Bytes) -> ShedBody<B> {
        ShedBody { kind: Kind::Refused { text: Some(text) } }
    }
}

impl<B: Body<Data = Bytes>> Body for ShedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Refused { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            KindProjection::Admitted { body, admission } => {
                let frame = ready!(body.poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *admission = None; // whoever keeps a body that has ended keeps nobody out
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Admitted { body, .. } => body.is_end_stream(),
            Kind::Refused { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Admitted { body, .. } => body.size_hint(),
            Kind::Refused { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
