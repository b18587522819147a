//! The reference, made of the commented default: there is one place where a key is explained.

use std::fmt::Write as _;

/// A table of the configuration, as far as its keys are explained.
#[derive(Default)]
pub(crate) struct Table<'t> {
    /// As it is written, with its brackets.
    pub(crate) name: &'t str,
    pub(crate) about: String,
    pub(crate) keys: Vec<Key<'t>>,
}

pub(crate) struct Key<'t> {
    pub(crate) name: &'t str,
    pub(crate) value: &'t str,
    pub(crate) about: String,
}

/// Every table and key of a commented configuration, as Markdown.
pub(crate) fn reference(commented: &str) -> String {
    let (about, tables) = read(commented);
    let mut page = format!("# The configuration\n\n{about}\n");
    page.push_str(
        "\nThis page is made of the commented default, which `staunch config default` prints; \
         `staunch config reference` prints this page.\n",
    );
    for table in &tables {
        let _ = write!(page, "\n## `{}`\n", table.name); // to memory
        if !table.about.is_empty() {
            let _ = write!(page, "{}\n\n", table.about);
        }
        page.push_str("| key | default or example | |\n| --- | --- | --- |\n");
        for Key { name, value, about } in &table.keys {
            let (value, about) = (value.replace('|', "\\|"), about.replace('|', "\\|"));
            let _ = writeln!(page, "| `{name}` | `{value}` | {about} |");
        }
    }
    page
}

/// What stands before the first table, and all tables; those that are there several times are one,
/// with each key as it is explained first.
pub(crate) fn read(commented: &str) -> (String, Vec<Table<'_>>) {
    let (mut intro, mut about, mut at) = (String::new(), String::new(), None);
    let mut tables: Vec<Table<'_>> = Vec::new();
    for line in commented.lines() {
        if let Some(said) = line.strip_prefix("# ") {
            let gap = if about.is_empty() { "" } else { " " };
            about = format!("{about}{gap}{said}");
            continue;
        }
        let said = line.strip_prefix('#').unwrap_or(line);
        if said.starts_with('[') {
            let name = said.trim();
            let known = tables.iter().position(|table| table.name == name);
            let place = known.unwrap_or(tables.len());
            if known.is_none() {
                let about = std::mem::take(&mut about);
                tables.push(Table { name, about, keys: Vec::new() });
            }
            at = Some(place);
        } else if let Some((name, value)) = said.split_once(" = ")
            && let Some(table) = at.and_then(|place| tables.get_mut(place))
            && table.keys.iter().all(|key| key.name != name)
        {
            let about = std::mem::take(&mut about);
            table.keys.push(Key { name, value: value.trim(), about });
        } else if said.is_empty() && at.is_none() {
            let gap = if intro.is_empty() { "" } else { "\n\n" };
            intro = format!("{intro}{gap}{}", std::mem::take(&mut about));
        }
        about.clear();
    }
    (intro, tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_keys_keep_what_is_said_of_them() {
        let commented = "# What it is.\n#\n# More.\n\n# A table.\n[a]\n# One thing\n# or two.\nkey = 1\n\
                         #other = \"x | y\"\n\n# An example.\n#[[b]]\n#name = \"n\"\n\n[a]\nkey = 2\n";
        let page = reference(commented);
        assert!(page.contains("## `[a]`\nA table.\n"), "{page}");
        assert!(page.contains("| `key` | `1` | One thing or two. |"), "{page}");
        assert!(page.contains("| `other` | `\"x \\| y\"` |  |"), "{page}");
        assert!(page.contains("## `[[b]]`\nAn example.\n"), "{page}");
        assert_eq!(page.matches("`key`").count(), 1, "{page}");
    }
}
