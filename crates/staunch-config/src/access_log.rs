//! `[access_log]`: a line for each request.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use toml::de::DeValue;

use crate::policy::Policy;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, choice, count, list_of, size, text};
use crate::route::is_token;
use crate::size::ByteSize;

/// A line for each request of an `http` listener, and each connection of a `tcp` one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where the lines go. \[none: what is counted and what is live can be seen without\]
    pub to: AccessLogTarget,
    /// How a line looks. \[json: its first reader is a machine\]
    pub format: AccessLogFormat,
    /// Of those that went well, one of so many is written; of those that did not, each. \[1\]
    pub one_in: NonZeroUsize,
    /// Headers of requests that are written as well, in lower case. \[none\]
    pub headers: Vec<String>,
    /// The most that waits to be written; what finds no room is lost, and counted. \[8MiB: some
    /// 25,000 lines, which is more than a disk's pause\]
    pub buffer: NonZeroUsize,
}

/// Where the lines of the access log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// The end of this file, which is made if there is none.
    File(PathBuf),
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// A JSON object.
    Json,
    /// The Common Log Format, and what it has no place for behind it as `name=value`.
    Text,
}

const BUFFER: NonZeroUsize = NonZeroUsize::new(8 << 20).unwrap();
const BUFFER_MIN: ByteSize = ByteSize(64 << 10);
const BUFFER_MAX: ByteSize = ByteSize(1 << 30);
const ONE_IN_MAX: usize = 1_000_000;

/// More would make lines longer than their requests.
const HEADERS_MAX: usize = 8;

/// In these stands who somebody is.
const SECRET: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

impl AccessLog {
    /// `None` if there is to be none.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let formats = [("json", AccessLogFormat::Json), ("text", AccessLogFormat::Text)];
        let to = section.optional("to", target, None);
        let to = to.map(|written| match written.as_str() {
            "stdout" => AccessLogTarget::Stdout,
            path => AccessLogTarget::File(section.source().resolve(path)),
        });
        let format = section.optional("format", choice(&formats), AccessLogFormat::Json);
        let one_in = section.optional("one_in", count(1..=ONE_IN_MAX), NonZeroUsize::MIN);
        let headers = section.optional("headers", headers, Vec::new());
        let buffer = section.optional("buffer", size(BUFFER_MIN..=BUFFER_MAX), BUFFER);
        Some(Self { to: to?, format, one_in, headers, buffer })
    }

    /// Reports each header that is written and in which a policy finds keys.
    pub(crate) fn check_secrets(&self, section: &Section<'_>, policies: &[Policy]) {
        for keys in policies.iter().filter_map(|policy| policy.keys.as_ref()) {
            if self.headers.contains(&keys.header) {
                let message = format!(
                    "`headers` in [access_log] has `{}`, in which a policy finds keys: leave it out",
                    keys.header,
                );
                section.report(&section.place("access_log"), "access_log.headers", message);
            }
        }
    }
}

fn target(value: &DeValue<'_>) -> Parsed<Option<String>> {
    let expected = "\"none\", \"stdout\" or the path of a file";
    match text(value, expected)? {
        "" => Err(format!("must be {expected}")),
        "none" => Ok(None),
        written => Ok(Some(written.to_owned())),
    }
}

fn headers(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    let headers = list_of("names of headers, such as [\"user-agent\"]", header)(value)?;
    if headers.len() > HEADERS_MAX {
        return Err(format!("must hold {HEADERS_MAX} names at most"));
    }
    Ok(headers)
}

fn header(written: &str) -> Result<String, &'static str> {
    let name = written.to_ascii_lowercase();
    if !is_token(&name) {
        Err("must be the name of a header")
    } else if SECRET.contains(&name.as_str()) {
        Err("must be another header: this one holds secrets")
    } else {
        Ok(name)
    }
}
