//! `[log]`: what is logged, and how.

use std::fmt;

use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::reader::Section;
use crate::reader::kinds::{Parsed, choice, text};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks. \[text: the first reader is a person\]
    pub format: LogFormat,
    /// What is let through. \[info: starts, stops and trouble, but nothing for each request\]
    pub level: LogFilter,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line, for machines.
    Json,
}

/// A level, or directives such as `info,staunch_net=debug`, which `tracing-subscriber`'s
/// `EnvFilter` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Log {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            format: section.optional("format", choice(&formats), LogFormat::Text),
            level: section.optional("level", filter, LogFilter("info".to_owned())),
        }
    }
}

impl LogFilter {
    /// The text of the filter.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn filter(value: &DeValue<'_>) -> Parsed<LogFilter> {
    let expected =
        format!("must be {}, or directives such as \"info,staunch_net=debug\"", LEVELS.join(", "));
    let written = text(value, "a level such as \"info\"")?;
    // `EnvFilter` would take a misspelt level for the name of a target.
    let bare_words = written.split(',').filter(|part| !part.contains(['=', '[', ']']));
    let is_level = |word: &str| LEVELS.iter().any(|level| word.trim().eq_ignore_ascii_case(level));
    if let Some(word) = bare_words.into_iter().find(|word| !is_level(word)) {
        return Err(format!("{expected} (`{}` is no level)", word.trim()));
    }
    match EnvFilter::builder().parse(written) {
        Ok(_) => Ok(LogFilter(written.to_owned())),
        Err(why) => Err(format!("{expected} ({why})")),
    }
}
