//! From a request to the head of its answer: hops, and attempts of each.

use std::{panic::Location, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method, Request,
    body::Body,
    header::{ACCEPT_ENCODING, Entry, HeaderValue, RANGE},
};
use staunch_pool::{AcquireError, HttpError, KeyedAcquireError, RequestBody};
use staunch_scope::{Cancelled, Context, sleep};
use tokio::time::Instant;
use url::Url;

use super::{
    Client,
    answer::Answer,
    body::{AnswerBody, Wanted},
    counts::{Fate, Flight, add},
    decode::{ACCEPTED, Coded},
    error::ClientError,
    origin::{Origin, shown, uri},
    redirect,
    request::ClientRequest,
    retry,
};

/// One request to one URL; a redirect leads to the next.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestBody,
    /// Its body can be had again.
    pub(super) is_replayable: bool,
}

impl Hop {
    /// A request of it. A stream is gone then.
    fn take(&mut self) -> Result<Request<RequestBody>, ClientError> {
        let body = self.body.again().unwrap_or_else(|| std::mem::take(&mut self.body));
        let mut request = Request::new(body);
        *request.uri_mut() = uri(&self.url)?;
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Gets the answer of a request, as long as `context` wants it.
pub(super) async fn run(request: ClientRequest, context: Context) -> Result<Answer, ClientError> {
    let counts = Arc::clone(&request.client.0.counts);
    let (flight, fate) = (Flight::begin(&counts), Fate::open(&counts));
    let result = wanted(request, context, flight).await;
    fate.is(&result);
    result
}

async fn wanted(
    request: ClientRequest,
    context: Context,
    flight: Arc<Flight>,
) -> Result<Answer, ClientError> {
    let ClientRequest {
        client,
        born_at,
        url,
        method,
        headers,
        body,
        timeout,
        max_body,
        is_stream,
        ..
    } = request;
    let url = url?;
    let first = shown(&url);
    let is_replayable = body.again().is_some();
    let hop = Hop { url, method, headers, body, is_replayable };
    let until = Instant::now().checked_add(timeout);
    let wanted = Wanted { context: context.clone(), limit: timeout, until, flight: Some(flight) };
    let exchange = Exchange { client: &client, born_at, wanted: &wanted, max_body, is_stream };
    match context.run(exchange.follow(hop)).await {
        Ok(Err(ClientError::Cancelled { cause, .. })) | Err(cause) => {
            Err(if wanted.is_late(cause) {
                ClientError::TimedOut { url: first, limit: timeout }
            } else {
                ClientError::Cancelled { url: first, cause }
            })
        }
        Ok(answered) => answered,
    }
}

struct Exchange<'c> {
    client: &'c Client,
    born_at: &'static Location<'static>,
    wanted: &'c Wanted,
    max_body: u64,
    /// Its answer has no end.
    is_stream: bool,
}

impl Exchange<'_> {
    /// Follows redirects.
    async fn follow(&self, mut hop: Hop) -> Result<Answer, ClientError> {
        let limit = self.client.0.options.max_redirects;
        let mut followed = 0;
        loop {
            let answer = self.attempts(&mut hop).await?;
            if limit == 0 {
                return Ok(answer);
            }
            let next = redirect::next(&hop, answer.status(), answer.headers());
            let next = match next.transpose() {
                None => return Ok(answer),
                Some(next) => {
                    answer.into_body().forsake();
                    next?
                }
            };
            if followed == limit {
                return Err(ClientError::TooManyRedirects { url: shown(&hop.url), limit });
            }
            followed += 1;
            add(&self.client.0.counts.redirects);
            hop = next;
        }
    }

    /// Sends it again, where that is safe and the budget allows it.
    async fn attempts(&self, hop: &mut Hop) -> Result<Answer, ClientError> {
        let super::Inner { budget, counts, options, .. } = &*self.client.0;
        add(&counts.requests);
        budget.earn();
        let mut tried = 0;
        loop {
            let result = self.once(hop).await;
            let is_worth = retry::is_worth(&result, &hop.method) && hop.is_replayable;
            // Whoever waits for a stream has pauses of its own.
            if !is_worth || self.is_stream || tried == options.retry.max_retries {
                return result;
            }
            let pause = retry::pause(&options.retry, tried, &result);
            let Some(pause) = pause.filter(|pause| self.has_time_for(*pause)) else {
                return result;
            };
            if !budget.spend() {
                add(&counts.retries_denied);
                return result;
            }
            if let Ok(answer) = result {
                answer.into_body().forsake();
            }
            sleep(pause).await.map_err(|cause| self.cancelled(hop, cause))?;
            tried += 1;
            add(&counts.retries);
        }
    }

    fn has_time_for(&self, pause: Duration) -> bool {
        self.wanted.context.remaining().is_none_or(|left| pause < left)
    }

    async fn once(&self, hop: &mut Hop) -> Result<Answer, ClientError> {
        let super::Inner { pool, trust, drain, options, .. } = &*self.client.0;
        let origin = Origin::of(&hop.url)?;
        let proxy = options.proxies.of(&origin);
        let origin = Origin { is_stream: self.is_stream, proxy, ..origin };
        let url = || shown(&hop.url);
        if let (true, Err(source)) = (origin.is_secure, trust) {
            return Err(ClientError::Trust { url: url(), source: source.clone() });
        }
        let mut request = hop.take()?;
        let headers = request.headers_mut();
        let has_own = headers.contains_key(ACCEPT_ENCODING) || headers.contains_key(RANGE);
        let is_asked = options.decode && !has_own;
        if is_asked {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        let trace = HeaderValue::from_bytes(&self.wanted.context.trace_id().to_traceparent());
        if let (Entry::Vacant(own), Ok(trace)) = (headers.entry("traceparent"), trace) {
            own.insert(trace);
        }
        match pool.send_at(self.born_at, &origin, request).await {
            Err(error) => Err(match cause_of(&error) {
                Some(cause) => self.cancelled(hop, cause),
                None => ClientError::Http { url: shown(&hop.url), source: Box::new(error) },
            }),
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                let body = if is_asked && !body.is_end_stream() {
                    Coded::decoding(body, &mut head.headers)
                } else {
                    Coded::Plain(body)
                };
                let is_shared = head.version == hyper::Version::HTTP_2;
                let body = AnswerBody::new(body, is_shared, self.born_at, drain, &hop.url)
                    .within(self.wanted.clone(), self.max_body);
                Ok(Answer::new(head, body, hop.url.clone()))
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads as what it is")]
    fn cancelled(&self, hop: &Hop, cause: Cancelled) -> ClientError {
        ClientError::Cancelled { url: shown(&hop.url), cause }
    }
}

fn cause_of(error: &HttpError) -> Option<Cancelled> {
    match error {
        HttpError::AcquireKeyed(KeyedAcquireError::Key(AcquireError::Cancelled(cause))) => {
            Some(*cause)
        }
        _ => None,
    }
}
