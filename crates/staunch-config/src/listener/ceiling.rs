//! Limits that bound each other.

use toml::de::DeValue;

use crate::reader::Section;
use crate::reader::kinds::Parsed;

/// A limit that others must stay below, since they could not act otherwise.
pub(super) struct Ceiling<T> {
    key: &'static str,
    /// The limit itself.
    pub(super) value: Option<T>,
    /// False if what was written is wrong: then nothing is held against the default.
    is_known: bool,
}

impl<T: Copy + Ord> Ceiling<T> {
    /// Reads the ceiling, which `key` stands for.
    pub(super) fn read(
        section: &mut Section<'_>,
        key: &'static str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<Option<T>>,
        default: Option<T>,
    ) -> Self {
        let written = section.written(key, kind);
        let is_known = written.is_some() || !section.has(key);
        Self { key, value: written.unwrap_or(default), is_known }
    }

    /// Reads a limit below: written above the ceiling it is a mistake, its default gives way.
    pub(super) fn read_below(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        kind: impl Fn(&DeValue<'_>) -> Parsed<Option<T>>,
        default: Option<T>,
        show: impl Fn(T) -> String,
    ) -> Option<T> {
        let written = section.written(key, kind);
        match (written, self.value) {
            (None, Some(ceiling)) => default.map(|limit| limit.min(ceiling)),
            (None, None) => default,
            (Some(Some(limit)), Some(ceiling)) if limit > ceiling && self.is_known => {
                let (key_above, ceiling) = (self.key, show(ceiling));
                section.wrong(key, &format!("must not exceed `{key_above}`, which is {ceiling}"));
                Some(limit)
            }
            (Some(limit), _) => limit,
        }
    }
}
