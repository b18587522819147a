//! One table being read, key by key.

use toml::de::{DeTable, DeValue};

use super::kinds::Parsed;
use super::mistakes::holds_secret;
use super::suggest::{list, nearest, shown};
use super::title::Title;
use super::{Mistakes, Source, Span};

/// A table being read. Asking for a key makes it known; when the table has been read, every
/// key that is not known is reported.
///
/// An absent table is read like an empty one: every key takes its default.
pub(crate) struct Section<'a> {
    pub(super) table: Option<&'a DeTable<'a>>,
    /// Where the table's header is written.
    pub(super) header: Span,
    pub(super) title: Title,
    pub(super) asked: Asked,
    pub(super) forgiving: bool,
    pub(super) mistakes: &'a Mistakes<'a>,
}

/// What a table was asked for.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) known: Vec<&'static str>,
    /// Keys that are reported with a reason of their own.
    refused: Vec<&'static str>,
    /// Keys of the tables in this one, with the header of theirs.
    pub(super) known_below: Vec<(&'static str, String)>,
    /// Keys that must be there and are not, with the reason.
    missing: Vec<(&'static str, String)>,
}

impl<'a> Section<'a> {
    /// Reads the top level of a file.
    pub(super) fn read_root<T>(
        table: &'a DeTable<'a>,
        mistakes: &'a Mistakes<'a>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let root = Section {
            table: Some(table),
            header: 0..0,
            title: Title::default(),
            asked: Asked::default(),
            forgiving: false,
            mistakes,
        };
        root.read_all(read).0
    }

    /// The value of `key`, if it is written and right.
    pub(crate) fn written<T>(
        &mut self,
        key: &'static str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        kind(value).map_err(|expected| self.wrong(key, &expected)).ok()
    }

    /// The value of `key`, or `default` if it is not written.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<T>,
        default: T,
    ) -> T {
        self.written(key, kind).unwrap_or(default)
    }

    /// The value of a key that has no default; `example` is shown when it is missing.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key, format!("write it, such as {key} = {example}"));
        }
        self.written(key, kind)
    }

    /// As [`written`](Self::written), of a value that may be a secret, or be one by mistake: it is not
    /// shown when it is wrong.
    pub(crate) fn written_secret<T>(
        &mut self,
        key: &'static str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let unshown = |expected: String| {
            let message = format!("`{key}` {}: {expected}", self.title.place());
            self.mistakes.add_unshown(&self.place(key), &self.title.key(key), message);
        };
        kind(value).map_err(unshown).ok()
    }

    /// Reports `key` with the reason if it is written, though it has no place here. Its line is
    /// not shown: one such key is a secret.
    pub(crate) fn refuse(&mut self, key: &'static str, why: &str) {
        if let Some((written, _)) = self.table.and_then(|table| table.get_key_value(key)) {
            self.asked.refused.push(key);
            let message = format!("`{key}` {}: {why}", self.title.place());
            self.mistakes.add_unshown(&written.span(), &self.title.key(key), message);
        }
    }

    /// From here on, unknown keys of this table and of those in it are not reported: it is not
    /// known which ones are allowed.
    pub(crate) fn forgive_unknown_keys(&mut self) {
        self.forgiving = true;
    }

    /// Whether `key` is written, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where the value of `key` is written; where the table is, if it is not.
    pub(crate) fn place(&self, key: &str) -> Span {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or_else(|| self.header.clone(), toml::Spanned::span)
    }

    /// Reports the value of `key`: "`key` in [table] is VALUE: " and `expected`.
    pub(crate) fn wrong(&self, key: &str, expected: &str) {
        let found = self.table.and_then(|table| table.get(key));
        let found = found.map_or_else(|| "the default".to_owned(), |v| describe(v.get_ref()));
        let found = if holds_secret(&found) { "not shown".to_owned() } else { found };
        let message = format!("`{key}` {} is {found}: {expected}", self.title.place());
        self.mistakes.add(&self.place(key), &self.title.key(key), message);
    }

    /// Reports that `key` is missing, "`key` is missing in [table]: " and `why`, unless an unknown
    /// key turns out to be a slip of it.
    pub(crate) fn missing(&mut self, key: &'static str, why: String) {
        self.asked.missing.push((key, why));
    }

    /// Reports something at `span` that no single table is to blame for.
    pub(crate) fn report(&self, span: &Span, path: &str, message: String) {
        self.mistakes.add(span, path, message);
    }

    /// What the table is called in a message: `[[listener]] "echo"`.
    pub(crate) fn title(&self) -> String {
        self.title.text()
    }

    /// The path of `key` in this table: `listener[0].listen`.
    pub(crate) fn path(&self, key: &str) -> String {
        self.title.key(key)
    }

    /// How many mistakes there are so far, in all of the file.
    pub(crate) fn mistakes(&self) -> usize {
        self.mistakes.count()
    }

    /// The file this table stands in.
    pub(crate) fn source(&self) -> &'a Source<'a> {
        self.mistakes.source()
    }

    /// The value of `key`, which is known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a DeValue<'a>> {
        self.asked.known.push(key);
        self.table?.get(key).map(toml::Spanned::get_ref)
    }

    /// Reads the table, then reports the keys that nobody asked for and those that are missing.
    /// Gives the known ones too.
    pub(super) fn read_all<T>(
        mut self,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Vec<&'static str>) {
        let value = read(&mut self);
        let mut meant = Vec::new();
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !self.asked.known.contains(&name) && !self.asked.refused.contains(&name) {
                meant.extend(self.report_unknown(name, &key.span()));
            }
        }
        for (key, why) in self.asked.missing.iter().filter(|(key, _)| !meant.contains(key)) {
            let message = format!("`{key}` is missing {}: {why}", self.title.place());
            self.mistakes.add_missing(&self.header, &self.title.key(key), message);
        }
        (value, self.asked.known)
    }

    /// Gives the missing key that was probably meant.
    fn report_unknown(&self, name: &str, span: &Span) -> Option<&'static str> {
        let belongs = self.asked.known_below.iter().find(|(known, _)| *known == name);
        let meant = nearest(name, &self.asked.known).filter(|_| belongs.is_none());
        let missing = meant.filter(|meant| self.asked.missing.iter().any(|(key, _)| key == meant));
        if !self.forgiving || missing.is_some() {
            let hint = match (belongs, meant) {
                (Some((_, header)), _) => format!("it belongs in {header}"),
                (None, Some(meant)) => format!("did you mean `{meant}`?"),
                (None, None) => format!("allowed are {}", list(&self.asked.known)),
            };
            let name = shown(name);
            let message = format!("unknown key `{name}` {}: {hint}", self.title.place());
            self.mistakes.add(span, &self.title.key(&name), message);
        }
        missing
    }
}

/// A value as a message names it.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(number) => shown(&number.to_string()),
        DeValue::Float(number) => shown(number.as_str()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
