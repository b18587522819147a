//! `[policy.headers]`: headers that are set or taken out.

use toml::de::DeValue;

use crate::reader::Section;
use crate::reader::kinds::{Parsed, boolean, list_of, text};
use crate::route::{HeaderMatch, header, is_token};

/// Headers that requests or answers get or lose on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Whether answers say what browsers are to leave alone, where the server has not said it.
    /// \[false\] `Strict-Transport-Security` over TLS, `X-Content-Type-Options`, `Referrer-Policy`,
    /// `X-Frame-Options` and `frame-ancestors` of a `Content-Security-Policy`.
    pub security: bool,
    /// Set on requests: name and value.
    pub request_set: Vec<(String, String)>,
    /// Taken out of requests.
    pub request_remove: Vec<String>,
    /// Set on answers: name and value.
    pub answer_set: Vec<(String, String)>,
    /// Taken out of answers.
    pub answer_remove: Vec<String>,
}

/// What says where a message ends, whom it is for, or how its connection is used; it is not for a
/// configuration to say (RFC 9110, 7.6.1).
const OURS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl HeaderEdits {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let set = || list_of("headers, such as [\"x-team: shop\"]", pair);
        let remove = || list_of("names of headers, such as [\"server\"]", own_name);
        Self {
            security: section.optional("security", boolean, false),
            request_set: section.optional("request_set", set(), Vec::new()),
            request_remove: section.optional("request_remove", remove(), Vec::new()),
            answer_set: section.optional("answer_set", set(), Vec::new()),
            answer_remove: section.optional("answer_remove", remove(), Vec::new()),
        }
    }
}

/// `name: value`, of a header that a configuration may set.
pub(super) fn pair(written: &str) -> Result<(String, String), &'static str> {
    match header(written)? {
        HeaderMatch { name, value: Some(value) } => Ok((own_name(&name)?, value)),
        HeaderMatch { .. } => Err("must be a header such as `x-team: shop`"),
    }
}

/// The name of a header that a configuration may set, in lower case.
pub(super) fn own_name(written: &str) -> Result<String, &'static str> {
    let name = written.to_ascii_lowercase();
    if !is_token(&name) {
        Err("must be the name of a header")
    } else if OURS.contains(&name.as_str()) {
        Err("must be another header: this one says where a message ends, or whom it is for")
    } else {
        Ok(name)
    }
}

/// The same as a kind.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "the name of a header, such as \"x-api-key\"";
    own_name(text(value, expected)?).map_err(str::to_owned)
}
