//! Who is asked to connect in our place.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};

/// An HTTP proxy. Its credentials are shown nowhere: `Debug` and `Display` tell where it is.
///
/// # Examples
/// ```
/// use staunch_net::HttpProxy;
///
/// let proxy = HttpProxy::new("proxy.internal:3128").basic("me", "secret");
/// assert_eq!(proxy.to_string(), "proxy proxy.internal:3128");
/// assert!(!format!("{proxy:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpProxy {
    address: Arc<str>,
    authorization: Option<Arc<str>>,
}

impl HttpProxy {
    /// The proxy at `host:port`.
    pub fn new(address: impl Into<Arc<str>>) -> HttpProxy {
        HttpProxy { address: address.into(), authorization: None }
    }

    /// Tells it who asks (RFC 7617). A `user` has no colon: what is after it would be taken for a
    /// part of the password.
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> HttpProxy {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.authorization = Some(format!("Basic {credentials}").into());
        self
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it is told in `Proxy-Authorization`: a secret.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", self.address)
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy").field("address", &self.address).finish_non_exhaustive()
    }
}
