//! The access log: a line for each request, and each connection of a `tcp` listener, once it has
//! ended.
//!
//! An [`Entry`] goes with a request. When it is dropped, at the end or because the client has left,
//! its line goes to the lane of its core: memory with a bound, which no other core asks for. One
//! thread ([`writer`]) empties the lanes. The span of a request ([`crate::traces`]) is made of its
//! entry, too.
//!
//! **Invariant.** Whoever serves never waits for whoever reads the log: what finds no room is lost,
//! and counted.

mod entry;
mod file;
mod line;
mod logged;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use staunch_config::AccessLog as AccessLogConfig;

use self::file::Out;
pub(crate) use self::{
    entry::{Asking, End, Entry, Slot},
    logged::{Logged, log_refused},
    writer::keep_written,
};
use crate::{reports::Reports, traces::Traces};

/// The access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the access log {}: {error}; name another file in `to` of [access_log], or \"none\"",
    path.display()
)]
pub struct AccessLogError {
    path: PathBuf,
    error: io::Error,
}

/// What cores hand over, and the thread that writes takes.
#[derive(Debug)]
pub(crate) struct AccessLog {
    config: AccessLogConfig,
    lanes: Box<[Lane]>,
    out: Mutex<Out>,
    written: AtomicU64,
    lost: AtomicU64,
}

/// What one core hands over.
#[derive(Debug, Default)]
struct Lane {
    /// Whole ones.
    lines: Mutex<Vec<u8>>,
    /// Requests that went well, of which some are written.
    well: AtomicU64,
}

/// Where the entries of a listener on one core go.
#[derive(Debug)]
pub(crate) struct Source {
    reports: Reports,
    lane: usize,
    listener: String,
    is_secure: bool,
}

impl AccessLog {
    /// For so many cores. Opens its file.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn open(config: &AccessLogConfig, cores: usize) -> Result<Self, AccessLogError> {
        let lanes = (0..cores.max(1)).map(|_| Lane::default()).collect();
        let out = Mutex::new(Out::open(&config.to)?);
        let [written, lost] = [0; 2].map(AtomicU64::new);
        Ok(AccessLog { config: config.clone(), lanes, out, written, lost })
    }

    /// Whether its file can be written, as far as that is seen without opening it.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn check(config: &AccessLogConfig) -> Result<(), AccessLogError> {
        Out::check(&config.to)
    }

    /// Lines that were written, and lines that were lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// Adds the line of an entry, if it is one to be written.
    fn take(&self, lane: usize, entry: &Entry) {
        let Some(lane) = self.lanes.get(lane) else { return };
        if entry.went_well() {
            let before = lane.well.fetch_add(1, Ordering::Relaxed);
            if !before.is_multiple_of(self.config.one_in.get() as u64) {
                return;
            }
        }
        let most = self.config.buffer.get() / self.lanes.len();
        let mut lines = lane.lines();
        let before = lines.len();
        line::write(&mut lines, entry, &self.config);
        if lines.len() > most {
            lines.truncate(before);
            drop(lines);
            self.lose(1);
        }
    }

    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Lane {
    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    pub(crate) fn new(reports: Reports, lane: usize, listener: &str, is_secure: bool) -> Source {
        Source { reports, lane, listener: listener.to_owned(), is_secure }
    }

    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.reports.traces.as_deref()
    }

    /// Headers of requests that are logged as well.
    fn headers(&self) -> &[String] {
        self.reports.log.as_ref().map_or(&[], |log| &log.config.headers)
    }

    /// Adds what is told of an entry, if anything is.
    fn take(&self, entry: &Entry) {
        if let Some(log) = &self.reports.log {
            log.take(self.lane, entry);
        }
        if let Some(traces) = &self.reports.traces {
            traces.take(self.lane, entry);
        }
    }
}
