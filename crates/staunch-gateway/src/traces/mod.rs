//! Traces: what a request's server is told of its trace ([`Part`]), and a span of each request that
//! is sampled, for a collector that speaks OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! The span of a request is made when its [`Entry`] is dropped, and goes to the lane of its core,
//! as a line of the access log does. One task ([`sender`]) empties the lanes.
//!
//! **Invariant.** Whoever serves never waits for a collector: a span that finds no room is lost,
//! and counted.

mod headers;
mod otlp;
mod part;
mod sender;
mod span;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use staunch_config::Traces as TracesConfig;
use staunch_net::{LoadTlsError, TlsTrust};
use tokio::sync::Notify;

pub use self::headers::TraceHeadersError;
use self::{headers::Header, otlp::Span};
pub(crate) use self::{part::Part, sender::keep_sent, span::Begun};
use crate::access::Entry;

/// Spans cannot be sent as the configuration says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The headers for the collector cannot be used.
    #[error(transparent)]
    Headers(#[from] TraceHeadersError),
    /// Whom to trust cannot be read.
    #[error("cannot use `ca` of [traces]: {0}")]
    Trust(#[from] LoadTlsError),
}

/// What cores hand over, and the task that sends takes.
#[derive(Debug)]
pub(crate) struct Traces {
    config: TracesConfig,
    headers: Vec<Header>,
    trust: Option<TlsTrust>,
    lanes: Box<[Mutex<VecDeque<Span>>]>,
    /// Spans that a lane has room for.
    room: usize,
    /// There is enough to be sent.
    is_enough: Notify,
    sent: AtomicU64,
    lost: AtomicU64,
}

/// Spans that are sent at a time: as OpenTelemetry's own batches.
const BATCH: usize = 512;

/// By whoever takes spans.
const SPOKEN: &[&str] = &["h2", "http/1.1"];

impl Traces {
    /// For so many cores. Reads the files that `config` names, and so blocks for a moment.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) fn open(config: &TracesConfig, cores: usize) -> Result<Traces, TracesError> {
        let headers = config.headers_file.as_deref().map(headers::read).transpose()?;
        let trust = config.ca.as_ref().map(|ca| TlsTrust::load(ca, SPOKEN)).transpose()?;
        let [sent, lost] = [0; 2].map(AtomicU64::new);
        Ok(Traces {
            config: config.clone(),
            headers: headers.unwrap_or_default(),
            trust,
            lanes: (0..cores.max(1)).map(|_| Mutex::default()).collect(),
            room: (config.buffer.get() / cores.max(1)).max(1),
            is_enough: Notify::new(),
            sent,
            lost,
        })
    }

    /// Whether the files that it needs can be used: also the system's roots, which are read when the first
    /// span is sent.
    pub(crate) fn check(config: &TracesConfig) -> Result<(), TracesError> {
        Traces::open(config, 1)?;
        if config.ca.is_none() && config.to.starts_with("https://") {
            TlsTrust::system(SPOKEN)?;
        }
        Ok(())
    }

    pub(crate) fn config(&self) -> &TracesConfig {
        &self.config
    }

    /// Spans that a collector has taken, and spans that were lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// Adds the span of an entry, if it has one.
    pub(crate) fn take(&self, lane: usize, entry: &Entry) {
        let Some(lane) = self.lanes.get(lane).filter(|_| entry.span().is_some()) else { return };
        let mut spans = locked(lane);
        if spans.len() >= self.room {
            drop(spans);
            return self.lose(1);
        }
        spans.extend(span::of(entry));
        // Half of a lane's room is left for what comes until it is empty.
        if spans.len() == (self.room / 2).clamp(1, BATCH) {
            self.is_enough.notify_one();
        }
    }

    /// The spans that have waited for the longest in their lanes; those of another lane first at
    /// each turn.
    fn batch(&self, turn: usize) -> Vec<Span> {
        let mut batch = Vec::new();
        let lanes = self.lanes.len();
        for lane in self.lanes.iter().cycle().skip(turn % lanes).take(lanes) {
            let mut spans = locked(lane);
            let most = spans.len().min(BATCH - batch.len());
            batch.extend(spans.drain(..most));
        }
        batch
    }

    fn lose(&self, spans: u64) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
    }
}

fn locked(lane: &Mutex<VecDeque<Span>>) -> MutexGuard<'_, VecDeque<Span>> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}
