//! The keys that tokens are signed with, as a JWK set (RFC 7517, 5; RFC 7518, 6; RFC 8037).

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey},
};
use serde::Deserialize;
use serde_json::Value;
use staunch_config::JwtAlgorithm;

/// Keys, by name.
#[derive(Debug)]
pub struct JwtKeySet(pub(super) Vec<Key>);

/// What was given are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseKeySetError {
    /// It is no JSON, or another.
    #[error("this is no JWK set: it must be JSON with `keys` (RFC 7517, 5)")]
    NoSet,
    /// It is what most tools write keys as.
    #[error("PEM is not taken: make it a JWK set (RFC 7517, 5)")]
    Pem,
    /// There are more than are looked at.
    #[error("the JWK set has more than {KEYS_MAX} keys")]
    TooMany,
    /// None of them can be used.
    #[error(
        "the JWK set has no key that can be used: RSA from 2048 bits, EC on P-256 or P-384, Ed25519, \
         oct from 32 bytes; not for encryption"
    )]
    NoKey,
}

const KEYS_MAX: usize = 100;
/// RFC 7518, 3.2: as long as what SHA-256 makes.
const SECRET_BYTES_MIN: usize = 32;
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

pub(crate) struct Key {
    name: Option<String>,
    /// What it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// As it is written; keys of kinds that are not known here have other members.
#[derive(Deserialize)]
struct Written {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    k: Option<String>,
}

impl JwtKeySet {
    /// The keys of a JWK set that can be used here; others are left out (RFC 7517, 5).
    ///
    /// # Errors
    /// [`ParseKeySetError`]
    pub fn parse(json: &[u8]) -> Result<JwtKeySet, ParseKeySetError> {
        if json.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(ParseKeySetError::Pem);
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| ParseKeySetError::NoSet)?;
        if set.keys.len() > KEYS_MAX {
            return Err(ParseKeySetError::TooMany);
        }
        let written = set.keys.into_iter().filter_map(|key| Written::deserialize(key).ok());
        let keys: Vec<Key> = written.filter_map(Key::of).collect();
        if keys.is_empty() { Err(ParseKeySetError::NoKey) } else { Ok(JwtKeySet(keys)) }
    }

    /// Whether a token of one of these can have been signed by one of them.
    pub(super) fn has_one_for(&self, algorithms: &[JwtAlgorithm]) -> bool {
        self.0.iter().any(|key| algorithms.iter().any(|algorithm| key.is_for(*algorithm)))
    }

    /// The key of this name; without a name, the only one that there is for the algorithm.
    pub(crate) fn find(&self, algorithm: JwtAlgorithm, name: Option<&str>) -> Option<&Key> {
        let mut fit = self.0.iter().filter(|key| key.is_for(algorithm));
        match name {
            Some(name) => fit.find(|key| key.name.as_deref() == Some(name)),
            None => fit.next().filter(|_| fit.next().is_none()),
        }
    }
}

impl Key {
    fn of(written: Written) -> Option<Key> {
        let is_for_signatures = written.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if !is_for_signatures || !written.key_ops.as_ref().is_none_or(verifies) {
            return None;
        }
        let material = Material::of(&written)?;
        Some(Key { name: written.kid, algorithm: written.alg, material })
    }

    fn is_for(&self, algorithm: JwtAlgorithm) -> bool {
        use JwtAlgorithm as A;
        let fits = match self.material {
            Material::Rsa { .. } => {
                matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512)
            }
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::Ed25519(_) => algorithm == A::EdDsa,
            Material::Secret(_) => matches!(algorithm, A::Hs256 | A::Hs384 | A::Hs512),
        };
        fits && self.algorithm.as_deref().is_none_or(|own| own == algorithm.name())
    }

    /// Whether `signature` is that of this key for `signed`.
    pub(crate) fn has_signed(
        &self,
        algorithm: JwtAlgorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        let verified = match (&self.material, hash(algorithm), rsa(algorithm)) {
            (Material::Rsa { n, e }, _, Some(parameters)) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }
            (Material::P256(point), ..) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Material::P384(point), ..) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Material::Ed25519(point), ..) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(signed, signature).is_ok()
            }
            (Material::Secret(secret), Some(hash), _) => {
                hmac::verify(&hmac::Key::new(hash, secret), signed, signature).is_ok()
            }
            _ => false,
        };
        verified && self.is_for(algorithm)
    }
}

impl Material {
    fn of(written: &Written) -> Option<Material> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        // An uncompressed point (SEC 1, 2.3.3).
        let point = |length: usize| {
            let (x, y) = (bytes(&written.x)?, bytes(&written.y)?);
            (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
        };
        match (written.kty.as_str(), written.crv.as_deref()) {
            ("RSA", _) => {
                let n = bytes(&written.n).filter(|n| RSA_BYTES.contains(&n.len()))?;
                Some(Material::Rsa { n, e: bytes(&written.e)? })
            }
            ("EC", Some("P-256")) => point(32).map(Material::P256),
            ("EC", Some("P-384")) => point(48).map(Material::P384),
            ("OKP", Some("Ed25519")) => {
                bytes(&written.x).filter(|x| x.len() == 32).map(Material::Ed25519)
            }
            ("oct", _) => {
                bytes(&written.k).filter(|k| k.len() >= SECRET_BYTES_MIN).map(Material::Secret)
            }
            _ => None,
        }
    }
}

fn hash(algorithm: JwtAlgorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        JwtAlgorithm::Hs256 => Some(hmac::HMAC_SHA256),
        JwtAlgorithm::Hs384 => Some(hmac::HMAC_SHA384),
        JwtAlgorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: JwtAlgorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        JwtAlgorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        JwtAlgorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        JwtAlgorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        JwtAlgorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        JwtAlgorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        JwtAlgorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}
