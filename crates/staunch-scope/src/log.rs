//! What the log lines of a task carry.

use staunch_ledger::EntryId;

use crate::{frame, trace::TraceId};

/// Says what the running task serves: log lines of the task then carry this entry's id.
pub fn serve_subject(subject: EntryId) {
    frame::with_current(|frame| frame.set_subject(subject));
}

/// What a log line of the running task carries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogFields {
    /// The trace id: the context's, or one derived from the connection.
    pub trace: TraceId,
    /// The entry that the task serves, for instance its connection.
    pub subject: Option<EntryId>,
}

/// The fields for a log line, if a task of a scope is running.
pub fn log_fields() -> Option<LogFields> {
    frame::with_current(|frame| {
        let subject = frame.subject();
        let trace = match subject {
            Some(subject) => TraceId::derived(subject.number()),
            None => frame.members().context().trace_id(),
        };
        LogFields { trace, subject }
    })
}
