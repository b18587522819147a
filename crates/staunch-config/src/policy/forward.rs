//! `[policy.forward]`: another service is asked whether a request may pass.

use std::time::Duration;

use toml::de::DeValue;

use super::headers::own_name;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, duration, list_of, text};
use crate::route::HostPattern;

/// A service that is asked before each request, by GET and without its body. With 2xx it passes;
/// with anything else that is what the client gets; without an answer it gets 503.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// What is asked for. `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For` say of what
    /// request.
    pub url: String,
    /// How long it may take. \[2s: every request waits for it\]
    pub timeout: Duration,
    /// The headers of the request that it gets, in lower case. \[`authorization` and `cookie`: what
    /// one is known by\]
    pub send: Vec<String>,
    /// The headers of its answer that the server gets, in lower case. \[empty\] What a client says
    /// there is always taken out.
    pub copy: Vec<String>,
}

const TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_mins(1);
const URL_CHARS_MAX: usize = 1_000;

impl ForwardAuth {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let names = || list_of("names of headers, such as [\"x-user\"]", own_name);
        let url = section.required("url", "\"http://10.0.0.5:9000/check\"", url);
        let timeout = section.optional("timeout", duration(TIMEOUT_MIN..=TIMEOUT_MAX), TIMEOUT);
        let default = ["authorization", "cookie"].map(str::to_owned).to_vec();
        let send = section.optional("send", names(), default);
        let copy = section.optional("copy", names(), Vec::new());
        Some(Self { url: url?, timeout, send, copy })
    }
}

/// `http://` or `https://`, a host, perhaps a port, and a path. Without a name or password: they
/// would be shown where the URL is.
pub(super) fn url(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "a URL such as \"http://10.0.0.5:9000/check\", without a name or password";
    let written = text(value, expected)?;
    if is_url(written) { Ok(written.to_owned()) } else { Err(format!("must be {expected}")) }
}

pub(crate) fn is_url(written: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| written.strip_prefix(scheme));
    let is_url = rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
            _ => authority,
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        matches!(host.parse(), Ok(HostPattern::Exact(_))) && rest.bytes().all(is_plain)
    });
    is_url && written.len() <= URL_CHARS_MAX
}
