//! What a value may be: each kind turns what was written into what the program uses, or says
//! what would be right.
//!
//! A kind is any `Fn(&DeValue) -> Parsed<T>`. Its error continues the sentence "`idle` in
//! [listener.limits] is "10x": ..." and so begins with "must be".

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Source;
use super::suggest::{list, nearest, shown};
use crate::duration::HumanDuration;
use crate::size::ByteSize;

/// What was meant, or what it must be instead.
pub(crate) type Parsed<T> = Result<T, String>;

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

/// Any text; `what` says what it is for.
pub(crate) fn text<'w>(value: &'w DeValue<'_>, what: &str) -> Parsed<&'w str> {
    value.as_str().ok_or_else(|| format!("must be {what}, in quotes"))
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| chosen(choices, value.as_str().unwrap_or_default())
}

fn chosen<T: Copy>(choices: &[(&str, T)], written: &str) -> Parsed<T> {
    if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == written) {
        return Ok(*choice);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let hint = nearest(written, &words)
        .map(|word| format!("; did you mean `{word}`?"))
        .unwrap_or_default();
    Err(format!("must be one of {}{hint}", list(&words)))
}

/// A list of some of a few words.
pub(crate) fn choices<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Parsed<Vec<T>> {
    move |value| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = || format!("must be a list of some of {}", list(&words));
        let items = value.as_array().ok_or_else(expected)?.iter();
        let made = items.map(|item| {
            let written = item.get_ref().as_str().ok_or_else(expected)?;
            chosen(choices, written).map_err(|why| format!("`{}` {why}", shown(written)))
        });
        made.collect()
    }
}

/// A whole number that fits `T`.
pub(crate) fn count<T: TryFrom<NonZeroUsize>>(
    range: RangeInclusive<usize>,
) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        value
            .as_integer()
            .and_then(|integer| usize::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| range.contains(number))
            .and_then(NonZeroUsize::new)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                format!("must be a whole number from {} to {}", range.start(), range.end())
            })
    }
}

/// A whole number, of which 0 is one.
pub(crate) fn whole(range: RangeInclusive<usize>) -> impl Fn(&DeValue<'_>) -> Parsed<usize> {
    move |value| {
        value
            .as_integer()
            .and_then(|integer| usize::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                format!("must be a whole number from {} to {}", range.start(), range.end())
            })
    }
}

/// A duration within bounds.
pub(crate) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        let example = "a duration such as \"10s\" or \"1m30s\"";
        let HumanDuration(duration) =
            text(value, example)?.parse().map_err(|why| format!("must be {example} ({why})"))?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (HumanDuration(*range.start()), HumanDuration(*range.end()));
        Err(format!("must be a duration from {least} to {most}"))
    }
}

/// A byte size within bounds that fits `T`.
pub(crate) fn size<T: TryFrom<NonZeroU64>>(
    range: RangeInclusive<ByteSize>,
) -> impl Fn(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let example = "a size such as \"512B\" or \"16KiB\"";
        let size: ByteSize =
            text(value, example)?.parse().map_err(|why| format!("must be {example} ({why})"))?;
        Some(size)
            .filter(|size| range.contains(size))
            .and_then(|ByteSize(bytes)| NonZeroU64::new(bytes))
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(|| format!("must be a size from {} to {}", range.start(), range.end()))
    }
}

/// What `kind` takes, or `word` for none at all: a limit is infinite, or a feature off, only
/// where somebody wrote so.
pub(crate) fn or_word<T>(
    word: &'static str,
    kind: impl Fn(&DeValue<'_>) -> Parsed<T>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Option<T>> {
    move |value| match value.as_str() {
        Some(written) if written == word => Ok(None),
        _ => kind(value).map(Some).map_err(|expected| format!("{expected}, or \"{word}\"")),
    }
}

/// The path of a file, resolved against the folder of the configuration.
pub(crate) fn path<'s>(source: &'s Source<'_>) -> impl Fn(&DeValue<'_>) -> Parsed<PathBuf> + 's {
    move |value| match text(value, "the path of a file")? {
        "" => Err("must be the path of a file".to_owned()),
        written => Ok(source.resolve(written)),
    }
}

/// A list of texts, each of which `item` takes; `what` says what they are.
pub(crate) fn texts(
    what: &'static str,
    item: impl Fn(&str) -> bool,
) -> impl Fn(&DeValue<'_>) -> Parsed<Vec<String>> {
    move |value| {
        let items = value.as_array().into_iter().flatten();
        let texts: Option<Vec<_>> = items
            .map(|entry| entry.get_ref().as_str().filter(|text| item(text)).map(str::to_owned))
            .collect();
        texts.filter(|_| value.is_array()).ok_or_else(|| format!("must be {what}"))
    }
}

/// A list of texts, of each of which `item` makes something, or says what it must be; `what` says
/// what they are.
pub(crate) fn list_of<T, E: std::fmt::Display>(
    what: &'static str,
    item: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Vec<T>> {
    const ITEMS_MAX: usize = 1_000;
    move |value| {
        let expected = || format!("must be a list of {what}");
        let items = value.as_array().ok_or_else(expected)?;
        if items.len() > ITEMS_MAX {
            return Err(format!("must hold {ITEMS_MAX} entries at most"));
        }
        let made = items.iter().map(|entry| {
            let written = entry.get_ref().as_str().ok_or_else(expected)?;
            item(written).map_err(|why| format!("`{}` {why}", shown(written)))
        });
        made.collect()
    }
}
