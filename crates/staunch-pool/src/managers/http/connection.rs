//! A connection, as a lease has it: it carries one request at a time.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request, Response, Version,
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use staunch_ledger::State;
use staunch_scope::with_current_account;
use tokio::time::timeout;

use super::{
    error::HttpError,
    life::{Life, OffOnDrop},
    manager::Server,
    multiplex::{Answer, Slot},
    request::{RequestBody, copy, for_http1, for_http2, for_relay},
    upload::Uploaded,
};
use crate::manager::Condition;

/// A pooled connection to an HTTP server, or a slot of an HTTP/2 one.
///
/// Requests are sent by [`Pool::send`](crate::Pool::send), [`Lease::send`](crate::Lease::send) and
/// [`KeyedPool::send`](crate::KeyedPool::send).
pub struct HttpConnection {
    wire: Wire,
    pub(super) server: Arc<Server>,
    /// A request was begun, and its answer has not come to its end.
    in_flight: bool,
    requests: u64,
}

enum Wire {
    Http1 { sender: http1::SendRequest<RequestBody>, life: OffOnDrop },
    Http2(Slot),
}

/// Why a request has no answer, and how to ask again.
pub(super) struct Failed {
    pub(super) error: HttpError,
    /// It was never sent, or is as good as that.
    pub(super) unsent: Option<Request<RequestBody>>,
    /// The connection or the stream ended, and nothing of an answer had come.
    pub(super) is_unanswered: bool,
}

/// The body of an answer, as it comes from hyper.
#[derive(Debug)]
pub(super) enum Coming {
    Own(Incoming),
    Shared(Arc<Answer>),
}

impl HttpConnection {
    pub(super) fn http1(
        sender: http1::SendRequest<RequestBody>,
        life: Life,
        server: &Arc<Server>,
    ) -> HttpConnection {
        HttpConnection::new(Wire::Http1 { sender, life: OffOnDrop(life) }, server)
    }

    pub(super) fn http2(slot: Slot, server: &Arc<Server>) -> HttpConnection {
        HttpConnection::new(Wire::Http2(slot), server)
    }

    fn new(wire: Wire, server: &Arc<Server>) -> HttpConnection {
        HttpConnection { wire, server: Arc::clone(server), in_flight: false, requests: 0 }
    }

    /// What is spoken on it.
    pub fn version(&self) -> Version {
        match self.wire {
            Wire::Http1 { .. } => Version::HTTP_11,
            Wire::Http2(_) => Version::HTTP_2,
        }
    }

    /// Whether no request is to be sent on it any more: it has ended, or it is one of HTTP/2 that is too old.
    pub fn is_closed(&self) -> bool {
        match &self.wire {
            Wire::Http1 { sender, life } => sender.is_closed() || life.0.is_over(),
            Wire::Http2(slot) => slot.is_over(self.server.options.max_lifetime),
        }
    }

    /// Requests that were sent on it.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether it may have been closed while nobody looked.
    pub(super) fn may_be_stale(&self) -> bool {
        match self.wire {
            Wire::Http1 { .. } => self.requests > 0,
            Wire::Http2(_) => true, // of others' requests nobody here knows
        }
    }

    /// Whether a new one would be better for what has failed on a stale one. An HTTP/2 connection
    /// that goes away gives no more slots.
    pub(super) fn is_worn(&self) -> bool {
        self.requests > 0 && matches!(self.wire, Wire::Http1 { .. })
    }

    pub(super) fn condition(&self) -> Condition {
        match &self.wire {
            _ if self.is_closed() => Condition::Broken,
            Wire::Http2(slot) if slot.answer.upload().is_some() => Condition::Dirty,
            Wire::Http2(_) => Condition::Clean, // its stream was reset, if it was not at its end
            Wire::Http1 { .. } if self.in_flight => Condition::Broken,
            Wire::Http1 { sender, .. } if sender.is_ready() => Condition::Clean,
            Wire::Http1 { .. } => Condition::Dirty,
        }
    }

    /// Waits until hyper has done with the exchange before, and all of its request was sent.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.wire {
            Wire::Http1 { sender, .. } => sender.ready().await,
            Wire::Http2(slot) => {
                if let Some(upload) = slot.answer.upload() {
                    upload.over().await;
                }
                slot.sender.ready().await
            }
        }
    }

    pub(super) fn killer(&self) -> Box<dyn Fn() + Send + Sync> {
        match &self.wire {
            Wire::Http1 { life, .. } => {
                let life = life.0.clone();
                Box::new(move || life.off())
            }
            Wire::Http2(slot) => {
                let answer = Arc::clone(&slot.answer);
                Box::new(move || answer.kill())
            }
        }
    }

    /// Says goodbye, if it is to be said here.
    ///
    /// # Cancel safety
    /// Dropped before, it ends the connection without.
    pub(super) async fn close(self) {
        match self.wire {
            Wire::Http1 { sender, life } if self.in_flight || !sender.is_ready() => drop(life),
            Wire::Http1 { sender, life } => {
                drop(sender); // which makes hyper say it
                life.0.clone().ends().await;
            }
            Wire::Http2(slot) => slot.close().await,
        }
    }

    /// Sends a request, and waits for the head of its answer. After that the body is to be read to
    /// its end ([`answered`](Self::answered)), or the connection is broken.
    ///
    /// # Cancel safety
    /// Dropped before its end, the request is given up: its connection is broken, or its stream
    /// reset.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Coming>, Failed> {
        self.in_flight = true;
        self.requests += 1;
        let server = Arc::clone(&self.server);
        let limit = server.options.head_timeout;
        match &mut self.wire {
            Wire::Http1 { sender, life } => {
                let before = life.0.heard();
                let request = match server.relay() {
                    Some(proxy) => for_relay(request, &server.name, proxy.authorization()),
                    None => for_http1(request, &server.name),
                };
                let sent = sender.try_send_request(request);
                let result = within(limit, sent).await;
                let is_silent = |_: &hyper::Error| life.0.heard() == before;
                result
                    .map(|answer| answer.map(Coming::Own))
                    .map_err(|error| Failed::new(&server, error, is_silent))
            }
            Wire::Http2(slot) => {
                // What is idempotent whoever asks has a copy of.
                let copy = (!request.method().is_idempotent()).then(|| copy(&request)).flatten();
                let answer = Arc::clone(&slot.answer);
                let mut giving_up = GivingUp(Some(Arc::clone(&answer)));
                let sending = slot.send(for_http2(request, &server.name, server.is_secure()));
                let sent = tokio::select! {
                    biased;
                    () = answer.killed.cancelled() => return Err(Failed::ended(&server)),
                    sent = within(limit, sending) => sent,
                };
                let response = sent.map_err(|error| Failed::http2(&server, error, copy))?;
                let (head, body) = response.into_parts();
                giving_up.0 = None;
                answer.put(body);
                Ok(Response::from_parts(head, Coming::Shared(answer)))
            }
        }
    }

    /// It is not to be used any more.
    pub(super) fn gives_up(&mut self) {
        self.in_flight = true;
    }

    /// The answer has come to its end.
    pub(super) fn answered(&mut self) {
        self.in_flight = false;
    }
}

/// Ends the upload of a request whose answer nobody waits for any more.
struct GivingUp(Option<Arc<Answer>>);

impl Drop for GivingUp {
    fn drop(&mut self) {
        if let Some(answer) = &self.0 {
            answer.end_upload();
        }
    }
}

/// `None`: it took too long.
type SendError<B> = Option<TrySendError<Request<B>>>;

async fn within<T, B>(
    limit: Duration,
    sent: impl Future<Output = Result<T, TrySendError<Request<B>>>>,
) -> Result<T, SendError<B>> {
    let mut sent = pin!(sent);
    let waits = poll_fn(|cx| {
        let polled = sent.as_mut().poll(cx);
        if polled.is_pending() {
            with_current_account(|task| task.set_state(State::Read));
        }
        polled
    });
    if limit == Duration::MAX {
        return waits.await.map_err(Some); // no timer for what never rings
    }
    match timeout(limit, waits).await {
        Ok(sent) => sent.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Whether the server says that it has not worked on the request: it was one too many, or came
/// when the connection was going away already (RFC 9113, section 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let reason = cause.reason();
        cause.is_remote()
            && (reason == Some(h2::Reason::REFUSED_STREAM)
                || cause.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
    })
}

impl Failed {
    fn new<B: Into<RequestBody>>(
        server: &Server,
        error: SendError<B>,
        is_silent: impl FnOnce(&hyper::Error) -> bool,
    ) -> Failed {
        let address = server.address.clone();
        let Some(mut error) = error else {
            let error = HttpError::HeadTimedOut { address, limit: server.options.head_timeout };
            return Failed { error, unsent: None, is_unanswered: false };
        };
        let unsent = error.take_message().map(|unsent| unsent.map(Into::into));
        let source = error.into_error();
        let is_users = source.is_user() || source.is_body_write_aborted();
        let is_unanswered = !is_users && is_silent(&source);
        let error = if is_unanswered || unsent.is_some() {
            HttpError::Unanswered { address, source }
        } else {
            HttpError::Failed { address, source }
        };
        Failed { error, unsent, is_unanswered }
    }

    /// What the server has refused was never sent, as far as anybody can tell: `copy` may be, also if
    /// it must not be sent twice.
    fn http2(
        server: &Server,
        error: SendError<Uploaded>,
        copy: Option<Request<RequestBody>>,
    ) -> Failed {
        let mut failed = Failed::new(server, error, is_refused);
        failed.error = match failed.error {
            HttpError::Unanswered { address, source } if is_refused(&source) => {
                failed.unsent = failed.unsent.or(copy);
                HttpError::Refused { address, source }
            }
            error => error,
        };
        failed
    }

    fn ended(server: &Server) -> Failed {
        let error = HttpError::Ended { address: server.address.clone() };
        Failed { error, unsent: None, is_unanswered: false }
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection")
            .field("server", &self.server.address)
            .field("version", &self.version())
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
