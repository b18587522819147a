//! Changes of lines, and the unified diff that makes them.

use std::fmt::Write as _;

/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// So many lines are taken away from a line on, and these put in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// The first line that is taken away, or before which lines are put; the first of a file is 1.
    line: usize,
    removed: usize,
    added: Vec<String>,
}

impl Edit {
    pub(super) fn before(line: u32, added: impl Into<String>) -> Edit {
        Edit { line: line as usize, removed: 0, added: vec![added.into()] }
    }

    pub(super) fn behind(line: u32, added: impl Into<String>) -> Edit {
        Edit::before(line + 1, added)
    }

    pub(super) fn remove(first: u32, last: u32) -> Edit {
        Edit::replace(first, last, Vec::new())
    }

    pub(super) fn replace(first: u32, last: u32, added: Vec<String>) -> Edit {
        let removed = (last + 1).saturating_sub(first) as usize;
        Edit { line: first as usize, removed, added }
    }

    fn end(&self) -> usize {
        self.line + self.removed
    }
}

/// A text with changes that fit into it and do not meet.
pub(super) struct Change<'t> {
    lines: Vec<&'t str>,
    edits: Vec<Edit>,
    ending: &'static str,
}

impl<'t> Change<'t> {
    /// `None` if there is no change, or changes overlap or lie outside of the text.
    pub(super) fn new(text: &'t str, mut edits: Vec<Edit>) -> Option<Change<'t>> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        edits.sort_by_key(|edit| (edit.line, edit.removed));
        let apart = edits.windows(2).all(|pair| pair[0].end() <= pair[1].line);
        let inside = edits.iter().all(|edit| edit.line >= 1 && edit.end() <= lines.len() + 1);
        // What is put behind a last line that has no end would be put into it.
        let is_whole = text.ends_with('\n') || edits.iter().all(|edit| edit.end() <= lines.len());
        let ending = if lines.first()?.ends_with("\r\n") { "\r\n" } else { "\n" };
        (apart && inside && is_whole && !edits.is_empty()).then_some(Change {
            lines,
            edits,
            ending,
        })
    }

    /// The text with the changes.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut next = 1;
        for edit in &self.edits {
            text.extend(self.lines[next - 1..edit.line - 1].iter().copied());
            for line in &edit.added {
                text.push_str(line);
                text.push_str(self.ending);
            }
            next = edit.end();
        }
        text.extend(self.lines[next - 1..].iter().copied());
        text
    }

    /// A unified diff of the file `name`, for `patch -p1` and `git apply` in the folder below which
    /// it is.
    pub(super) fn diff(&self, name: &str) -> String {
        let mut diff = format!("--- a/{name}\n+++ b/{name}\n");
        let mut shift = 0_isize;
        for hunk in self.hunks() {
            shift += self.hunk(&mut diff, hunk, shift);
        }
        diff
    }

    /// Changes whose lines around them meet are in one.
    fn hunks(&self) -> impl Iterator<Item = &[Edit]> {
        self.edits.chunk_by(|one, next| next.line <= one.end() + 2 * CONTEXT)
    }

    /// Writes a hunk; by how many lines what is behind it moves.
    fn hunk(&self, diff: &mut String, edits: &[Edit], shift: isize) -> isize {
        let (Some(first), Some(last)) = (edits.first(), edits.last()) else { return 0 };
        let start = first.line.saturating_sub(CONTEXT).max(1);
        let end = (last.end() + CONTEXT).min(self.lines.len() + 1);
        let old = end - start;
        let (removed, added) = edits.iter().fold((0, 0), |(removed, added), edit| {
            (removed + edit.removed, added + edit.added.len())
        });
        let moved = added.cast_signed() - removed.cast_signed();
        let new = old - removed + added;
        let to = start.saturating_add_signed(shift);
        let _ = writeln!(diff, "@@ -{start},{old} +{to},{new} @@");
        let mut next = start;
        for edit in edits {
            self.old_lines(diff, ' ', next, edit.line);
            self.old_lines(diff, '-', edit.line, edit.end());
            for line in &edit.added {
                let _ = write!(diff, "+{line}{}", self.ending);
            }
            next = edit.end();
        }
        self.old_lines(diff, ' ', next, end);
        moved
    }

    fn old_lines(&self, diff: &mut String, sign: char, from: usize, to: usize) {
        for line in &self.lines[from - 1..to - 1] {
            diff.push(sign);
            diff.push_str(line);
            if !line.ends_with('\n') {
                diff.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n";

    fn change(edits: &[Edit]) -> Option<Change<'static>> {
        Change::new(TEXT, edits.to_vec())
    }

    #[test]
    fn changes_far_from_each_other_are_hunks_of_their_own() {
        let edits = [Edit::behind(2, "new"), Edit::remove(12, 12)];
        let change = change(&edits).unwrap();
        assert_eq!(change.text(), TEXT.replace("3\n4", "new\n3\n4").replace("12\n", ""));
        let expected = "--- a/x/a.go\n+++ b/x/a.go\n@@ -1,5 +1,6 @@\n 1\n 2\n+new\n 3\n 4\n 5\n\
                        @@ -9,6 +10,5 @@\n 9\n 10\n 11\n-12\n 13\n 14\n";
        assert_eq!(change.diff("x/a.go"), expected);
    }

    #[test]
    fn changes_near_each_other_are_one_hunk() {
        let edits = [Edit::before(5, "new"), Edit::replace(7, 8, vec!["a".to_owned()])];
        let diff = change(&edits).unwrap().diff("a");
        assert!(
            diff.contains("@@ -2,10 +2,10 @@\n 2\n 3\n 4\n+new\n 5\n 6\n-7\n-8\n+a\n 9\n"),
            "{diff}"
        );
    }

    #[test]
    fn changes_that_meet_or_lie_outside_are_refused() {
        assert!(change(&[]).is_none());
        assert!(change(&[Edit::remove(3, 5), Edit::remove(5, 6)]).is_none());
        assert!(change(&[Edit::remove(14, 15)]).is_none());
        assert!(change(&[Edit::before(0, "x")]).is_none());
        assert!(change(&[Edit::behind(14, "x")]).is_some());
        assert!(Change::new("no end", vec![Edit::behind(1, "x")]).is_none());
    }

    #[test]
    fn ends_of_lines_stay_as_they_are() {
        let change = Change::new("a\r\nb\r\nc", vec![Edit::behind(1, "x")]).unwrap();
        assert_eq!(change.text(), "a\r\nx\r\nb\r\nc");
        let expected = "@@ -1,3 +1,4 @@\n a\r\n+x\r\n b\r\n c\n\\ No newline at end of file\n";
        assert!(change.diff("a").ends_with(expected), "{}", change.diff("a"));
    }
}
