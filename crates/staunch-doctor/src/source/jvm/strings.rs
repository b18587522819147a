//! The strings of a text, each once: names of functions and files come again and again.

use std::{collections::HashSet, sync::Arc};

#[derive(Debug, Default)]
pub(super) struct Strings(HashSet<Arc<str>>);

impl Strings {
    /// The string that is equal to `text`.
    pub(super) fn once(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}
