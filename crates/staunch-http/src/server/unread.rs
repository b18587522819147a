//! What of a request's body nobody reads, over HTTP/1.
//!
//! An answer may be there before its request has come to its end: a refusal, most of all. What has come
//! of such a body by then is taken and forgotten, [`BODY_FORGOTTEN`] bytes of it at the most. If that was
//! all of it the connection goes on, as if it had been read. If not, the connection cannot: the answer
//! says so (`Connection: close`; RFC 9112, 9.6), since who sends the next request meanwhile would lose
//! it. Nobody waits for the rest. Of a client that waits for `100 Continue` nothing has come.
//!
//! A body that lives on, in its answer's body or in another task, may still be read to its end: of its
//! connection nothing is said. If it is dropped before its end nothing more of it is taken, and the
//! connection is closed after the answer, unless the rest has come by then.
//! It is [`leftovers`](super::leftovers) that does this over HTTP/2.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Poller, Poll},
};

use http_body_util::Limited;
use hyper::{
    Response, StatusCode,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderMap, HeaderValue},
};
use pin_project_lite::pin_project;

use super::{exchange::Exchange, wire::BODY_FORGOTTEN};

/// A body that nobody reads any more, and that is not at its end.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) body: Limited<Incoming>,
    /// Somebody has waited for it: its client knows that it may send it.
    pub(super) was_wanted: bool,
    /// It has ended in an error: where the next request begins nobody knows.
    pub(super) is_broken: bool,
}

pin_project! {
    /// An answer in the making that says whether the connection goes on after it.
    pub(super) struct Settled<F, B> {
        #[pin]
        answering: F,
        answer: Option<Response<B>>,
        exchange: Exchange,
        // The client waits until it is told to go on.
        is_expecting: bool,
        rest: Rest,
    }
}

/// What is taken of a body.
#[derive(Debug, Default)]
struct Rest {
    unread: Option<Unread>,
    taken: usize,
    /// Its end has come.
    is_over: bool,
    /// It is not at its end, and will not be.
    is_cut: bool,
    /// hyper has had a turn to bring more since the last of it.
    has_asked: bool,
}

impl<F, B> Settled<F, B> {
    pub(super) fn new(answering: F, exchange: Exchange, is_expecting: bool) -> Settled<F, B> {
        Settled { answering, answer: None, exchange, is_expecting, rest: Rest::default() }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Settled<F, B> {
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.answer.is_none()
            && let Poll::Ready(answer) = this.answering.poll(cx)
        {
            *this.answer = Some(answer?);
        }
        if let Some(unread) = this.exchange.take_unread() {
            this.rest.begin(unread, *this.is_expecting);
        }
        let taken = this.rest.poll(this.answer.is_some(), cx);
        let Some(mut answer) = this.answer.take() else { return Poll::Pending };
        match taken {
            Poll::Pending => {
                *this.answer = Some(answer);
                return Poll::Pending;
            }
            Poll::Ready(true) => {
                if this.rest.is_over {
                    this.exchange.set_open(false);
                }
                this.exchange.settle();
            }
            Poll::Ready(false) => {
                this.exchange.cut_short();
                say_close(&mut answer);
            }
        }
        Poll::Ready(Ok(answer))
    }
}

impl Rest {
    fn begin(&mut self, unread: Unread, is_expecting: bool) {
        self.is_cut = unread.is_broken || (is_expecting && !unread.was_wanted);
        self.unread = Some(unread).filter(|_| !self.is_cut);
    }

    /// Ready when there is no more of it, or when the answer is there and no more has come; whether that
    /// was all of it.
    fn poll(&mut self, is_answered: bool, cx: &mut Poller<'_>) -> Poll<bool> {
        while let Some(unread) = &mut self.unread {
            match Pin::new(&mut unread.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.taken += frame.data_ref().map_or(0, bytes::Bytes::len);
                    self.has_asked = false;
                    if self.taken > BODY_FORGOTTEN {
                        self.cut();
                    }
                }
                Poll::Ready(Some(Err(_))) => self.cut(),
                Poll::Ready(None) => (self.unread, self.is_over) = (None, true),
                Poll::Pending if !is_answered => return Poll::Pending,
                Poll::Pending if self.has_asked => self.cut(),
                Poll::Pending => {
                    // hyper brings one piece at a time, before it asks for an answer.
                    self.has_asked = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(!self.is_cut)
    }

    fn cut(&mut self) {
        (self.unread, self.is_cut) = (None, true);
    }
}

/// Says that the connection ends after the answer, whatever else is said of it.
pub(super) fn say_close<B>(answer: &mut Response<B>) {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return; // it does not end
    }
    let last = if says_upgrade(answer.headers()) { "close, upgrade" } else { "close" };
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static(last));
}

fn says_upgrade(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let mut tokens = lines.flat_map(|line| line.split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}
