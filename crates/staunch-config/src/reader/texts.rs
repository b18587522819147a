//! Texts as they are written, whatever else is wrong beside them: what refers to something is checked
//! also where an entry has another mistake.

use toml::de::{DeTable, DeValue};

use super::{Span, section::Section};

/// A text in an entry of an array of tables.
pub(crate) struct Text {
    /// What the entry is called.
    pub(crate) entry: String,
    pub(crate) text: String,
    /// Where the value of its key is written.
    pub(crate) span: Span,
}

impl Section<'_> {
    /// The texts under `key` in the entries of the array of tables `array`, or in the lists there.
    pub(crate) fn texts(&self, array: &str, key: &str) -> Vec<Text> {
        let entries = self.table.and_then(|table| table.get(array)?.get_ref().as_array());
        let tables = entries.into_iter().flatten().filter_map(|entry| entry.get_ref().as_table());
        tables.flat_map(|table| in_entry(table, key)).collect()
    }

    /// Whether something in the table at `path`, such as `route[0]`, is wrong.
    pub(crate) fn has_mistakes_in(&self, path: &str) -> bool {
        self.mistakes.any_in(path)
    }
}

fn in_entry(table: &DeTable<'_>, key: &str) -> Vec<Text> {
    let name = table.get("name").and_then(|name| name.get_ref().as_str()).unwrap_or_default();
    let Some(value) = table.get(key) else { return Vec::new() };
    let text = |value: &DeValue<'_>| {
        let text = value.as_str()?.to_owned();
        Some(Text { entry: name.to_owned(), text, span: value_span(table, key) })
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().filter_map(|item| text(item.get_ref())).collect(),
        single => text(single).into_iter().collect(),
    }
}

fn value_span(table: &DeTable<'_>, key: &str) -> Span {
    table.get(key).map_or(0..0, toml::Spanned::span)
}
