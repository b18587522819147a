//! What is wrong with a configuration: every mistake of one run, each with its place.

use std::fmt;

/// Every mistake found in one configuration, by position.
///
/// `{}` gives one line a mistake; `{:#}` adds the source line with a caret under the spot.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    left_out: usize,
}

/// One mistake: where it is, which key it is about, what is wrong and what would be right.
///
/// `{}` gives one line, `{:#}` adds the source line with a caret under the spot.
#[derive(Clone, Debug)]
pub struct ConfigError {
    pub(crate) file: String,
    pub(crate) position: Option<Position>,
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) excerpt: Option<Excerpt>,
}

/// A place in a text. Both count from 1; a column is a character, not a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// The part of a source line that an error shows, and what of it is underlined.
#[derive(Clone, Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// How many characters stand before the caret.
    pub(crate) indent: usize,
    pub(crate) width: usize,
}

impl ConfigErrors {
    /// `left_out` mistakes were found beyond those in `errors`.
    pub(crate) fn new(mut errors: Vec<ConfigError>, left_out: usize) -> Self {
        errors.sort_by_key(|error| error.position);
        Self { errors, left_out }
    }

    /// The mistakes, by position.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }

    /// How many more there are than [`iter`](Self::iter) gives: only the first hundred are kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        match self.left_out {
            0 => Ok(()),
            left_out => write!(f, "\nand {left_out} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigError {
    /// A mistake about the file as a whole.
    pub(crate) fn about_file(file: String, message: String) -> Self {
        Self { file, position: None, key: String::new(), message, excerpt: None }
    }

    /// The name of the file, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the mistake is; `None` when it is about the file as a whole.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The path of the key, such as `listener[0].limits.idle`; empty when no key is to blame.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and what would be right.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
            }
            None => write!(f, "{}: {}", self.file, self.message)?,
        }
        match (f.alternate(), self.position, &self.excerpt) {
            (true, Some(position), Some(excerpt)) => excerpt.fmt_below(position.line, f),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Excerpt {
    fn fmt_below(&self, line: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = line.to_string();
        let gutter = line.len();
        writeln!(f, "\n {:gutter$} |", "")?;
        writeln!(f, " {line} | {}", self.text)?;
        write!(f, " {:gutter$} | {:indent$}", "", "", indent = self.indent)?;
        write!(f, "{:^<width$}", "", width = self.width)
    }
}
