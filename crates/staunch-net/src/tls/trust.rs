//! What a TLS dialer believes.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::tls::files::{LoadTlsError, read_certificates};

/// The root certificates that a dialer believes, and the protocols that it speaks. Clones share
/// them, and the sessions that can be resumed.
///
/// # Examples
/// ```no_run
/// use staunch_net::TlsTrust;
/// let trust = TlsTrust::load("/etc/service/ca.crt", &["h2", "http/1.1"])?;
/// # Ok::<_, staunch_net::LoadTlsError>(())
/// ```
#[derive(Clone)]
pub struct TlsTrust {
    client: Arc<ClientConfig>,
}

/// Where distributions keep their roots: the list of Go's `crypto/x509/root_linux.go`.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl TlsTrust {
    /// Believes the root certificates in a PEM file; `alpn` are the protocols it speaks, the
    /// preferred first. It reads a file, and so blocks for a moment.
    ///
    /// # Errors
    /// [`LoadTlsError`], which names the file and what to do.
    pub fn load(roots: impl AsRef<Path>, alpn: &[&str]) -> Result<TlsTrust, LoadTlsError> {
        let path = roots.as_ref();
        let mut roots = RootCertStore::empty();
        // A bundle may hold a few that rustls does not take; if it takes none, that is an error.
        let (taken, _) = roots.add_parsable_certificates(read_certificates(path)?);
        if taken == 0 {
            return Err(LoadTlsError::NoCertificate { path: path.to_owned() });
        }
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| LoadTlsError::Rejected { path: path.to_owned(), source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsTrust { client: Arc::new(client) })
    }

    /// Believes what the system does: the file that `SSL_CERT_FILE` names, else the
    /// distribution's.
    ///
    /// # Errors
    /// As for [`TlsTrust::load`], and when no such file is found.
    pub fn system(alpn: &[&str]) -> Result<TlsTrust, LoadTlsError> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let found = || SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
        let roots = named.or_else(found).ok_or(LoadTlsError::NoSystemRoots)?;
        TlsTrust::load(roots, alpn)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust").finish_non_exhaustive()
    }
}
