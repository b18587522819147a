//! A line of another format, with the ids of the running task at its end.

use std::fmt;

use staunch_scope::log_fields;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Wraps the formatter of a line.
pub(super) struct WithIds<F> {
    line: F,
    style: Style,
}

/// How ids are put at the end of a line.
#[derive(Clone, Copy)]
enum Style {
    /// ` name=value`. Line breaks within are escaped, so that each line has its ids.
    Text,
    /// As the last members of the object.
    Json,
}

impl<F> WithIds<F> {
    pub(super) fn text(line: F) -> WithIds<F> {
        WithIds { line, style: Style::Text }
    }

    pub(super) fn json(line: F) -> WithIds<F> {
        WithIds { line, style: Style::Json }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match self.style {
            Style::Text => {
                writer.write_str(&line.replace('\n', "\\n"))?;
                write_ids(&mut writer, |name, id| format!(" {name}={id}"))?;
            }
            Style::Json => {
                writer.write_str(line.strip_suffix('}').unwrap_or(line))?;
                write_ids(&mut writer, |name, id| format!(",\"{name}\":\"{id}\""))?;
                writer.write_char('}')?;
            }
        }
        writer.write_char('\n')
    }
}

/// Neither id has a character that would need an escape.
fn write_ids(
    writer: &mut Writer<'_>,
    member: impl Fn(&str, &dyn fmt::Display) -> String,
) -> fmt::Result {
    let Some(fields) = log_fields() else { return Ok(()) };
    writer.write_str(&member("trace", &fields.trace))?;
    match fields.subject {
        Some(connection) => writer.write_str(&member("conn", &connection)),
        None => Ok(()),
    }
}
