//! The three parts of a token (RFC 7515, 7.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token whose signature has not been looked at.
pub(crate) struct Token<'t> {
    header: Header,
    signed: &'t [u8],
    claims: &'t [u8],
    signature: Vec<u8>,
}

/// What it says of itself. Where a key could be had, which it may say, too, is nothing to believe (RFC
/// 8725, 3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood; there is nothing of the kind here (RFC 7515, 4.1.11).
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// A head has 16 KiB by default; tokens have one or two.
const BYTES_MAX: usize = 16 << 10;

impl<'t> Token<'t> {
    pub(crate) fn parse(token: &'t [u8]) -> Option<Token<'t>> {
        if token.len() > BYTES_MAX {
            return None;
        }
        let dot = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'.');
        let first = dot(token)?;
        let second = first + 1 + dot(token.get(first + 1..)?)?;
        let (signed, signature) = (token.get(..second)?, token.get(second + 1..)?);
        let header: Header = serde_json::from_slice(&decoded(token.get(..first)?)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let claims = token.get(first + 1..second)?;
        Some(Token { header, signed, claims, signature: decoded(signature)? })
    }

    pub(crate) fn algorithm(&self) -> &str {
        &self.header.alg
    }

    /// The name of its key.
    pub(crate) fn key(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(crate) fn signed(&self) -> &[u8] {
        self.signed
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What it says; to be believed only if it is signed.
    pub(crate) fn claims(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(&decoded(self.claims)?).ok()
    }
}

fn decoded(part: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
