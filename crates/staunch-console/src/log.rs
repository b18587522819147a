//! Log lines on standard error, each with the trace and the connection it belongs to.
//!
//! A line of a task carries `trace`, the trace id of the task's context, and `conn`, the entry of
//! the connection that the task serves ([`staunch_scope::log_fields`]). Both are looked up when
//! the line is made, so no span has to be entered, and a million idle connections hold nothing
//! for their log lines. `conn` is the `id` that `/debug/ledger` shows.
//!
//! Logging never waits for whoever reads standard error. A line goes into a queue of at most
//! 1 MiB, and a thread writes from there; while the queue is full lines are lost, and a line
//! says how many. The [`LogGuard`] writes what is left when it is dropped, for at most a second.
//!
//! The queue and its thread are not on the ledger: they serve the ledger's last report too.

mod line;
mod queue;

use std::io::{self, IsTerminal};

use tracing::{Subscriber, dispatcher::SetGlobalDefaultError};
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format, format::JsonFields},
};

use self::{line::WithIds, queue::Queue};

pub use self::queue::LogGuard;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colour on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitLogError {
    /// The filter is not one.
    #[error(
        "`{filter}` is no log filter: {source}; write a level such as `info`, or directives such as `info,staunch_net=debug`"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set up logging in this process.
    #[error("logging is set up already: call this once, before anything else does")]
    AlreadySet(SetGlobalDefaultError),
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(io::Error),
}

/// Sets up logging for the process: what `filter` lets through, in `format`, to standard error.
///
/// `filter` is a level or a list of directives, as [`EnvFilter`] takes them.
///
/// # Errors
/// [`InitLogError`].
///
/// # Examples
/// ```no_run
/// use staunch_console::log::{self, LogFormat};
/// let _log = log::init(LogFormat::Text, "info,staunch_net=debug")?;
/// tracing::info!("started");
/// # Ok::<(), log::InitLogError>(())
/// ```
pub fn init(format: LogFormat, filter: &str) -> Result<LogGuard, InitLogError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| InitLogError::Filter { filter: filter.to_owned(), source })?;
    let guard = LogGuard::start(Queue::new(format), io::stderr()).map_err(InitLogError::Thread)?;
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|unset| unset.is_empty());
    let subscriber = subscriber(format, filter, colour, guard.writer());
    tracing::subscriber::set_global_default(subscriber).map_err(InitLogError::AlreadySet)?;
    Ok(guard)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => {
            Box::new(lines.event_format(WithIds::text(format::format().with_ansi(colour))).finish())
        }
        LogFormat::Json => Box::new(
            lines
                .fmt_fields(JsonFields::new())
                .event_format(WithIds::json(format::json()))
                .finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use staunch_scope::{BoxError, Context, scope, serve_subject};

    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs, in a task that serves a connection.
    fn logged(format: LogFormat, work: impl Fn() + Send + 'static) -> (String, String) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, EnvFilter::new("info"), false, move || writer.clone());
        let _default = tracing::subscriber::set_default(subscriber);
        let conn = staunch_scope::testing::run(async move {
            let ended = scope(&Context::background(), |s| async move {
                let task = s.fork(async move {
                    let task = staunch_scope::current_task().ok_or("no task")?;
                    serve_subject(task);
                    work();
                    Ok::<_, BoxError>(task.to_string())
                });
                Ok(task.join().await?)
            });
            ended.await.unwrap()
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (text, conn)
    }

    #[test]
    fn a_text_line_ends_with_trace_and_connection() {
        let (text, conn) = logged(LogFormat::Text, || tracing::info!(bytes = 7, "two\nlines"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r" INFO staunch_console::log::tests: two\nlines bytes=7 trace="));
        assert!(text.ends_with(&format!(" conn={conn}\n")), "{text}");
    }

    #[test]
    fn a_json_line_has_trace_and_connection_beside_its_fields() {
        let (text, conn) =
            logged(LogFormat::Json, || tracing::warn!(conn = "another", "two\nlines"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["fields"]["message"], "two\nlines");
        assert_eq!(line["fields"]["conn"], "another");
        assert_eq!(line["conn"], conn.as_str());
        assert_eq!(line["trace"].as_str().unwrap().len(), 32);
    }

    #[test]
    fn a_line_outside_of_tasks_carries_neither() {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::new("info");
        let subscriber = subscriber(LogFormat::Text, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("started");
            tracing::debug!("not let through");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("INFO staunch_console::log::tests: started\n"), "{text}");
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let error = init(LogFormat::Text, "info,x=loud").unwrap_err();
        assert!(error.to_string().starts_with("`info,x=loud` is no log filter"), "{error}");
    }
}
