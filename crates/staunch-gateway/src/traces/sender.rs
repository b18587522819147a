//! The task that sends spans, as OTLP over HTTP wants it: a batch is sent again when the collector
//! says that it may be, or cannot be reached, and not for ever; what it has refused is lost.

use std::{
    fmt::Display,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use prost::Message as _;
use staunch_http::{
    Client, ClientError, ClientOptions, ClientOptionsError, ReadAnswerError, RetryOptions,
};
use staunch_scope::{Context, ScopeBuilder, ScopeError, SpanId, TraceId, TraceParent, shield};
use tokio::time::{Instant, timeout};

use super::{
    BATCH, Traces,
    otlp::{
        ExportRequest, ExportResponse, KeyValue, PartialSuccess, Resource, ResourceSpans, Scope,
        ScopeSpans, Span,
    },
};
use crate::remote;

/// Spans wait so long for others, at most.
const PERIOD: Duration = Duration::from_secs(5);
/// For one batch, sent once.
const SEND: Duration = Duration::from_secs(10);
/// The last spans may take so long, all in all: less than the grace of what the task belongs to.
const LAST: Duration = Duration::from_millis(1500);
/// A batch is sent so often, if it has to be.
const TRIES: u32 = 5;
/// Between the first two; then twice as long each time. A collector that is restarted is back by
/// then.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that a collector can have us wait.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// Between two complaints.
const QUIET: Duration = Duration::from_mins(1);
/// The most that is read of an answer, and shown of what it says.
const ANSWER_MAX: u64 = 64 << 10;
const MESSAGE_MAX: usize = 200;

/// A batch was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Read(#[from] ReadAnswerError),
    #[error("it answers {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("its answer is no message: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// Sends spans until the task is asked to stop, and then, for a moment, what is left.
pub(crate) async fn keep_sent(traces: Arc<Traces>) {
    let asked = Context::current();
    // Shielded: the connections to the collector are needed for what is sent last.
    shield(async {
        let sending = ScopeBuilder::<ClientOptionsError>::new(&Context::current())
            .run(async |scope| {
                let client = Client::new(&scope, options(&traces))?;
                send_all(&traces, client, &asked).await;
                scope.stop();
                Ok(())
            })
            .await;
        if let Err(ScopeError::Failed { first, .. }) = sending.result {
            tracing::error!(cause = ?first.cause, "traces are not sent");
        }
    })
    .await;
}

fn options(traces: &Traces) -> ClientOptions {
    ClientOptions {
        retry: RetryOptions { max_retries: 0, ..RetryOptions::default() }, // there is one above
        trust: traces.trust.clone(),
        total_timeout: SEND,
        ..remote::options("traces")
    }
}

async fn send_all(traces: &Traces, client: Client, asked: &Context) {
    let mut sender = Sender { traces, client, asked, turn: 0, complained: None };
    {
        let mut sending = pin!(sender.run());
        tokio::select! {
            biased;
            () = &mut sending => {}
            _ = asked.cancelled() => {
                let _too_late = timeout(LAST, sending).await;
            }
        }
    }
    loop {
        sender.turn += 1;
        let batch = Batch::new(traces, traces.batch(sender.turn));
        if batch.spans.is_empty() {
            break;
        }
    }
    let (sent, lost) = traces.counts();
    if lost > 0 {
        tracing::warn!(to = traces.config.to, sent, lost, "not all traces were sent");
    }
}

/// Spans that are lost unless they are sent.
struct Batch<'t> {
    traces: &'t Traces,
    spans: Vec<Span>,
}

impl<'t> Batch<'t> {
    fn new(traces: &'t Traces, spans: Vec<Span>) -> Batch<'t> {
        Batch { traces, spans }
    }

    /// All of them are with the collector, but for those that it has rejected.
    fn sent(mut self, rejected: u64) {
        let all = std::mem::take(&mut self.spans).len() as u64;
        let rejected = rejected.min(all);
        self.traces.sent.fetch_add(all - rejected, Ordering::Relaxed);
        self.traces.lose(rejected);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.traces.lose(self.spans.len() as u64);
    }
}

struct Sender<'t> {
    traces: &'t Traces,
    client: Client,
    /// Cancelled when an end is near: from then on nothing is waited for.
    asked: &'t Context,
    turn: usize,
    complained: Option<Instant>,
}

impl Sender<'_> {
    /// Sends what there is, again and again; once more when an end is near.
    async fn run(&mut self) {
        loop {
            let is_last = self.asked.is_cancelled();
            loop {
                self.turn += 1;
                let batch = self.traces.batch(self.turn);
                let is_full = batch.len() == BATCH;
                if !batch.is_empty() {
                    self.deliver(Batch::new(self.traces, batch)).await;
                }
                if !is_full {
                    break;
                }
            }
            if is_last {
                return;
            }
            tokio::select! {
                biased;
                _ = self.asked.cancelled() => {}
                _ = timeout(PERIOD, self.traces.is_enough.notified()) => {}
            }
        }
    }

    /// Sends a batch until it is taken, refused, or has been sent often enough.
    async fn deliver(&mut self, batch: Batch<'_>) {
        let body = message(&self.traces.config.service, &batch.spans);
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            let error = match self.send(body.clone()).await {
                Ok(partial) => {
                    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
                    batch.sent(rejected);
                    if rejected > 0 || !partial.error_message.is_empty() {
                        let said: String =
                            partial.error_message.chars().take(MESSAGE_MAX).collect();
                        self.complain(&format_args!("{rejected} were rejected: {said:?}"));
                    }
                    return;
                }
                Err(error) => error,
            };
            self.complain(&error);
            if !error.is_passing() || attempt == TRIES || self.asked.is_cancelled() {
                return;
            }
            tokio::select! {
                biased;
                _ = self.asked.cancelled() => {}
                () = tokio::time::sleep(error.pause(pause)) => {}
            }
            pause *= 2;
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<PartialSuccess, SendError> {
        let config = &self.traces.config;
        // The collector is told not to trace how it gets traces.
        let own =
            TraceParent { trace: TraceId::random(), span: SpanId::random(), is_sampled: false };
        let mut request = self
            .client
            .post(&config.to)
            .header("traceparent", own.to_bytes())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .max_body(ANSWER_MAX)
            .body(body);
        for (name, value) in &self.traces.headers {
            request = request.header(name, value.as_bytes());
        }
        let answer = request.send().await?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        // Read to its end in any case: the connection is used again.
        let said = answer.bytes(ANSWER_MAX).await;
        if !status.is_success() {
            return Err(SendError::Status { status, retry_after });
        }
        let response = ExportResponse::decode(said?)?;
        Ok(response.partial_success.unwrap_or_default())
    }

    /// Says why not all is as it should be, but not all the time.
    fn complain(&mut self, why: &dyn Display) {
        if self.complained.is_some_and(|then| then.elapsed() < QUIET) {
            return;
        }
        self.complained = Some(Instant::now());
        let (sent, lost) = self.traces.counts();
        tracing::warn!(to = self.traces.config.to, sent, lost, "traces are not taken: {why}");
    }
}

impl SendError {
    /// Whether the same batch may be taken the next time
    /// (<https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes>).
    fn is_passing(&self) -> bool {
        match self {
            SendError::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            SendError::Client(error) => {
                matches!(error, ClientError::Http { .. } | ClientError::TimedOut { .. })
            }
            // It has been taken, or not; that is not known.
            SendError::Read(_) | SendError::Decode(_) => false,
        }
    }

    /// What the collector wants, but not less than `own`, of which a part is left out at random.
    fn pause(&self, own: Duration) -> Duration {
        let [random, ..] = SpanId::random().to_bytes();
        let own = own.mul_f64(1.0 - f64::from(random) / 512.0);
        match self {
            SendError::Status { retry_after: Some(wanted), .. } => {
                (*wanted).max(own).min(PAUSE_MAX)
            }
            _ => own,
        }
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

fn message(service: &str, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let scope = Scope { name: "staunch-gateway".to_owned(), version };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.to_vec() }];
    let resource = Resource { attributes: vec![KeyValue::text("service.name", service)] };
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans }];
    ExportRequest { resource_spans }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<&'static str>) -> SendError {
        let headers =
            retry_after.map(|it| (RETRY_AFTER, it.parse().unwrap())).into_iter().collect();
        let status = StatusCode::from_u16(status).unwrap();
        SendError::Status { status, retry_after: super::retry_after(&headers) }
    }

    #[test]
    fn what_may_pass_is_waited_for_as_long_as_the_collector_wants() {
        for passing in [429, 502, 503, 504] {
            assert!(status(passing, None).is_passing());
        }
        for lasting in [400, 401, 404, 413, 500, 501] {
            assert!(!status(lasting, None).is_passing());
        }
        let own = status(503, None).pause(PAUSE);
        assert!(own <= PAUSE && own >= PAUSE / 2, "{own:?}");
        assert_eq!(status(503, Some("7")).pause(PAUSE), Duration::from_secs(7));
        assert!(status(503, Some("0")).pause(PAUSE) >= PAUSE / 2);
        assert_eq!(status(503, Some("86400")).pause(PAUSE), PAUSE_MAX);
        assert!(status(503, Some("Sun, 06 Nov 1994 08:49:37 GMT")).pause(PAUSE) <= PAUSE);
        assert!(status(503, Some("nonsense")).pause(PAUSE) <= PAUSE);
    }
}
