//! From HTTP to another protocol on the same connection (RFC 9110, 7.8): WebSocket, for instance.

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, ready},
};

use hyper::{Request, Response, StatusCode, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{exchange::Exchange, unread::say_close};

/// A connection that speaks another protocol now: bytes, read and written.
///
/// The limits of the listener go on: a peer that says nothing for `idle`, or does not take what it is
/// sent for `write_stall`, is cut.
pub struct Upgraded(TokioIo<hyper::upgrade::Upgraded>);

/// The request cannot lead to another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the request leads to no other protocol: it must be HTTP/1.1 with `Connection: upgrade`, and be asked before"
)]
pub struct NotUpgradable;

type Speaking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What follows an answer on its connection. In the extensions of the answer, until it is sent.
#[derive(Clone)]
struct Follows(Arc<Mutex<Option<Speaking>>>);

/// Has `answer`, a `101 Switching Protocols`, followed by `speak` on the same connection.
///
/// It runs in the task of the connection: when that is asked to stop, the awaits of `staunch-scope`
/// in it hear so, and when the server's drain deadline has passed it is dropped. What hyper itself
/// offers ([`hyper::upgrade::on`], and axum's `WebSocketUpgrade` by it) works too, but runs wherever
/// its user spawns it, and no drain waits for it.
///
/// # Errors
/// [`NotUpgradable`]: over HTTP/2, or when the request did not ask for it.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper::{Request, Response, StatusCode, header};
/// use staunch_http::{NotUpgradable, RequestBody, upgrade};
/// use tokio::io::AsyncWriteExt;
///
/// fn greet(mut request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, NotUpgradable> {
///     let mut answer = Response::new(Full::default());
///     *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
///     answer.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("greeting"));
///     upgrade(&mut request, answer, |mut peer| async move {
///         let _ = peer.write_all(b"hello\n").await; // it may have left
///     })
/// }
/// ```
pub fn upgrade<Q, B, F, Fut>(
    request: &mut Request<Q>,
    mut answer: Response<B>,
    speak: F,
) -> Result<Response<B>, NotUpgradable>
where
    F: FnOnce(Upgraded) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let upgraded = request.extensions_mut().remove::<OnUpgrade>().ok_or(NotUpgradable)?;
    let speaking: Speaking = Box::pin(async move {
        match upgraded.await {
            Ok(upgraded) => speak(Upgraded(TokioIo::new(upgraded))).await,
            Err(error) => tracing::debug!(%error, "the connection ended before its upgrade"),
        }
    });
    answer.extensions_mut().insert(Follows(Arc::new(Mutex::new(Some(speaking)))));
    Ok(answer)
}

/// Where a connection finds what follows its last answer.
#[derive(Default)]
pub(super) struct Next {
    speaking: Mutex<Option<Speaking>>,
    /// Gives the connection back at its end, if its client asked for another protocol in vain: hyper hands it
    /// to whoever would speak that, which is nobody.
    declined: Mutex<Option<OnUpgrade>>,
}

impl Next {
    pub(super) fn take(&self) -> Option<Speaking> {
        lock(&self.speaking).take()
    }

    /// Whether hyper has a connection that it will not give back by itself.
    pub(super) fn is_declined(&self) -> bool {
        lock(&self.declined).is_some()
    }

    /// The socket of a connection that has ended without having been asked for it.
    pub(super) async fn declined<S>(&self) -> Option<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let declined = lock(&self.declined).take()?;
        let upgraded = declined.await.ok()?;
        Some(upgraded.downcast::<TokioIo<S>>().ok()?.io.into_inner())
    }

    fn find_in<B>(&self, answer: &mut Response<B>, asked: Option<OnUpgrade>, exchange: &Exchange) {
        if let Some(Follows(speaking)) = answer.extensions_mut().remove() {
            *lock(&self.speaking) = lock(&speaking).take();
        }
        if asked.is_some() {
            let is_declined = answer.status() != StatusCode::SWITCHING_PROTOCOLS;
            if !is_declined {
                exchange.switch();
            }
            *lock(&self.declined) = asked.filter(|_| is_declined);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pin_project! {
    /// An answer in the making, after which the connection may find what follows: perhaps its end.
    pub(super) struct Finding<'n, F> {
        #[pin]
        answering: F,
        next: &'n Next,
        exchange: &'n Exchange,
        asked: Option<OnUpgrade>,
        is_last: bool,
    }
}

impl<'n, F> Finding<'n, F> {
    pub(super) fn new(
        answering: F,
        (next, exchange, asked): (&'n Next, &'n Exchange, Option<OnUpgrade>),
        is_last: bool,
    ) -> Finding<'n, F> {
        Finding { answering, next, exchange, asked, is_last }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Finding<'_, F> {
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answering.poll(cx));
        if let Ok(answer) = &mut answer {
            this.next.find_in(answer, this.asked.take(), this.exchange);
            if *this.is_last {
                say_close(answer);
            }
        }
        Poll::Ready(answer)
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
