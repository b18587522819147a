//! What to say of text that is no TOML, and what to leave out so that the rest can be read.

use toml::de::{DeTable, DeValue, Error};

use super::mistakes::holds_secret;
use super::suggest::shown;
use super::syntax::is_duplicate;
use super::{Source, Span};

/// The first place where a text is no TOML.
pub(super) struct Broken {
    pub(super) message: String,
    /// `None` if the parser does not say where.
    pub(super) place: Option<Place>,
}

pub(super) struct Place {
    pub(super) span: Span,
    /// The lines to leave out.
    pub(super) lines: Span,
}

impl Broken {
    /// `table` is what the parser made of the text in spite of `errors`.
    pub(super) fn first(
        errors: &[Error],
        table: &DeTable<'_>,
        source: &Source<'_>,
    ) -> Option<Self> {
        let broken = errors.iter().filter(|error| !is_duplicate(error));
        let first = broken.min_by_key(|error| start(error))?;
        let Some(span) = first.span() else {
            return Some(Self { message: first.message().to_owned(), place: None });
        };
        let header_or_key = || Self::new(first.message(), &span, lines_below(span.start, source));
        let Some(value) = value_around(table, span.start) else { return Some(header_or_key()) };
        let first_line = source.line_span(value.start);
        if is_header(&first_line, source) {
            return Some(header_or_key());
        }
        let written = source.text.get(value.clone()).unwrap_or_default();
        Some(match Flaw::of(written, errors.iter().any(|error| start(error) == value.end)) {
            Flaw::Missing => Self::new("a value is missing after `=`", &value, first_line),
            Flaw::Unquoted => Self::new(unquoted(written), &value, first_line),
            // The parser took everything below for a part of it.
            Flaw::Unclosed => Self::new(
                "this value is not closed: its last quote or bracket is missing",
                &(value.start..first_line.end),
                first_line,
            ),
            Flaw::Inside => {
                let lines = first_line.start..source.line_span(value.end).end;
                Self::new(first.message(), &span, lines)
            }
        })
    }

    fn new(message: impl Into<String>, span: &Span, lines: Span) -> Self {
        Self { message: message.into(), place: Some(Place { span: span.clone(), lines }) }
    }
}

/// What is wrong with a value.
enum Flaw {
    Missing,
    Unquoted,
    Unclosed,
    Inside,
}

impl Flaw {
    /// `ends_in_error`: the parser missed something right behind the value.
    fn of(written: &str, ends_in_error: bool) -> Self {
        let closer = match written.chars().next() {
            None => return Self::Missing,
            Some('[') => ']',
            Some('{') => '}',
            Some(quote @ ('"' | '\'')) => quote,
            Some(_) => return Self::Unquoted,
        };
        let seems_closed = written.len() > 1 && written.trim_end().ends_with(closer);
        // A list without an end runs on to the end of the file, where anything may stand.
        let runs_on = ends_in_error && written.contains('\n');
        if seems_closed && !runs_on { Self::Inside } else { Self::Unclosed }
    }
}

fn unquoted(written: &str) -> String {
    if holds_secret(written) {
        return "this is neither a number nor true or false; a text needs quotes".to_owned();
    }
    let written = shown(written);
    format!("`{written}` is neither a number nor true or false; a text needs quotes: \"{written}\"")
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn is_header(line: &Span, source: &Source<'_>) -> bool {
    source.text[line.clone()].trim_start().starts_with('[')
}

/// The line at `offset`. If it is the header of a table, all lines of the table: its keys would
/// be taken for those of the table above.
fn lines_below(offset: usize, source: &Source<'_>) -> Span {
    let mut lines = source.line_span(offset);
    if is_header(&lines, source) {
        while lines.end < source.text.len() {
            let next = source.line_span(lines.end + 1);
            if is_header(&next, source) {
                break;
            }
            lines.end = next.end;
        }
    }
    lines
}

/// Where the value that `offset` lies in is written, the outermost if they are nested.
fn value_around(table: &DeTable<'_>, offset: usize) -> Option<Span> {
    table.values().find_map(|value| {
        let span = value.span();
        match value.get_ref() {
            // The parser gives a value that it could not find the place 0..0.
            _ if span.end > 0 && span.start <= offset && offset <= span.end => Some(span),
            DeValue::Table(inner) => value_around(inner, offset),
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|inner| value_around(inner, offset)),
            _ => None,
        }
    })
}
