//! What a TLS dialer believes.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::tls::files::{LoadTlsError, read_certificates, read_key, rejected};

/// The root certificates that a dialer believes, the protocols that it speaks, and who it is
/// itself, if servers ask. Clones share them, and the sessions that can be resumed. Two that were
/// made of the same certificates for the same protocols are equal, wherever these were read from.
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
    /// Of all that it was made of.
    hash: u64,
}

impl PartialEq for TlsTrust {
    fn eq(&self, other: &TlsTrust) -> bool {
        self.hash == other.hash
    }
}

impl Eq for TlsTrust {}

/// Nobody can choose certificates that are taken for others.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

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
        TlsTrust::make(roots.as_ref(), alpn, None)
    }

    /// As [`TlsTrust::load`]; servers that ask for a certificate are shown the chain in the PEM
    /// file `certificate`, whose private key is in the PEM file `key`.
    ///
    /// # Errors
    /// [`LoadTlsError`], which names the file and what to do.
    pub fn load_as(
        roots: impl AsRef<Path>,
        alpn: &[&str],
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<TlsTrust, LoadTlsError> {
        TlsTrust::make(roots.as_ref(), alpn, Some((certificate.as_ref(), key.as_ref())))
    }

    fn make(
        path: &Path,
        alpn: &[&str],
        identity: Option<(&Path, &Path)>,
    ) -> Result<TlsTrust, LoadTlsError> {
        let mut hasher = KEY.build_hasher();
        alpn.hash(&mut hasher);
        let certificates = read_certificates(path)?;
        certificates.hash(&mut hasher);
        let mut roots = RootCertStore::empty();
        // A bundle may hold a few that rustls does not take; if it takes none, that is an error.
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(LoadTlsError::NoCertificate { path: path.to_owned() });
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| LoadTlsError::Rejected { path: path.to_owned(), source })?
            .with_root_certificates(roots);
        let mut client = match identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let (chain, secret) = (read_certificates(certificates)?, read_key(key)?);
                chain.hash(&mut hasher);
                secret.secret_der().hash(&mut hasher);
                let made = builder.with_client_auth_cert(chain, secret);
                made.map_err(|source| rejected(source, certificates, key))?
            }
        };
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsTrust { client: Arc::new(client), hash: hasher.finish() })
    }

    /// Believes what the system does: the file that `SSL_CERT_FILE` names, else the
    /// distribution's.
    ///
    /// # Errors
    /// As for [`TlsTrust::load`], and when no such file is found.
    pub fn system(alpn: &[&str]) -> Result<TlsTrust, LoadTlsError> {
        TlsTrust::load(TlsTrust::system_roots()?, alpn)
    }

    /// The file of root certificates that [`TlsTrust::system`] reads.
    ///
    /// # Errors
    /// When no such file is found.
    pub fn system_roots() -> Result<PathBuf, LoadTlsError> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let found = || SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
        named.or_else(found).ok_or(LoadTlsError::NoSystemRoots)
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
