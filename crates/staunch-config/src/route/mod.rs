//! `[[route]]`: which requests go to which service.
//!
//! Of the routes that a request fits, the most specific one has it: by host, then by path, then by how
//! many headers it asks for, then by whether it asks for a method. Two routes between which that does
//! not decide are a mistake, found when the file is read ([`clash`]).

mod clash;
mod host;
mod path;

use std::num::NonZeroU64;
use std::time::Duration;

use toml::de::DeValue;

pub(crate) use self::clash::{Placed, report_clashes};
pub use self::host::{HostPattern, ParseHostError};
pub use self::path::{ParsePathError, PathPattern, Segment};
use crate::listener::name;
use crate::policy::ApiVersion;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, boolean, duration, list_of, or_word, size, text};
use crate::size::ByteSize;

/// Which requests go to a service, and what becomes of them on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name: 1 to 32 of a-z, 0-9 and -; no other route has it.
    pub name: String,
    /// The names of the `http` listeners that it is on. \[empty: all of them\]
    pub listeners: Vec<String>,
    /// The hosts that it is for. \[empty: any\]
    pub hosts: Vec<HostPattern>,
    /// The paths that it is for. \[`/*`: any\]
    pub path: PathPattern,
    /// The methods that it is for. \[empty: any\]
    pub methods: Vec<String>,
    /// Headers that a request must have.
    pub headers: Vec<HeaderMatch>,
    /// The service that its requests go to.
    pub service: String,
    /// Whether what of the path stands before `/*` is left out on the way to the service. \[false: a
    /// service knows the path its clients use\]
    pub strip_prefix: bool,
    /// What stands there instead. \[nothing\]
    pub replace_prefix: Option<String>,
    /// What the service is told as `Host`. \[what the client said\]
    pub upstream_host: Option<String>,
    /// How long an answer may take to begin, tries that failed included; `None` is `"unlimited"`. \[30s:
    /// whoever waits for longer has given up\]
    pub timeout: Option<Duration>,
    /// The longest body of a request. \[1MiB: what a form or a JSON document has\]
    pub body: NonZeroU64,
    /// How long such a body may take. \[1m\]
    pub body_time: Duration,
    /// The names of the policies that its requests must pass; they have no kind in common. \[empty\]
    pub policies: Vec<String>,
    /// Which version of an API it is, if it says so.
    pub version: Option<ApiVersion>,
}

/// A header that a request must have, and perhaps its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// In lower case.
    pub name: String,
    /// What it must be; any, if it is `None`.
    pub value: Option<String>,
}

const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_hours(24);
const BODY: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();
const BODY_MAX: ByteSize = ByteSize(1 << 40);
const BODY_TIME: Duration = Duration::from_mins(1);

impl Route {
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "\"files\"", name);
        let listeners = list_of("names of listeners, such as [\"web\"]", |text| {
            Ok::<_, String>(text.to_owned())
        });
        let listeners = section.optional("listeners", listeners, Vec::new());
        let hosts = list_of("hosts, such as [\"example.com\"]", str::parse::<HostPattern>);
        let hosts = section.optional("hosts", hosts, Vec::new());
        let path = section.optional("path", path_pattern, PathPattern::any());
        let methods = list_of("methods, such as [\"GET\"]", method);
        let methods = section.optional("methods", methods, Vec::new());
        let headers = list_of("headers, such as [\"x-version: 2\"]", header);
        let headers = section.optional("headers", headers, Vec::new());
        let service = section.required("service", "\"files\"", |value| {
            text(value, "the name of a [[service]]").map(str::to_owned)
        });
        let strip_prefix = section.optional("strip_prefix", boolean, false);
        let replace_prefix = section.written("replace_prefix", prefix);
        if !path.is_prefix() {
            let why = "`path` has no `/*` at its end, so there is no prefix";
            section.refuse("strip_prefix", why);
            section.refuse("replace_prefix", why);
        } else if strip_prefix && replace_prefix.is_some() {
            section.wrong("replace_prefix", "must not be written beside strip_prefix = true");
        }
        let upstream_host = section.written("upstream_host", authority);
        let time = duration(TIMEOUT_MIN..=TIMEOUT_MAX);
        let timeout = section.optional("timeout", or_word("unlimited", &time), Some(TIMEOUT));
        let body = section.optional("body", size(ByteSize(1)..=BODY_MAX), BODY);
        let body_time = section.optional("body_time", &time, BODY_TIME);
        let policies = list_of("names of policies, such as [\"api\"]", |text| {
            Ok::<_, String>(text.to_owned())
        });
        let policies = section.optional("policies", policies, Vec::new());
        let version = section.table_if_written("version", ApiVersion::read);
        Some(Self {
            name: name?,
            listeners,
            hosts,
            path,
            methods,
            headers,
            service: service?,
            strip_prefix,
            replace_prefix,
            upstream_host,
            timeout,
            body,
            body_time,
            policies,
            version,
        })
    }
}

fn path_pattern(value: &DeValue<'_>) -> Parsed<PathPattern> {
    let expected = "a path such as \"/files/*\"";
    text(value, expected)?.parse().map_err(|why: ParsePathError| why.to_string())
}

fn prefix(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "a path such as \"/v2\", without a slash at its end";
    let written = text(value, expected)?;
    let is_path = written.parse::<PathPattern>().is_ok_and(|path| !path.is_prefix());
    Some(written)
        .filter(|_| is_path && !written.ends_with('/') && !written.contains(['{', '}']))
        .map(str::to_owned)
        .ok_or_else(|| format!("must be {expected}"))
}

fn authority(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "a host such as \"internal.example\" or \"internal.example:8080\"";
    let written = text(value, expected)?;
    let host = match written.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => written,
    };
    let is_host = matches!(host.parse(), Ok(HostPattern::Exact(_)));
    Some(written)
        .filter(|_| is_host)
        .map(str::to_owned)
        .ok_or_else(|| format!("must be {expected}"))
}

/// A token of RFC 9110, 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

pub(crate) fn method(text: &str) -> Result<String, &'static str> {
    let is_method = is_token(text) && !text.contains(|c: char| c.is_ascii_lowercase());
    if is_method { Ok(text.to_owned()) } else { Err("must be a method in capitals") }
}

pub(crate) fn header(text: &str) -> Result<HeaderMatch, &'static str> {
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim().to_owned())),
        None => (text, None),
    };
    let is_value = |value: &str| value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if !is_token(name) || !value.as_deref().is_none_or(is_value) {
        return Err("must be the name of a header, or `name: value` in ASCII");
    }
    Ok(HeaderMatch { name: name.to_ascii_lowercase(), value })
}
