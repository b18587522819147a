//! `[policy.jwt]`: who is known by a token (RFC 7519, as RFC 8725 has it used).

use std::path::PathBuf;
use std::time::Duration;

use super::forward::url;
use super::headers::pair;
use crate::reader::Section;
use crate::reader::kinds::{boolean, choices, duration, list_of, path, text};

/// A request must have a token in `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// Where the keys are.
    pub keys: JwtKeys,
    /// How a token may be signed; what it says itself counts only if it is one of these.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Who must have made it (`iss`).
    pub issuer: String,
    /// For whom it must be: one of these (`aud`).
    pub audience: Vec<String>,
    /// How far clocks may be apart. \[30s\]
    pub leeway: Duration,
    /// What it must say besides, or the request is refused with 403.
    pub require: Vec<ClaimMatch>,
    /// What of it the server is told, in which header. What a client says there is always taken out.
    pub headers: Vec<ClaimHeader>,
    /// Whether the server gets the token, too. \[true: many look into it themselves\]
    pub pass: bool,
}

/// Where the keys are, as a JWK set (RFC 7517, 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// In a file, which is read at the start and when the configuration is taken up again.
    File(PathBuf),
    /// At a URL.
    Url {
        /// Which one.
        url: String,
        /// After how long they are asked for again; at once for a key that is not known, but not more
        /// often than every ten seconds. \[1h\] Without an answer the last good ones stay.
        refresh: Duration,
    },
}

/// How a token is signed (RFC 7518, 3.1; RFC 8037). There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called as in the standard")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMatch {
    /// Which claim.
    pub claim: String,
    /// What it must be: its text, or one of its texts if it is a list or, as `scope` is, text with
    /// spaces between.
    pub value: String,
}

/// A claim that the server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// In which header, in lower case.
    pub header: String,
    /// Which claim.
    pub claim: String,
}

const ALGORITHMS: [(&str, JwtAlgorithm); 12] = [
    ("HS256", JwtAlgorithm::Hs256),
    ("HS384", JwtAlgorithm::Hs384),
    ("HS512", JwtAlgorithm::Hs512),
    ("RS256", JwtAlgorithm::Rs256),
    ("RS384", JwtAlgorithm::Rs384),
    ("RS512", JwtAlgorithm::Rs512),
    ("PS256", JwtAlgorithm::Ps256),
    ("PS384", JwtAlgorithm::Ps384),
    ("PS512", JwtAlgorithm::Ps512),
    ("ES256", JwtAlgorithm::Es256),
    ("ES384", JwtAlgorithm::Es384),
    ("EdDSA", JwtAlgorithm::EdDsa),
];

const LEEWAY: Duration = Duration::from_secs(30);
const LEEWAY_MAX: Duration = Duration::from_mins(10);
const REFRESH: Duration = Duration::from_hours(1);
const REFRESH_MIN: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_hours(24 * 7);

impl JwtAlgorithm {
    /// As a token names it.
    pub fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl Jwt {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let file = section.written("keys_file", path(section.source()));
        let at = section.written("keys_url", url);
        let refresh = section.optional("refresh", duration(REFRESH_MIN..=REFRESH_MAX), REFRESH);
        match (section.has("keys_file"), section.has("keys_url")) {
            (false, false) => {
                let why = "write it, or keys_url = \"https://HOST/.well-known/jwks.json\"";
                section.missing("keys_file", why.to_owned());
            }
            (true, true) => section.wrong("keys_url", "must not be written beside `keys_file`"),
            (true, false) => section.refuse("refresh", "there is no `keys_url`"),
            (false, true) => {}
        }
        let algorithms = section.required("algorithms", "[\"RS256\"]", choices(&ALGORITHMS));
        if algorithms.as_ref().is_some_and(Vec::is_empty) {
            section.wrong("algorithms", "must name one at least");
        }
        let issuer = section.required("issuer", "\"https://id.example.com\"", |value| {
            text(value, "what `iss` must be").map(str::to_owned)
        });
        let own = |text: &str| Ok::<_, String>(text.to_owned());
        let audience = list_of("what `aud` may be, such as [\"api\"]", own);
        let audience = section.required("audience", "[\"api\"]", audience);
        if audience.as_ref().is_some_and(Vec::is_empty) {
            section.wrong("audience", "must name one at least (RFC 8725, 3.9)");
        }
        let leeway = section.optional("leeway", duration(Duration::ZERO..=LEEWAY_MAX), LEEWAY);
        let require = list_of("claims, such as [\"scope: orders\"]", claim);
        let require = section.optional("require", require, Vec::new());
        let headers = list_of("headers with a claim, such as [\"x-user: sub\"]", claim_header);
        let headers = section.optional("headers", headers, Vec::new());
        let pass = section.optional("pass", boolean, true);
        let keys = match (file, at) {
            (Some(file), _) => JwtKeys::File(file),
            (None, Some(url)) => JwtKeys::Url { url, refresh },
            (None, None) => return None, // which is said
        };
        Some(Self {
            keys,
            algorithms: algorithms?,
            issuer: issuer?,
            audience: audience?,
            leeway,
            require,
            headers,
            pass,
        })
    }
}

fn claim(written: &str) -> Result<ClaimMatch, &'static str> {
    let parts = written.split_once(':').map(|(claim, value)| (claim.trim(), value.trim()));
    match parts {
        Some((claim, value)) if !claim.is_empty() && !value.is_empty() => {
            Ok(ClaimMatch { claim: claim.to_owned(), value: value.to_owned() })
        }
        _ => Err("must be a claim and its value, such as `scope: orders`"),
    }
}

fn claim_header(written: &str) -> Result<ClaimHeader, &'static str> {
    let (header, claim) = pair(written)?;
    if claim.is_empty() {
        return Err("must be a header and a claim, such as `x-user: sub`");
    }
    Ok(ClaimHeader { header, claim })
}
