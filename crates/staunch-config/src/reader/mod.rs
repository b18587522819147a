//! Reads a TOML text into typed values and finds every mistake in one pass.
//!
//! ```text
//! text --syntax--> table with spans --Section, kinds--> values
//!   \________________ Mistakes _______________________/
//! ```
//!
//! - [`syntax`] turns the text into a table. A broken line is reported and left out, and the
//!   rest is read all the same.
//! - A [`Section`] is one table being read. Each key is asked for by name together with the
//!   [kind](kinds) of value it takes; a wrong value is reported and replaced by the default,
//!   so that reading goes on. What nobody asked for is an unknown key, and the names that were
//!   asked for are what may be suggested instead. There is no separate schema to keep in step:
//!   **a new key is one line** in the `read` function of its table (and one in `default.toml`).
//! - [`Mistakes`] is where everybody reports, by byte span; [`Source`] turns spans into lines
//!   and columns.
//!
//! A mistake never hides another, and one mistake is reported once: while a broken line is left
//! out of the text, nothing is said about missing keys, for the line may have held them.

mod broken;
pub(crate) mod kinds;
mod mistakes;
mod section;
mod source;
mod suggest;
mod syntax;
mod tables;
mod texts;
mod title;

use std::path::Path;

use self::mistakes::Mistakes;
pub(crate) use self::section::Section;
pub(crate) use self::source::Source;
pub(crate) use self::suggest::{nearest, shown};
pub(crate) use self::texts::{Mention, NameKey, Texts};
use crate::error::ConfigErrors;

/// A range of bytes in the text.
pub(crate) type Span = std::ops::Range<usize>;

/// Reads `text` with `read`, which gives `None` only after it has reported why.
///
/// `name` stands in front of every mistake; relative paths are resolved against `folder`.
pub(crate) fn read<T>(
    name: &str,
    folder: &Path,
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let mistakes = Mistakes::new(Source::new(name, folder, text));
    let value = syntax::with_table(&mistakes, |table| Section::read_root(table, &mistakes, read));
    match (value.flatten(), mistakes.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(mistakes.into_errors()),
    }
}
