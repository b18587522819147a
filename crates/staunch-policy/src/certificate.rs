//! Who is known by the certificate of their connection.

use http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use staunch_config::ClientCertificate;

use crate::refusal::{Reason, Refusal};

/// The names of which a certificate must have one.
#[derive(Debug)]
pub(crate) struct Certificate {
    names: Vec<String>,
    identity: HeaderName,
}

impl Certificate {
    pub(crate) fn new(config: &ClientCertificate) -> Option<Certificate> {
        Some(Certificate { names: config.names.clone(), identity: config.identity.parse().ok()? })
    }

    /// What the server is told of whoever has shown a certificate with these names.
    pub(crate) fn check(&self, names: Option<&[String]>) -> Result<Option<HeaderValue>, Refusal> {
        let refuse = |text| Refusal::new(StatusCode::FORBIDDEN, Reason::Certificate, text);
        let names = names.ok_or_else(|| refuse("A certificate is needed here"))?;
        let is_ours = |name: &&String| self.names.is_empty() || self.names.contains(name);
        match names.iter().find(is_ours) {
            Some(name) => Ok(HeaderValue::from_str(name).ok()),
            None if self.names.is_empty() => Ok(None),
            None => Err(refuse("Your certificate is not known here")),
        }
    }

    /// The header by which the server is told.
    pub(crate) fn identity(&self) -> &HeaderName {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_its_names_must_be_ours() {
        let check = |ours: &[&str], names: Option<&[&str]>| {
            let owned =
                |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let config =
                ClientCertificate { names: owned(ours), identity: "x-client-name".to_owned() };
            let names = names.map(owned);
            let told = Certificate::new(&config).unwrap().check(names.as_deref());
            told.map(|told| told.map(|told| told.to_str().unwrap().to_owned())).ok()
        };
        let told = |name: &str| Some(Some(name.to_owned()));
        assert_eq!(check(&["a", "spiffe://b"], Some(&["c", "spiffe://b"])), told("spiffe://b"));
        assert_eq!(check(&["a"], Some(&["b", "*.a"])), None);
        assert_eq!(check(&["a"], Some(&[])), None);
        assert_eq!(check(&["a"], None), None);
        assert_eq!(check(&[], Some(&["c"])), told("c"));
        assert_eq!(check(&[], Some(&[])), Some(None));
        assert_eq!(check(&[], None), None);
    }
}
