//! `[route.version]`: which version of an API a route is, and until when.

use toml::de::DeValue;

use super::date::date;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, boolean, text};

/// How long there is a version of an API, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    /// What it is called in metrics.
    pub name: String,
    /// From when on nobody should begin to use it, in seconds since 1970: the `Deprecation` of its
    /// answers (RFC 9745).
    pub deprecated: Option<u64>,
    /// From when on it may be gone: the `Sunset` of its answers (RFC 8594).
    pub sunset: Option<u64>,
    /// Where the next version is: a `Link` with `rel="successor-version"` (RFC 5829).
    pub successor: Option<String>,
    /// Where one can read about it: a `Link` with `rel="deprecation"`, or with `rel="sunset"`.
    pub documentation: Option<String>,
    /// Whether it is refused (410) from its sunset on. \[false: the server may know better\]
    pub refuse_after_sunset: bool,
}

const NAME_CHARS_MAX: usize = 32;
const LINK_CHARS_MAX: usize = 1_000;

impl ApiVersion {
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "\"v1\"", name);
        let deprecated = section.written("deprecated", date);
        let sunset = section.written("sunset", date);
        let successor = section.written("successor", link);
        let documentation = section.written("documentation", link);
        let refuse_after_sunset = section.optional("refuse_after_sunset", boolean, false);
        if refuse_after_sunset && !section.has("sunset") {
            section.wrong("refuse_after_sunset", "must not be true without `sunset`");
        }
        if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
            && sunset < deprecated
        {
            section.wrong("sunset", "must not be before `deprecated` (RFC 9745, 4)");
        }
        Some(Self {
            name: name?,
            deprecated,
            sunset,
            successor,
            documentation,
            refuse_after_sunset,
        })
    }
}

fn name(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "1 to 32 of a-z, A-Z, 0-9, `.`, `-` and `_`, such as \"v1\" or \"2026-01\"";
    let written = text(value, expected)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    Some(written)
        .filter(|it| (1..=NAME_CHARS_MAX).contains(&it.len()) && it.chars().all(allowed))
        .map(str::to_owned)
        .ok_or_else(|| format!("must be {expected}"))
}

/// A URI reference (RFC 3986, 4.1) that can stand between `<` and `>`.
fn link(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "a URL such as \"https://example.com/v2\", or a path such as \"/v2\"";
    let written = text(value, expected)?;
    let begins = ["https://", "http://", "/"].iter().any(|begin| written.starts_with(begin));
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&byte);
    Some(written)
        .filter(|it| begins && it.len() <= LINK_CHARS_MAX && it.bytes().all(allowed))
        .map(str::to_owned)
        .ok_or_else(|| format!("must be {expected}"))
}
