//! Where every part of the reader reports what is wrong.

use std::cell::{Cell, RefCell};

use super::suggest::nearest;
use super::{Source, Span};
use crate::error::{ConfigError, ConfigErrors};

/// How many mistakes are kept. Nobody reads more, and a hostile file holds a hundred thousand.
const MISTAKES_MAX: usize = 100;

/// The mistakes found so far, and the text they are about.
///
/// Nested sections report while their parents are borrowed, hence the interior mutability.
pub(crate) struct Mistakes<'t> {
    source: Source<'t>,
    found: RefCell<Vec<ConfigError>>,
    left_out: Cell<usize>,
    /// A part of the text was left out: what seems to be missing may stand in it.
    partial: Cell<bool>,
}

impl<'t> Mistakes<'t> {
    pub(crate) fn new(source: Source<'t>) -> Self {
        Self {
            source,
            found: RefCell::default(),
            left_out: Cell::new(0),
            partial: Cell::new(false),
        }
    }

    pub(crate) fn source(&self) -> &Source<'t> {
        &self.source
    }

    /// Reports something wrong at `span`. `key` is the path of the key, if one is to blame.
    pub(crate) fn add(&self, span: &Span, key: &str, message: String) {
        self.push(|source| {
            let is_secret = is_secret(source.line_at(span.start));
            ConfigError {
                excerpt: (!is_secret).then(|| source.excerpt(span)),
                ..error_at(source, span, key, message)
            }
        });
    }

    /// The same, but the line is never shown.
    pub(crate) fn add_unshown(&self, span: &Span, key: &str, message: String) {
        self.push(|source| error_at(source, span, key, message));
    }

    /// Reports something missing in the table at `span`, unless it may have been left out.
    pub(crate) fn add_missing(&self, span: &Span, key: &str, message: String) {
        if !self.partial.get() {
            self.add(span, key, message);
        }
    }

    /// Reports something wrong with the text as a whole.
    pub(crate) fn add_without_place(&self, message: String) {
        self.push(|source| ConfigError::about_file(source.name.to_owned(), message));
    }

    /// Whether one of them is about something in the table at `path`.
    pub(crate) fn any_in(&self, path: &str) -> bool {
        let is_in = |key: &str| key.strip_prefix(path).is_some_and(|key| key.starts_with('.'));
        self.found.borrow().iter().any(|error| is_in(&error.key))
    }

    pub(crate) fn mark_partial(&self) {
        self.partial.set(true);
    }

    pub(crate) fn count(&self) -> usize {
        self.found.borrow().len() + self.left_out.get()
    }

    /// Whether a part of the text was left out.
    pub(crate) fn are_partial(&self) -> bool {
        self.partial.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(crate) fn into_errors(self) -> ConfigErrors {
        ConfigErrors::new(self.found.into_inner(), self.left_out.get())
    }

    fn push(&self, error: impl FnOnce(&Source<'t>) -> ConfigError) {
        let mut found = self.found.borrow_mut();
        if found.len() < MISTAKES_MAX {
            found.push(error(&self.source));
        } else {
            self.left_out.set(self.left_out.get() + 1);
        }
    }
}

/// Keys whose values are secrets.
const SECRETS: [&str; 3] = ["keys", "redis", "token"];

/// Those that look like a slip of one, and name a file or a URL.
const NO_SECRETS: [&str; 3] = ["key", "keys_file", "keys_url"];

/// Whether a line may hold a secret: by its key, if that is one or a slip of one, or by its value.
fn is_secret(line: &str) -> bool {
    let Some((key, value)) = line.split_once('=') else { return holds_secret(line) };
    let key = key.trim().trim_matches(['"', '\'']);
    let key = key.rsplit('.').next().unwrap_or(key);
    let is_list = value.trim_start().starts_with('[');
    let is_slip = nearest(key, &SECRETS).is_some() && (is_list || !NO_SECRETS.contains(&key));
    is_slip || holds_secret(line)
}

/// Whether there is a URL with a name or password in it.
pub(super) fn holds_secret(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(['"', '\'', ' ', ',', ']']).unwrap_or(rest.len());
        rest[..end].contains('@')
    })
}

fn error_at(source: &Source<'_>, span: &Span, key: &str, message: String) -> ConfigError {
    ConfigError {
        file: source.name.to_owned(),
        position: Some(source.position(span.start)),
        key: key.to_owned(),
        message,
        excerpt: None,
    }
}
