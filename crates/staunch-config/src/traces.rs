//! `[traces]`: a span for each request that is sampled, for a collector.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::policy::is_url;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, boolean, count, path, text};

/// Where spans of requests go, and of which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// The URL that spans are posted to. \[none\] If it is written without a path, `/v1/traces`,
    /// which is OTLP's, is added.
    pub to: String,
    /// Of the traces that begin here, one of so many is sampled. \[100: enough to see where time
    /// goes, and hardly anything to store\]
    pub one_in: NonZeroUsize,
    /// Whether the `traceparent` of a client says to which trace its request belongs, and whether
    /// that is sampled. \[true: most gateways are behind others; strangers could have all of theirs
    /// sampled\]
    pub follow: bool,
    /// The file with headers for the collector, a line for each. \[none\]
    pub headers_file: Option<PathBuf>,
    /// What spans are of: `service.name`. \[staunch\]
    pub service: String,
    /// Spans that wait at most; what finds no room is lost, and counted. \[2048, as in
    /// OpenTelemetry's own exporters: some 2 MiB\]
    pub buffer: NonZeroUsize,
    /// Whose signature on the collector's certificate is believed. \[whom the system believes\]
    pub ca: Option<PathBuf>,
}

const ONE_IN: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const ONE_IN_MAX: usize = 1_000_000;
const BUFFER: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
const BUFFER_MIN: usize = 64;
const BUFFER_MAX: usize = 65_536;
const SERVICE: &str = "staunch";
const SERVICE_CHARS_MAX: usize = 128;

/// Where OTLP has it (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>).
const PATH: &str = "/v1/traces";

impl Traces {
    /// Those for a collector, with everything at its default.
    ///
    /// # Examples
    /// ```
    /// use staunch_config::Traces;
    /// assert_eq!(Traces::new("http://127.0.0.1:4318").to, "http://127.0.0.1:4318/v1/traces");
    /// ```
    pub fn new(url: &str) -> Self {
        Self {
            to: with_path(url),
            one_in: ONE_IN,
            follow: true,
            headers_file: None,
            service: SERVICE.to_owned(),
            buffer: BUFFER,
            ca: None,
        }
    }

    /// `None` if there are to be none.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let source = section.source();
        let to = section.optional("to", target, None);
        let one_in = section.optional("one_in", count(1..=ONE_IN_MAX), ONE_IN);
        let follow = section.optional("follow", boolean, true);
        let headers_file = section.written("headers_file", path(source));
        let service = section.optional("service", service, SERVICE.to_owned());
        let buffer = section.optional("buffer", count(BUFFER_MIN..=BUFFER_MAX), BUFFER);
        let ca = section.written("ca", path(source));
        if ca.is_some() && to.as_ref().is_some_and(|to| to.starts_with("http://")) {
            section.wrong("ca", "must not be there: nobody is asked over https");
        }
        Some(Self { to: to?, one_in, follow, headers_file, service, buffer, ca })
    }
}

fn target(value: &DeValue<'_>) -> Parsed<Option<String>> {
    let expected = "\"none\", or the URL of a collector such as \"http://127.0.0.1:4318\", without a \
                    name, a password or a query";
    match text(value, expected)? {
        "none" => Ok(None),
        written if is_url(written) && !written.contains('?') => Ok(Some(with_path(written))),
        _ => Err(format!("must be {expected}")),
    }
}

fn with_path(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(slash) if slash + 1 < rest.len() => url.to_owned(),
        _ => format!("{}{PATH}", url.trim_end_matches('/')),
    }
}

fn service(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "what spans are of: 1 to 128 characters, none of them a control character";
    let written = text(value, expected)?;
    let is_right = (1..=SERVICE_CHARS_MAX).contains(&written.chars().count())
        && !written.chars().any(char::is_control);
    is_right.then(|| written.to_owned()).ok_or_else(|| format!("must be {expected}"))
}
