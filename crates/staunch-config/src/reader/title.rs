//! What a table is called, in messages and in key paths.

/// The names of one table.
#[derive(Clone, Default)]
pub(super) struct Title {
    /// As in its header: `listener.limits`; empty at the top level.
    header: String,
    /// As a path with indices: `listener[0].limits`.
    path: String,
    /// Which entry of an array of tables this is, or stands in: `"echo"` or `#2`.
    label: Option<String>,
    /// Whether it is itself such an entry.
    entry: bool,
}

impl Title {
    /// The table `key` in this one.
    pub(super) fn table(&self, key: &str) -> Self {
        Self {
            header: join(&self.header, key),
            path: self.key(key),
            label: self.label.clone(),
            entry: false,
        }
    }

    /// An entry of the array of tables `key` in this one.
    pub(super) fn entry(&self, key: &str, index: usize, label: Option<String>) -> Self {
        Self {
            header: join(&self.header, key),
            path: format!("{}[{index}]", self.key(key)),
            label: Some(label.unwrap_or_else(|| format!("#{}", index + 1))),
            entry: true,
        }
    }

    /// The path of `key` in this table.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// `[log]`, `[[listener]] "echo"` or `[listener.limits] of "echo"`.
    pub(super) fn text(&self) -> String {
        let header = &self.header;
        match &self.label {
            _ if header.is_empty() => "the file".to_owned(),
            None => format!("[{header}]"),
            Some(label) if self.entry => format!("[[{header}]] {label}"),
            Some(label) => format!("[{header}] of {label}"),
        }
    }

    /// The same with "in", to follow a key.
    pub(super) fn place(&self) -> String {
        if self.header.is_empty() {
            "at the top level".to_owned()
        } else {
            format!("in {}", self.text())
        }
    }

    /// Its header in brackets: `[listener.limits]`.
    pub(super) fn brackets(&self) -> String {
        format!("[{}]", self.header)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
