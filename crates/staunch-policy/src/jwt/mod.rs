//! Who is known by a token (RFC 7519, with what RFC 8725 says of its use).
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | a policy's tokens: what they must say |
//! | `token` | the three parts of a token, and its signature |
//! | `key_set` | the keys, as a JWK set |
//!
//! The cryptography is `ring`'s. What is left of a token is base64url and JSON, which takes less than the
//! libraries for it bring along: one of them has RSA that leaks the private key by its timing
//! (RUSTSEC-2023-0071), the other needs cmake.
//!
//! **Invariant.** A key is of one kind, and an algorithm takes keys of one kind: that a public RSA key is
//! taken for the secret of an HMAC cannot be written.

mod key_set;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{
    StatusCode,
    header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value};
use staunch_config::{ClaimMatch, JwtKeys};

pub use self::key_set::{JwtKeySet, ParseKeySetError};
use self::token::Token;
use crate::{
    asked::{Asked, Only},
    policy::PolicyError,
    refusal::{Reason, Refusal},
};

/// The tokens that a policy takes.
pub struct Jwt {
    config: staunch_config::Jwt,
    /// In which header which claim goes on.
    headers: Vec<(HeaderName, String)>,
    /// `None` until they are there.
    keys: Arc<ArcSwapOption<JwtKeySet>>,
}

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// There is none, or several.
    Missing,
    Several,
    /// It is no token, or signed in a way that is not taken.
    Malformed,
    Algorithm,
    /// None of the keys is the one it names.
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    Issuer,
    Audience,
    /// It does not say what it must.
    Claim,
}

/// What a file of keys may have.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Jwt {
    pub(crate) fn new(
        config: &staunch_config::Jwt,
        before: Option<&Jwt>,
    ) -> Result<Jwt, PolicyError> {
        let headers =
            config.headers.iter().map(|it| Some((it.header.parse().ok()?, it.claim.clone())));
        let headers = headers.collect::<Option<_>>().ok_or(PolicyError::Value("headers"))?;
        let keys = match &config.keys {
            JwtKeys::File(path) => {
                let unreadable = |source| PolicyError::Unreadable { path: path.clone(), source };
                let text = read(path).map_err(unreadable)?;
                let set = JwtKeySet::parse(&text)
                    .map_err(|source| PolicyError::KeySet { path: path.clone(), source })?;
                if !set.has_one_for(&config.algorithms) {
                    let names: Vec<_> =
                        config.algorithms.iter().map(|it| format!("`{}`", it.name())).collect();
                    let algorithms = names.join(", ");
                    return Err(PolicyError::NoKeyFits { path: path.clone(), algorithms });
                }
                Arc::new(ArcSwapOption::from_pointee(set))
            }
            JwtKeys::Url { url, .. } => {
                let is_there = |(known, _): (&str, Duration)| known == url;
                let same = before.filter(|before| before.url().is_some_and(is_there));
                same.map_or_else(Arc::default, |before| Arc::clone(&before.keys))
            }
        };
        Ok(Jwt { config: config.clone(), headers, keys })
    }

    /// Where its keys are asked for, and after how long again; `None` if they are in a file.
    pub fn url(&self) -> Option<(&str, Duration)> {
        match &self.config.keys {
            JwtKeys::Url { url, refresh } => Some((url, *refresh)),
            JwtKeys::File(_) => None,
        }
    }

    /// Takes new keys instead of those it has.
    pub fn take(&self, keys: Arc<JwtKeySet>) {
        self.keys.store(Some(keys));
    }

    /// What the server is told of whoever has a token.
    pub(crate) fn check(
        &self,
        asked: &Asked<'_>,
        date: Duration,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, TokenError> {
        let claims = match asked.bearer() {
            Only::Nothing => return Err(TokenError::Missing),
            Only::Several => return Err(TokenError::Several),
            Only::One(token) => self.verify(token, date.as_secs())?,
        };
        let told = self.headers.iter().filter_map(|(header, claim)| {
            let text = text(claims.get(claim)?)?;
            Some((header.clone(), HeaderValue::from_str(&text).ok()?))
        });
        Ok(told.collect())
    }

    /// What a token says, if it holds at `now`, in seconds since 1970.
    fn verify(&self, token: &[u8], now: u64) -> Result<Map<String, Value>, TokenError> {
        let token = Token::parse(token).ok_or(TokenError::Malformed)?;
        let known = self.config.algorithms.iter().find(|it| it.name() == token.algorithm());
        let algorithm = *known.ok_or(TokenError::Algorithm)?;
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(TokenError::UnknownKey)?;
        let key = keys.find(algorithm, token.key()).ok_or(TokenError::UnknownKey)?;
        if !key.has_signed(algorithm, token.signed(), token.signature()) {
            return Err(TokenError::Signature);
        }
        let claims = token.claims().ok_or(TokenError::Malformed)?;
        self.check_claims(&claims, now)?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: u64) -> Result<(), TokenError> {
        let (now, leeway) = (now as f64, self.config.leeway.as_secs_f64());
        // RFC 7519, 2: seconds, which may have a fraction. One without an end is not taken.
        let date =
            |name: &str| claims.get(name).map(|date| date.as_f64().ok_or(TokenError::Malformed));
        let expires = date("exp").transpose()?.ok_or(TokenError::Expired)?;
        if now >= expires + leeway {
            return Err(TokenError::Expired);
        }
        if date("nbf").transpose()?.is_some_and(|begins| now < begins - leeway) {
            return Err(TokenError::NotYet);
        }
        if claims.get("iss").and_then(Value::as_str) != Some(self.config.issuer.as_str()) {
            return Err(TokenError::Issuer);
        }
        let is_ours = |value: &Value| {
            value.as_str().is_some_and(|it| self.config.audience.iter().any(|own| own == it))
        };
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        let says = |required: &ClaimMatch| {
            claims.get(&required.claim).is_some_and(|value| has(value, &required.value))
        };
        if self.config.require.iter().all(says) { Ok(()) } else { Err(TokenError::Claim) }
    }

    /// The headers that the server is told in, and nobody else may say.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(header, _)| header)
    }

    /// Whether the server does not get the token.
    pub(crate) fn is_taken_out(&self) -> bool {
        !self.config.pass
    }

    /// What whoever has sent such a token is told (RFC 6750, 3).
    pub(crate) fn refusal(&self, error: TokenError) -> Refusal {
        if error == TokenError::UnknownKey && self.keys.load().is_none() {
            let text = "Tokens cannot be looked at at present";
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::TokenKeys, text)
                .header(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        let (status, reason, challenge, text) = match error {
            TokenError::Claim => (
                StatusCode::FORBIDDEN,
                Reason::Claim,
                "Bearer error=\"insufficient_scope\"",
                "The token does not allow this",
            ),
            TokenError::Missing => {
                (StatusCode::UNAUTHORIZED, Reason::Token, "Bearer", "A token is needed here")
            }
            error => (
                StatusCode::UNAUTHORIZED,
                Reason::Token,
                "Bearer error=\"invalid_token\"",
                error.text(),
            ),
        };
        Refusal::new(status, reason, text)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

impl TokenError {
    fn text(self) -> &'static str {
        match self {
            TokenError::Missing | TokenError::Claim => "A token is needed here",
            TokenError::Several => "One token is needed here, and there are several",
            TokenError::Malformed => "This is no token",
            TokenError::Algorithm => "The token is signed in a way that is not taken here",
            TokenError::UnknownKey => "The token is signed with a key that is not known here",
            TokenError::Signature => "The signature of the token is wrong",
            TokenError::Expired => "The token has expired, or has no end",
            TokenError::NotYet => "The token is not valid yet",
            TokenError::Issuer => "The token is not from whom it must be",
            TokenError::Audience => "The token is for somebody else",
        }
    }
}

/// Whether a claim is this text, one of several, or has it as a word (RFC 8693, 4.2).
fn has(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text || own.split(' ').any(|word| word == text),
        Value::Array(several) => several.iter().any(|one| one.as_str() == Some(text)),
        Value::Bool(own) => own.to_string() == text,
        Value::Number(own) => own.to_string() == text,
        Value::Null | Value::Object(_) => false,
    }
}

/// A claim as a header has it; several with commas between.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(own) => Some(own.to_string()),
        Value::Number(own) => Some(own.to_string()),
        Value::Array(several) => {
            let texts: Option<Vec<&str>> = several.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let text = staunch_kernel::read_file(path, FILE_BYTES_MAX)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let why = format!("it has more than {FILE_BYTES_MAX} bytes: is it the right file?");
        return Err(std::io::Error::other(why));
    }
    Ok(text)
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What reads bytes.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    use super::{JwtKeySet, Token};

    /// Whether `bytes` are a token, whose parts are then within them.
    pub fn token(bytes: &[u8]) -> bool {
        let token = Token::parse(bytes);
        if let Some(token) = &token {
            assert!(bytes.starts_with(token.signed()));
            assert!(token.signature().len() < bytes.len());
            let _ = token.claims();
        }
        token.is_some()
    }

    /// Whether `bytes` are keys.
    pub fn key_set(bytes: &[u8]) -> bool {
        JwtKeySet::parse(bytes).is_ok()
    }
}

#[cfg(test)]
mod tests;
