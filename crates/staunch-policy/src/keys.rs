//! Who is known by a key.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    StatusCode,
    header::{HeaderName, HeaderValue, WWW_AUTHENTICATE},
};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use staunch_config::KeyHash;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{
    asked::{Asked, Only},
    refusal::{Reason, Refusal},
};

/// A key, and its hash; made for somebody.
///
/// # Examples
/// ```
/// use staunch_policy::NewKey;
///
/// let key = NewKey::random()?;
/// assert_eq!(key.hash(), NewKey::hash_of(key.text().as_bytes()));
/// # Ok::<_, staunch_policy::NoRandomnessError>(())
/// ```
pub struct NewKey(String);

/// The system has no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bytes, so no key can be made")]
pub struct NoRandomnessError;

impl NewKey {
    /// One of 256 random bits.
    ///
    /// # Errors
    /// [`NoRandomnessError`]
    pub fn random() -> Result<NewKey, NoRandomnessError> {
        let mut bits = [0; 32];
        SystemRandom::new().fill(&mut bits).map_err(|_| NoRandomnessError)?;
        Ok(NewKey(URL_SAFE_NO_PAD.encode(bits)))
    }

    /// The key itself, for whom it was made.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What a configuration says of it.
    pub fn hash(&self) -> KeyHash {
        NewKey::hash_of(self.0.as_bytes())
    }

    /// The SHA-256 of a key.
    pub fn hash_of(key: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        KeyHash(hash)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey(..)")
    }
}

/// A hash, in words: what is compared at a time.
type Words = [u64; 4];

fn words(KeyHash(hash): KeyHash) -> Words {
    let mut words = Words::default();
    for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// The keys of a policy.
pub(crate) struct ApiKeys {
    header: HeaderName,
    identity: HeaderName,
    pass: bool,
    hashes: Vec<Words>,
    names: Vec<(String, HeaderValue)>,
    challenge: HeaderValue,
}

/// More bytes are no key of ours; they are not even hashed.
const KEY_BYTES_MAX: usize = 256;

impl ApiKeys {
    pub(crate) fn new(config: &staunch_config::ApiKeys) -> Option<ApiKeys> {
        let name = |key: &staunch_config::ApiKey| {
            Some((key.name.clone(), HeaderValue::from_str(&key.name).ok()?))
        };
        let challenge = match config.header.as_str() {
            "authorization" => "Bearer".to_owned(),
            header => format!("ApiKey header=\"{header}\""),
        };
        Some(ApiKeys {
            header: config.header.parse().ok()?,
            identity: config.identity.parse().ok()?,
            pass: config.pass,
            hashes: config.keys.iter().map(|key| words(key.hash)).collect(),
            names: config.keys.iter().map(name).collect::<Option<_>>()?,
            challenge: challenge.parse().ok()?,
        })
    }

    /// Whose key it is, by its place.
    pub(crate) fn check(&self, asked: &Asked<'_>) -> Result<usize, Refusal> {
        let written = match self.header.as_str() {
            "authorization" => asked.bearer(),
            header => asked.only(header),
        };
        let refuse = |text| {
            Refusal::new(StatusCode::UNAUTHORIZED, Reason::Key, text)
                .header(WWW_AUTHENTICATE, self.challenge.clone())
        };
        match written {
            Only::Nothing => Err(refuse("A key is needed here")),
            Only::Several => Err(refuse("One key is needed here, and there are several")),
            Only::One(key) => self.find(key).ok_or_else(|| refuse("The key is not known here")),
        }
    }

    /// All are compared, and each to its end: how long it takes says nothing of them.
    fn find(&self, key: &[u8]) -> Option<usize> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = words(NewKey::hash_of(key));
        let (mut found, mut place) = (Choice::from(0), 0);
        for (index, known) in (0_u64..).zip(&self.hashes) {
            let differs =
                known.iter().zip(&hash).fold(0, |bits, (one, other)| bits | (one ^ other));
            let is_it = differs.ct_eq(&0);
            place = u64::conditional_select(&place, &index, is_it);
            found |= is_it;
        }
        bool::from(found).then(|| usize::try_from(place).ok())?
    }

    pub(crate) fn name(&self, place: usize) -> Option<(&str, &HeaderValue)> {
        self.names.get(place).map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The header by which the server is told whose key it was.
    pub(crate) fn identity(&self) -> &HeaderName {
        &self.identity
    }

    /// The header of the key, if the server is not to have it.
    pub(crate) fn taken_out(&self) -> Option<&HeaderName> {
        (!self.pass).then_some(&self.header)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.debug_struct("ApiKeys").field("names", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use staunch_config::ApiKey;

    use super::*;

    fn keys(header: &str, keys: &[&str]) -> ApiKeys {
        let key =
            |key: &&str| ApiKey { name: format!("n{key}"), hash: NewKey::hash_of(key.as_bytes()) };
        ApiKeys::new(&staunch_config::ApiKeys {
            header: header.to_owned(),
            keys: keys.iter().map(key).collect(),
            identity: "x-consumer".to_owned(),
            pass: false,
        })
        .unwrap()
    }

    /// FIPS 180-2, B.1.
    #[test]
    fn a_hash_is_sha_256() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(NewKey::hash_of(b"abc").to_string(), hash);
        let [one, other] = [NewKey::random().unwrap(), NewKey::random().unwrap()];
        assert!(one.text().len() == 43 && one.text() != other.text());
        assert!(!format!("{one:?}").contains(one.text()));
    }

    #[test]
    fn who_has_a_key_is_known() {
        let check = |keys: &ApiKeys, name: &[u8], value: &[u8]| {
            let fields: [(&[u8], &[u8]); 1] = [(name, value)];
            let asked = Asked {
                client: None,
                is_secure: false,
                names: None,
                method: "GET",
                fields: &fields,
            };
            keys.check(&asked).map_err(|refusal| refusal.headers[WWW_AUTHENTICATE].clone())
        };
        let two = keys("x-api-key", &["1", "2"]);
        assert_eq!(check(&two, b"X-Api-Key", b"2"), Ok(1));
        assert_eq!(check(&two, b"X-Api-Key", b"3").unwrap_err(), "ApiKey header=\"x-api-key\"");
        assert!(check(&two, b"authorization", b"Bearer 1").is_err());
        let bearer = keys("authorization", &["1"]);
        assert_eq!(check(&bearer, b"authorization", b"Bearer 1"), Ok(0));
        assert_eq!(check(&bearer, b"authorization", b"Basic 1").unwrap_err(), "Bearer");
        assert!(check(&two, b"x-api-key", &[b'1'; KEY_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn it_is_found_where_it_stands(all in prop::collection::hash_set("[a-z]{1,3}", 1..9), asked in "[a-z]{1,3}") {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let place = all.iter().position(|key| *key == asked);
            prop_assert_eq!(keys("x-api-key", &all).find(asked.as_bytes()), place);
        }
    }
}
