//! Functions as services.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use hyper::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::RequestBody;

/// A service that calls `function` for each request; for functions that cannot fail.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::Response;
/// use staunch_http::handler;
///
/// let hello = handler(|request| async move {
///     Response::new(Full::new(Bytes::from(format!("this is {}\n", request.uri().path()))))
/// });
/// # let _ = hello;
/// ```
pub fn handler<F, Fut, B>(function: F) -> Handler<F>
where
    F: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
{
    Handler(function)
}

/// A function as a service; made by [`handler`].
#[derive(Clone, Copy, Debug)]
pub struct Handler<F>(F);

impl<F, Fut, B> Service<Request<RequestBody>> for Handler<F>
where
    F: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Handling<Fut>;

    fn poll_ready(&mut self, _: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Handling<Fut> {
        Handling { future: (self.0)(request) }
    }
}

pin_project! {
    /// The future of a [`Handler`].
    #[derive(Debug)]
    pub struct Handling<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Handling<F> {
    type Output = Result<F::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(ready!(self.project().future.poll(cx))))
    }
}
