//! `[policy.rate]`: how many requests come in a time.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use toml::de::DeValue;

use super::headers::own_name;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, choice, count, duration, text};

/// So many requests in such a time, of each client, key or value of a header; those above are
/// answered with 429. Each route counts for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many requests there may be in [`per`](Rate::per), over time.
    pub requests: NonZeroU32,
    /// \[1s\]
    pub per: Duration,
    /// How many may come at once. \[as many as `requests`\]
    pub burst: NonZeroU32,
    /// Whose requests are counted together. \[`ip`\]
    pub by: RateBy,
    /// How many of them are remembered, in 17 bytes each. \[10000\] Whoever has asked the least is
    /// forgotten for a new one, and may ask as if for the first time.
    pub entries: NonZeroUsize,
    /// Where the instances of a fleet count together. \[each counts for itself\]
    pub shared: Option<SharedRate>,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateBy {
    /// Those of an IPv4 address, or of an IPv6 network of 64 bits, which is what one client has.
    Ip,
    /// Those that have the same key; needs [`Policy::keys`](crate::Policy::keys).
    Key,
    /// Those that have the same value of this header, or none.
    Header(String),
}

/// A Redis that all instances of a fleet count in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRate {
    /// Where it is.
    pub url: RedisUrl,
    /// How long it may take. \[100ms: a request waits for it\]
    pub timeout: Duration,
    /// What happens without an answer. \[`pass`: the limit protects, and is no reason to stop\]
    pub when_down: WhenDown,
}

/// What happens to requests while there is no answer from Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// They pass, if this instance has not counted too many itself.
    Pass,
    /// They are refused with 503.
    Refuse,
}

/// `redis://host:port/db`, perhaps with a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(pub String);

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

const PER: Duration = Duration::from_secs(1);
const PER_MIN: Duration = Duration::from_millis(1);
const PER_MAX: Duration = Duration::from_hours(24);
const REQUESTS_MAX: usize = 1_000_000_000;
const ENTRIES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const ENTRIES_MAX: usize = 10_000_000;
const TIMEOUT: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
const WHEN_DOWN: [(&str, WhenDown); 2] = [("pass", WhenDown::Pass), ("refuse", WhenDown::Refuse)];

impl Rate {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let requests = section.required("requests", "100", count(1..=REQUESTS_MAX));
        let per = section.optional("per", duration(PER_MIN..=PER_MAX), PER);
        let burst = section.written("burst", count(1..=REQUESTS_MAX));
        let by = section.optional("by", by, RateBy::Ip);
        let entries = section.optional("entries", count(1..=ENTRIES_MAX), ENTRIES);
        let url = section.written_secret("redis", redis);
        let timeout = duration(PER_MIN..=TIMEOUT_MAX);
        let timeout = section.optional("redis_timeout", timeout, TIMEOUT);
        let when_down = section.optional("redis_down", choice(&WHEN_DOWN), WhenDown::Pass);
        if !section.has("redis") {
            section.refuse("redis_timeout", "there is no `redis`");
            section.refuse("redis_down", "there is no `redis`");
        }
        let shared = url.map(|url| SharedRate { url, timeout, when_down });
        let requests = requests?;
        Some(Self { requests, per, burst: burst.unwrap_or(requests), by, entries, shared })
    }
}

fn by(value: &DeValue<'_>) -> Parsed<RateBy> {
    let expected = "\"ip\", \"key\" or a header such as \"header: x-team\"";
    match text(value, expected)? {
        "ip" => Ok(RateBy::Ip),
        "key" => Ok(RateBy::Key),
        written => written
            .strip_prefix("header:")
            .and_then(|name| own_name(name.trim()).ok())
            .map(RateBy::Header)
            .ok_or_else(|| format!("must be {expected}")),
    }
}

fn redis(value: &DeValue<'_>) -> Parsed<RedisUrl> {
    let expected = "a URL such as \"redis://10.0.0.9:6379/0\"";
    let written = text(value, expected)?;
    let is_url = written.strip_prefix("redis://").is_some_and(|rest| {
        !rest.is_empty() && rest.len() <= 1_000 && rest.bytes().all(|byte| byte.is_ascii_graphic())
    });
    Some(written)
        .filter(|_| is_url)
        .map(|written| RedisUrl(written.to_owned()))
        .ok_or_else(|| format!("must be {expected}"))
}
