//! Texts as they are written, whatever else is wrong beside them: what refers to something is checked
//! also where an entry has another mistake.

use toml::de::{DeTable, DeValue};

use super::{Span, section::Section, suggest::shown, tables::ENTRIES_MAX};

/// The texts under a key of an array of tables.
pub(crate) struct Texts {
    pub(crate) found: Vec<Mention>,
    /// Each entry says it in a way that can be read: what is not among them is nowhere.
    pub(crate) are_all: bool,
}

/// A text in an entry of an array of tables.
pub(crate) struct Mention {
    /// What the entry is called.
    pub(crate) entry: String,
    pub(crate) text: String,
    /// Where the value of its key is written.
    pub(crate) span: Span,
}

/// A key that names something, or others by their name.
pub(crate) struct NameKey {
    pub(crate) array: &'static str,
    pub(crate) key: &'static str,
    /// Whether an entry has it.
    pub(crate) is_for: fn(&DeTable<'_>) -> bool,
}

impl Section<'_> {
    /// The texts of a key, or in the lists there.
    pub(crate) fn texts(&self, of: &NameKey) -> Texts {
        let written = self.table.and_then(|table| Some(table.get(of.array)?.get_ref()));
        let tables: Vec<&DeTable<'_>> = match written {
            Some(DeValue::Array(entries)) if entries.len() <= ENTRIES_MAX => {
                entries.iter().filter_map(|entry| entry.get_ref().as_table()).collect()
            }
            Some(DeValue::Table(table)) => vec![table], // a pair of brackets was forgotten
            Some(_) => return Texts { found: Vec::new(), are_all: false },
            None => Vec::new(),
        };
        let mut texts = Texts { found: Vec::new(), are_all: !self.mistakes.are_partial() };
        for table in tables.into_iter().filter(|table| (of.is_for)(table)) {
            match in_entry(table, of.key) {
                Some(found) => texts.found.extend(found),
                None => texts.are_all = false,
            }
        }
        texts
    }

    /// Whether something in the table at `path`, such as `route[0]`, is wrong.
    pub(crate) fn has_mistakes_in(&self, path: &str) -> bool {
        self.mistakes.any_in(path)
    }
}

/// The text of an entry, or those of its list; `None` if that cannot be read.
fn in_entry(table: &DeTable<'_>, key: &str) -> Option<Vec<Mention>> {
    let name = table.get("name").and_then(|name| name.get_ref().as_str()).unwrap_or_default();
    let value = table.get(key)?;
    let text = |item: &DeValue<'_>| {
        let text = item.as_str()?.to_owned();
        Some(Mention { entry: shown(name), text, span: value.span() })
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(|item| text(item.get_ref())).collect(),
        single => text(single).map(|text| vec![text]),
    }
}
