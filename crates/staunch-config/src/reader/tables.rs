//! Tables within a table, and arrays of tables.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::Span;
use super::section::{Asked, Section, describe};
use super::suggest::shown;
use super::title::Title;

/// How many tables an array of tables may hold.
pub(super) const ENTRIES_MAX: usize = 1_000;

impl<'a> Section<'a> {
    /// Reads the table `key`; an absent one like an empty one.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let title = self.title.table(key);
        let header = title.brackets();
        let (span, table) = match self.find_table(key, &title) {
            Some(table) => (self.place(key), Some(table)),
            None => (self.header.clone(), None),
        };
        let (value, known) = self.inner(title, span, table).read_all(read);
        self.asked.known_below.extend(known.into_iter().map(|known| (known, header.clone())));
        value
    }

    /// Reads the table `key` if it is written.
    pub(crate) fn table_if_written<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let title = self.title.table(key);
        let table = self.find_table(key, &title)?;
        self.inner(title, self.place(key), Some(table)).read_all(read).0
    }

    /// Reads every table of the array of tables `key`. An entry is called by its key `name`,
    /// which no two may share.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let mut lines_by_name = BTreeMap::new();
        let mut values = Vec::new();
        for (index, (span, table)) in self.entries(key).into_iter().enumerate() {
            let name = name_of(table);
            let label = name.map(|name| format!("\"{}\"", shown(name)));
            let entry = self.inner(self.title.entry(key, index, label), span, Some(table));
            let line = self.source().position(entry.place("name").start).line;
            if let Some(first) = name.and_then(|name| lines_by_name.get(name)) {
                entry.wrong("name", &format!("line {first} has that name already"));
            } else if let Some(name) = name {
                lines_by_name.insert(name, line);
            }
            values.push(entry.read_all(&mut read).0);
        }
        values
    }

    /// [`tables`](Self::tables), or none if `key` is not written.
    pub(crate) fn tables_if_written<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        if self.has(key) {
            return self.tables(key, read);
        }
        self.asked.known.push(key);
        Vec::new()
    }

    fn inner(&self, title: Title, header: Span, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section {
            table,
            header,
            title,
            asked: Asked::default(),
            forgiving: self.forgiving,
            mistakes: self.mistakes,
        }
    }

    fn find_table(&mut self, key: &'static str, title: &Title) -> Option<&'a DeTable<'a>> {
        let value = self.take(key)?;
        if value.as_table().is_none() {
            self.wrong(key, &format!("must be a table, {}", title.brackets()));
        }
        value.as_table()
    }

    /// The tables of the array `key`, each with the place of its header.
    fn entries(&mut self, key: &'static str) -> Vec<(Span, &'a DeTable<'a>)> {
        let expected =
            format!("must be an array of tables, [{}]", self.title.table(key).brackets());
        let place = self.place(key);
        match self.take(key) {
            None => Vec::new(),
            Some(DeValue::Array(entries)) => self.table_entries(key, entries, &expected),
            Some(DeValue::Table(table)) => {
                // A pair of brackets was forgotten. The keys can be read all the same.
                self.wrong(key, &expected);
                vec![(place, table)]
            }
            Some(_) => {
                self.wrong(key, &expected);
                Vec::new()
            }
        }
    }

    fn table_entries(
        &self,
        key: &str,
        entries: &'a DeArray<'a>,
        expected: &str,
    ) -> Vec<(Span, &'a DeTable<'a>)> {
        if !(1..=ENTRIES_MAX).contains(&entries.len()) {
            self.wrong(key, &format!("must hold 1 to {ENTRIES_MAX} tables"));
            return Vec::new();
        }
        let mut tables = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if let Some(table) = entry.get_ref().as_table() {
                tables.push((entry.span(), table));
                continue;
            }
            let found = describe(entry.get_ref());
            let message = format!("entry #{} of `{key}` is {found}: {expected}", index + 1);
            self.mistakes.add(&entry.span(), &self.title.key(key), message);
        }
        tables
    }
}

fn name_of<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    table.get("name")?.get_ref().as_str()
}
