//! `[policy.keys]`: who is known by a key.

use std::fmt;
use std::str::FromStr;

use super::headers::name as header_name;
use crate::listener::is_name;
use crate::reader::Section;
use crate::reader::kinds::boolean;

/// A request must have one of these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeys {
    /// The header that the key stands in, in lower case. \[`x-api-key`: what most clients have a
    /// setting for\] In `authorization` it stands behind `Bearer`.
    pub header: String,
    /// Those who have one.
    pub keys: Vec<ApiKey>,
    /// The header by which the server is told whose key it was. \[`x-consumer`\] What a client says
    /// there is always taken out.
    pub identity: String,
    /// Whether the server gets the key, too. \[false: it has no use for it, and might log it\]
    pub pass: bool,
}

/// Whose key it is, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// 1 to 32 of a-z, 0-9 and -.
    pub name: String,
    /// Its SHA-256. A key has 256 random bits, so that nobody finds it by trying, and a slow hash would
    /// only cost time for each request.
    pub hash: KeyHash,
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

/// What is written is no SHA-256 in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct ParseKeyHashError;

const KEYS_MAX: usize = 1_000;

impl FromStr for KeyHash {
    type Err = ParseKeyHashError;

    fn from_str(text: &str) -> Result<Self, ParseKeyHashError> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(ParseKeyHashError)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl ApiKeys {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let header = section.optional("header", header_name, "x-api-key".to_owned());
        let identity = section.optional("identity", header_name, "x-consumer".to_owned());
        if header == identity {
            section.wrong("identity", "must be another header than that of the key");
        }
        let hashed = "a list such as [\"shop: HASH\"]: of each key a name (1 to 32 of a-z, 0-9 and -) \
                      and its SHA-256 in 64 hexadecimal digits, which `staunch key NAME` prints";
        if !section.has("keys") {
            section.missing("keys", format!("write {hashed}"));
        }
        // Whoever writes a key itself there has not meant to show it.
        let keys = section.written_secret("keys", |value| {
            let entries = value.as_array().filter(|keys| (1..=KEYS_MAX).contains(&keys.len()));
            let entries = entries.ok_or_else(|| format!("must be {hashed}"))?;
            let keys = (1..).zip(entries).map(|(number, entry)| {
                let key = entry.get_ref().as_str().and_then(key);
                key.ok_or_else(|| format!("must be {hashed}; entry {number} is not"))
            });
            keys.collect::<Result<Vec<ApiKey>, String>>()
        });
        let pass = section.optional("pass", boolean, false);
        let keys = keys?;
        for (index, key) in keys.iter().enumerate() {
            let earlier = &keys[..index];
            if earlier.iter().any(|earlier| earlier.hash == key.hash) {
                section.wrong(
                    "keys",
                    &format!("must hold each key once; \"{}\"'s is there twice", key.name),
                );
            }
        }
        Some(Self { header, keys, identity, pass })
    }
}

fn key(written: &str) -> Option<ApiKey> {
    let (name, hash) = written.split_once(':')?;
    let hash = hash.trim().parse().ok()?;
    Some(ApiKey { name: Some(name.trim()).filter(|name| is_name(name))?.to_owned(), hash })
}
