//! The long way, with an entry for each request.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::HeaderValue,
};
use pin_project_lite::pin_project;
use staunch_http::{Refused, RequestBody};
use staunch_scope::{Context, TraceId};
use tower_service::Service;

use super::{Asking, End, Entry, Slot, Source, entry::Answering};
use crate::{
    forward::{host_of, version},
    grpc::Meant,
    traces::{Part, Traces},
};

/// Answers as `S` does. The entry is in the extensions of each request, as a [`Slot`], for whoever
/// knows more of it; and what servers are told of its trace is in its headers.
#[derive(Clone, Debug)]
pub(crate) struct Logged<S> {
    inner: S,
    source: Option<Arc<Source>>,
}

impl<S> Logged<S> {
    pub(crate) fn new(inner: S, source: Option<Arc<Source>>) -> Logged<S> {
        Logged { inner, source }
    }
}

impl<S, B> Service<Request<RequestBody>> for Logged<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    type Response = Response<LoggedBody<B>>;
    type Error = Infallible;
    type Future = Logging<S::Future>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Logging<S::Future> {
        let part = part(self.source.as_deref(), &mut request);
        let entry = self
            .source
            .as_ref()
            .and_then(|source| entry(source, &request, staunch_http::peer(), &part));
        let slot = entry.map(Slot::new);
        if let Some(slot) = &slot {
            request.extensions_mut().insert(slot.clone());
        }
        let is_head = request.method() == Method::HEAD;
        let slot = slot.map(Slot::answering);
        Logging { answering: self.inner.call(request), slot, is_head }
    }
}

/// The entry of a request whose head is not what it may be: of some nothing else is known.
pub(crate) fn log_refused(source: &Arc<Source>, refused: &Refused<'_>) {
    if source.reports.log.is_none() {
        return;
    }
    let entry = match refused.asked {
        Some(request) => entry(source, request, refused.peer, &Part::default()),
        None => Some(Entry::connection(source, refused.peer.map(|peer| peer.ip()))),
    };
    if let Some(mut entry) = entry {
        entry.answered(refused.status.as_u16());
        entry.ends(End::Whole);
    }
}

fn part(source: Option<&Source>, request: &mut Request<RequestBody>) -> Part {
    let config = source.and_then(Source::traces).map(Traces::config);
    // What log lines have, unless its client has named it and is not followed.
    let has_said = request.headers().contains_key("traceparent");
    let fresh = || if has_said { TraceId::random() } else { Context::current().trace_id() };
    Part::told(config, request.headers_mut(), fresh)
}

fn entry(
    source: &Arc<Source>,
    request: &Request<RequestBody>,
    client: Option<SocketAddr>,
    part: &Part,
) -> Option<Entry> {
    let asking = Asking {
        method: request.method().as_str(),
        host: host_of(request),
        path: request.uri().path(),
        version: version(request.version()),
        client: client.map(|peer| peer.ip()),
    };
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    Entry::request(source, &asking, part, header)
}

pin_project! {
    /// An answer on its way.
    pub(crate) struct Logging<F> {
        #[pin]
        answering: F,
        slot: Option<Answering>,
        is_head: bool,
    }
}

impl<F, B> Future for Logging<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<LoggedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(answer) = ready!(this.answering.poll(cx));
        let status = answer.extensions().get().map_or(answer.status(), |Meant(status)| *status);
        let has_none =
            *this.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let slot = this.slot.take();
        Poll::Ready(Ok(answer.map(|body| LoggedBody::new(body, slot, status, has_none))))
    }
}

pin_project! {
    /// The body of an answer whose bytes are counted.
    pub(crate) struct LoggedBody<B> {
        #[pin]
        body: B,
        slot: Option<Answering>,
        // Bytes that are still to come, if that is known.
        left: Option<u64>,
    }
}

impl<B: Body<Data = Bytes>> LoggedBody<B> {
    fn new(body: B, slot: Option<Answering>, status: StatusCode, has_none: bool) -> LoggedBody<B> {
        let is_over = has_none || body.is_end_stream();
        let left = body.size_hint().exact();
        if let Some(Answering(slot)) = &slot {
            slot.note(|entry| {
                entry.answered(status.as_u16());
                // What follows in another protocol has an end of its own.
                if is_over && status != StatusCode::SWITCHING_PROTOCOLS {
                    entry.ends(End::Whole);
                }
            });
        }
        LoggedBody { body, slot, left }
    }
}

impl<B: Body<Data = Bytes>> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let Some(Answering(slot)) = this.slot else { return Poll::Ready(frame) };
        let count = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        *this.left = this.left.map(|left| left.saturating_sub(count));
        // Nobody asks for more of a body that has said how long it is, or after its trailers.
        let is_last = frame.as_ref().is_none_or(|it| it.as_ref().is_ok_and(Frame::is_trailers));
        let is_over = is_last || *this.left == Some(0) || this.body.is_end_stream();
        slot.note(|entry| {
            entry.sent += count;
            if matches!(frame, Some(Err(_))) {
                entry.ends(End::Server);
            } else if is_over {
                entry.ends(End::Whole);
            }
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
