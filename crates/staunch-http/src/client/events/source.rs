//! The loop: ask, read, pause, ask again.

use std::{fmt, future::Future, panic::Location, pin::Pin, time::Duration};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use staunch_scope::{Cancelled, Context, sleep_until};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    EventsRequest,
    error::{EventSourceError, EventsLost},
    headers,
    options::EventsOptions,
    parse::Parser,
    pause::Vain,
};
use crate::{
    Event,
    client::{
        Client,
        answer::Answer,
        body::{AnswerBody, Wanted},
        error::{ClientError, ReadAnswerError},
        exchange,
        origin::shown,
        request::ClientRequest,
        retry,
    },
};

/// Events, as they come. When its stream ends or breaks it connects again, after a pause, and says
/// which event it saw last; so it has an end only when the server says so (204), when something
/// is wrong that stays wrong, or when nobody wants it any more.
///
/// It works only while it is waited for, so nothing is read ahead of [`next`](EventSource::next)
/// but what came in one piece. Who does not come back for `abandoned_timeout` of the client's pool
/// (60 s) loses the connection, and goes on with the next after the event that was seen last.
#[must_use = "events come while they are waited for"]
pub struct EventSource {
    phase: Phase,
    client: Client,
    born_at: &'static Location<'static>,
    target: Url,
    /// Of each attempt, which adds how far it has come.
    headers: HeaderMap,
    /// The target without what may be secret.
    url: String,
    options: EventsOptions,
    wanted: Wanted,
    parser: Parser,
    vain: Vain,
    connected: u64,
    account: Account,
    /// Bytes that the account says.
    held: u64,
}

enum Phase {
    Asking {
        answer: Pin<Box<dyn Future<Output = Result<Answer, ClientError>> + Send>>,
        until: Option<Instant>,
    },
    Reading(Box<Stream>),
    Pausing(Instant),
    Over,
}

/// The body of an answer, and what of it came but was not read.
struct Stream {
    body: AnswerBody,
    rest: Bytes,
    silence: Silence,
    has_spoken: bool,
}

/// Until when something must come. The time in which nobody waits does not count.
struct Silence {
    until: Option<Instant>,
    left_at: Option<Instant>,
}

/// Somebody waits.
struct Listening<'s>(&'s mut Silence);

impl EventSource {
    pub(super) fn open(events: EventsRequest) -> Result<EventSource, ClientError> {
        let EventsRequest { request, options, last_id } = events;
        let ClientRequest { client, born_at, url, headers, timeout: limit, context, .. } = request;
        let target = url?;
        let context = context.unwrap_or_else(Context::current).with_timeout(limit);
        let wanted =
            Wanted { context, limit, until: Instant::now().checked_add(limit), flight: None };
        let (kind, promise) = (Kind::STREAM, Obligation::EndsWithParent);
        let owner = Some(client.0.owner);
        let account = Ledger::current().open_at(born_at, kind, promise, owner);
        account.label(&format!("events {}", target.path()));
        Ok(EventSource {
            phase: Phase::Pausing(Instant::now()),
            url: shown(&target),
            parser: Parser::new(&options, last_id),
            vain: Vain::default(),
            connected: 0,
            client,
            born_at,
            target,
            headers,
            options,
            wanted,
            account,
            held: 0,
        })
    }

    /// The next event; `None` when the server has said that there will be no more (204), and after
    /// an error.
    ///
    /// # Errors
    /// [`EventSourceError`]; then it is over.
    ///
    /// # Cancel safety
    /// Cancel safe: no event is lost, and a connect that has begun goes on with the next call.
    pub async fn next(&mut self) -> Result<Option<Event>, EventSourceError> {
        let next = self.advance().await;
        if !matches!(next, Ok(Some(_))) {
            self.phase = Phase::Over;
            self.parser.restart();
        }
        self.tell();
        next
    }

    /// The id of the last event that came, or of one before if it had none; empty if none had. For
    /// [`EventsRequest::after`].
    pub fn last_id(&self) -> &str {
        self.parser.last_id()
    }

    /// How often the server has begun to send.
    pub fn connected(&self) -> u64 {
        self.connected
    }

    async fn advance(&mut self) -> Result<Option<Event>, EventSourceError> {
        loop {
            self.tell();
            let cancelled = |cause| ended(&self.url, &self.wanted, cause);
            match &mut self.phase {
                Phase::Over => return Ok(None),
                Phase::Pausing(until) => {
                    let paused = self.wanted.context.run(sleep_until(*until)).await;
                    paused.and_then(|paused| paused).map_err(cancelled)?;
                    self.phase = self.ask()?;
                }
                Phase::Asking { answer, until } => {
                    let answer = by(*until, answer.as_mut());
                    let answer = self.wanted.context.run(answer).await.map_err(cancelled)?;
                    let late = || {
                        let limit = self.client.0.options.total_timeout;
                        Err(ClientError::TimedOut { url: self.url.clone(), limit })
                    };
                    self.answered(answer.unwrap_or_else(late))?;
                }
                Phase::Reading(stream) => {
                    if let Some(event) = stream.next(&mut self.parser, &self.url)? {
                        return Ok(Some(event));
                    }
                    match stream.listen(&self.options).await {
                        Ok(()) => self.account.touch(),
                        Err(EventsLost::Read(ReadAnswerError::Cancelled { cause, .. })) => {
                            return Err(cancelled(cause));
                        }
                        Err(lost) => {
                            let is_vain =
                                !stream.has_spoken && !matches!(lost, EventsLost::Idle(_));
                            self.loses(lost, is_vain, Duration::ZERO)?;
                        }
                    }
                }
            }
        }
    }

    /// The next attempt.
    fn ask(&mut self) -> Result<Phase, ClientError> {
        self.parser.restart();
        let headers = headers(&self.headers, self.parser.last_id())?;
        let request = ClientRequest::of_stream(&self.client, self.born_at, &self.target, headers);
        let answer = Box::pin(exchange::run(request, self.wanted.context.clone()));
        let limit = self.client.0.options.total_timeout;
        Ok(Phase::Asking { answer, until: Instant::now().checked_add(limit) })
    }

    /// Whether its answer is a stream; or another attempt may have one; or none will.
    fn answered(&mut self, answer: Result<Answer, ClientError>) -> Result<(), EventSourceError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(ClientError::Cancelled { cause, .. }) => {
                return Err(ended(&self.url, &self.wanted, cause));
            }
            Err(error) if retry::may_pass(&error) => {
                let pause = retry::down_for(&error);
                return self.loses(error.into(), true, pause);
            }
            Err(error) => return Err(error.into()),
        };
        match answer.status() {
            StatusCode::OK if is_events(answer.headers()) => {
                let stream = Stream::new(answer.into_body(), &self.options);
                self.phase = Phase::Reading(Box::new(stream));
                self.connected += 1;
                self.account.touch();
                Ok(())
            }
            StatusCode::NO_CONTENT => {
                self.phase = Phase::Over;
                Ok(())
            }
            status if is_trouble(status) => {
                let asked = retry::after(status, answer.headers()).unwrap_or(Duration::ZERO);
                answer.into_body().forsake();
                self.loses(EventsLost::Status(status), true, asked.min(self.options.pause_max))
            }
            _ => {
                let answer = answer.success()?;
                let (url, found) = (self.url.clone(), kind_of(&answer));
                answer.into_body().forsake();
                Err(EventSourceError::NotEvents { url, found })
            }
        }
    }

    /// It pauses for at least so long, unless it was in vain too often.
    fn loses(
        &mut self,
        lost: EventsLost,
        is_vain: bool,
        at_least: Duration,
    ) -> Result<(), EventSourceError> {
        if !is_vain {
            self.vain.over();
        } else if let Some(attempts) = self.vain.add(&self.options) {
            let (url, source) = (self.url.clone(), Box::new(lost));
            return Err(EventSourceError::GaveUp { url, attempts, source });
        }
        let pause = self.vain.pause(&self.options, self.parser.pause()).max(at_least);
        tracing::debug!(url = self.url, ?pause, "events: {lost}");
        let now = Instant::now();
        self.phase = Phase::Pausing(now.checked_add(pause).unwrap_or(now));
        Ok(())
    }

    /// Tells the ledger what it does, and holds.
    fn tell(&mut self) {
        let (state, rest) = match &self.phase {
            Phase::Asking { .. } => (State::Handshake, 0),
            Phase::Reading(stream) => (State::Read, stream.rest.len()),
            Phase::Pausing(_) => (State::Sleep, 0),
            Phase::Over => (State::Idle, 0),
        };
        self.account.set_state(state);
        let held = (self.parser.held() + rest) as u64;
        self.account.add_bytes(held.saturating_sub(self.held));
        self.account.sub_bytes(self.held.saturating_sub(held));
        self.held = held;
    }
}

impl Stream {
    fn new(body: AnswerBody, options: &EventsOptions) -> Stream {
        let silence = Silence { until: Instant::now().checked_add(options.idle), left_at: None };
        Stream { body, rest: Bytes::new(), silence, has_spoken: false }
    }

    /// An event of what has come.
    fn next(&mut self, parser: &mut Parser, url: &str) -> Result<Option<Event>, EventSourceError> {
        parser.next_event(&mut self.rest).map_err(|long| EventSourceError::TooLong {
            url: url.to_owned(),
            what: long.what,
            option: long.option,
            limit: long.limit,
        })
    }

    /// Waits until more has come.
    async fn listen(&mut self, options: &EventsOptions) -> Result<(), EventsLost> {
        let listening = self.silence.listen();
        let came = by(listening.0.until, self.body.chunk()).await;
        drop(listening);
        self.rest = match came {
            None => return Err(EventsLost::Idle(options.idle)),
            Some(came) => came?.ok_or(EventsLost::Ended)?,
        };
        self.has_spoken = true;
        self.silence.until = Instant::now().checked_add(options.idle);
        Ok(())
    }
}

/// Streams are left when they are dropped, which is nobody's fault.
impl Drop for Stream {
    fn drop(&mut self) {
        self.body.gives_up();
    }
}

impl Silence {
    fn listen(&mut self) -> Listening<'_> {
        let away = self.left_at.take().map_or(Duration::ZERO, |left_at| left_at.elapsed());
        self.until = self.until.and_then(|until| until.checked_add(away));
        Listening(self)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.left_at = Some(Instant::now());
    }
}

/// Its output, or `None` when the time is over.
async fn by<F: Future>(until: Option<Instant>, work: F) -> Option<F::Output> {
    match until {
        Some(until) => timeout_at(until, work).await.ok(),
        None => Some(work.await), // further away than the clock can tell
    }
}

fn ended(url: &str, wanted: &Wanted, cause: Cancelled) -> EventSourceError {
    let url = url.to_owned();
    if wanted.is_late(cause) {
        EventSourceError::TimedOut { url, limit: wanted.limit }
    } else {
        EventSourceError::Cancelled { url, cause }
    }
}

/// Whether the server says that it is not always so.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(CONTENT_TYPE).map_or(b"", HeaderValue::as_bytes)
}

fn is_events(headers: &HeaderMap) -> bool {
    let essence = content_type(headers).split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

fn kind_of(answer: &Answer) -> String {
    let kind = match content_type(answer.headers()) {
        b"" => "of no type".into(),
        kind => String::from_utf8_lossy(kind),
    };
    format!("{} {kind}", answer.status().as_u16())
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource")
            .field("url", &self.url)
            .field("last_id", &self.last_id())
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}
