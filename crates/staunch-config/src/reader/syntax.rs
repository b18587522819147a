//! From text to table, past broken lines.
//!
//! The TOML parser recovers from some mistakes but gives up on the rest of the file at others,
//! and one mistake may be followed by a dozen that it caused. So mistakes are taken one at a
//! time: the first [broken](super::broken) place is reported, its lines are overwritten with
//! spaces (which keeps every other byte where it is), and the text is parsed again.
//!
//! Duplicate keys are reported too, but need no mending: the parser keeps the first.

use toml::de::{DeTable, DeValue, Error};

use super::broken::Broken;
use super::suggest::shown;
use super::{Mistakes, Span};

/// How many broken places are reported before the rest of the file is left unread. Each costs
/// one more parse of the text.
const BROKEN_MAX: usize = 20;
/// With more errors than this the text is no configuration: one is enough to say so.
const ERRORS_MAX: usize = 10_000;

/// Parses the text of `mistakes` and calls `read` with the table; `None` if so much is broken
/// that reading the rest would only mislead.
pub(super) fn with_table<T>(
    mistakes: &Mistakes<'_>,
    read: impl FnOnce(&DeTable<'_>) -> T,
) -> Option<T> {
    let mut text = mistakes.source().text.to_owned();
    for _ in 0..BROKEN_MAX {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let table = table.get_ref();
        let Some(broken) = Broken::first(&errors, table, mistakes.source()) else {
            for duplicate in errors.iter().filter(|error| is_duplicate(error)) {
                report_duplicate(duplicate, table, mistakes);
            }
            return Some(read(table));
        };
        mistakes.mark_partial();
        let Some(place) = broken.place else {
            mistakes.add_without_place(broken.message);
            return None;
        };
        mistakes.add(&place.span, "", broken.message);
        let is_garbage = errors.len() > ERRORS_MAX;
        if is_garbage || !blank(&mut text, &place.lines) {
            return None;
        }
    }
    None
}

/// Whether the table is right but for a key that it has already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key" && error.span().is_some()
}

/// Overwrites everything in `span` but line ends with spaces; false if nothing was there.
fn blank(text: &mut String, span: &Span) -> bool {
    let old = &text[span.clone()];
    let had_content = !old.trim().is_empty();
    let blanks = |c: char| if matches!(c, '\n' | '\r') { (c, 1) } else { (' ', c.len_utf8()) };
    let new: String =
        old.chars().map(blanks).flat_map(|(c, times)| std::iter::repeat_n(c, times)).collect();
    text.replace_range(span.clone(), &new);
    had_content
}

fn report_duplicate(error: &Error, table: &DeTable<'_>, mistakes: &Mistakes<'_>) {
    let source = mistakes.source();
    let span = error.span().unwrap_or_default();
    let key = source.text.get(span.clone()).unwrap_or_default();
    let name = shown(key);
    let line = source.line_at(span.start).trim_start();
    let message = if line.starts_with("[[") {
        format!("`{name}` is written otherwise above: each one needs [[{name}]]")
    } else if line.starts_with('[') {
        format!("table `{name}` is written twice: join the two")
    } else {
        let first = last_key_before(table, key, span.start);
        let place = first.map(|first| format!(" on line {}", source.position(first).line));
        format!("duplicate key `{name}`: it is there already{}", place.unwrap_or_default())
    };
    mistakes.add(&span, key, message);
}

/// The last key called `name` before `offset`: as a table is written in one piece, the same key
/// of the same table.
fn last_key_before(table: &DeTable<'_>, name: &str, offset: usize) -> Option<usize> {
    let inner = |value: &DeValue<'_>| match value {
        DeValue::Table(inner) => last_key_before(inner, name, offset),
        DeValue::Array(items) => items
            .iter()
            .filter_map(|item| item.get_ref().as_table())
            .filter_map(|inner| last_key_before(inner, name, offset))
            .max(),
        _ => None,
    };
    table
        .iter()
        .flat_map(|(key, value)| {
            let here = (key.get_ref() == name).then(|| key.span().start);
            [here, inner(value.get_ref())]
        })
        .flatten()
        .filter(|start| *start < offset)
        .max()
}
