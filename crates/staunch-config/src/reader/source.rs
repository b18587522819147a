//! The text being read: its name, and where in it a byte stands.

use std::path::{Path, PathBuf};

use super::Span;
use crate::error::{Excerpt, Position};

/// How many characters of a long line an error shows.
const EXCERPT_CHARS: usize = 100;
/// How many of them stand before the caret at most.
const EXCERPT_LEAD: usize = 60;

/// A text with its name and the folder its relative paths start from.
pub(crate) struct Source<'t> {
    pub(crate) name: &'t str,
    pub(crate) text: &'t str,
    folder: &'t Path,
    /// The byte each line starts at.
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(name: &'t str, folder: &'t Path, text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { name, text, folder, line_starts }
    }

    /// The path that `written` means in this file.
    pub(crate) fn resolve(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// What its relative paths are resolved against.
    pub(crate) fn folder(&self) -> &'t Path {
        self.folder
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.line_index(offset);
        let end = self.text.floor_char_boundary(offset);
        let before = self.text.get(self.line_starts[line]..end).unwrap_or_default();
        Position { line: line + 1, column: before.chars().count() + 1 }
    }

    /// The bytes of the line that `offset` stands in, without its end.
    pub(crate) fn line_span(&self, offset: usize) -> Span {
        let line = self.line_index(offset);
        let start = self.line_starts[line];
        let end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        start..end
    }

    pub(crate) fn line_at(&self, offset: usize) -> &'t str {
        self.text[self.line_span(offset)].trim_end_matches('\r')
    }

    /// The line around `span` with the part to underline, clipped when it is long.
    pub(crate) fn excerpt(&self, span: &Span) -> Excerpt {
        let line = self.line_at(span.start);
        let column = self.position(span.start).column - 1;
        let marked = self.text.get(span.clone()).and_then(|text| text.lines().next());
        let skipped = column.saturating_sub(EXCERPT_LEAD);
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let text: String = line.chars().skip(skipped).take(EXCERPT_CHARS).map(printable).collect();
        let indent = column - skipped;
        let room = text.chars().count().saturating_sub(indent).max(1);
        let width = marked.map_or(1, |text| text.chars().count()).clamp(1, room);
        Excerpt { text, indent, width }
    }

    fn line_index(&self, offset: usize) -> usize {
        // The first line starts at 0, so at least one start is not after any offset.
        self.line_starts.partition_point(|start| *start <= offset) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, offset: usize, line: usize, column: usize) {
        let source = Source::new("t", Path::new(""), text);
        assert_eq!(source.position(offset), Position { line, column }, "{text:?} at {offset}");
    }

    #[test]
    fn positions_count_characters_from_one() {
        check("", 0, 1, 1);
        check("ab", 1, 1, 2);
        check("ab\ncd", 2, 1, 3);
        check("ab\ncd", 3, 2, 1);
        check("é = 1", 3, 1, 3);
        check("日本\n語x", 10, 2, 2);
        check("a\n", 2, 2, 1);
        check("a", 99, 1, 2);
    }

    #[test]
    fn long_lines_are_clipped_around_the_spot() {
        let text = format!("{}x = 1{}", " ".repeat(500), "y".repeat(500));
        let source = Source::new("t", Path::new(""), &text);
        let excerpt = source.excerpt(&(500..501));
        assert_eq!(excerpt.text.chars().count(), EXCERPT_CHARS);
        assert_eq!(excerpt.text.chars().nth(excerpt.indent), Some('x'));
        assert_eq!(excerpt.width, 1);
    }
}
