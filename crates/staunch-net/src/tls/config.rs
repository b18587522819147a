//! What a TLS listener presents.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, SystemTime},
};

use rustls::{InconsistentKeys, ServerConfig, crypto::ring};

use crate::tls::{
    files::{LoadTlsError, Stamp, read_certificates, read_key},
    validity::Validity,
};

/// Certificate, key and protocols of a TLS listener. Clones share them.
///
/// While a listener serves with it ([`Listener::serve_tls`](crate::Listener::serve_tls)) it
/// looks at the files now and then, and takes new ones for the handshakes to come. New files
/// that cannot be used change nothing, and are reported.
///
/// # Examples
/// ```no_run
/// use staunch_net::TlsConfig;
/// let tls = TlsConfig::load("/etc/service/tls.crt", "/etc/service/tls.key", &["http/1.1"])?;
/// # Ok::<_, staunch_net::LoadTlsError>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    files: Arc<Files>,
    check_every: Duration,
}

/// Looking at two files costs two system calls, and a certificate is replaced days before it
/// expires: half a minute is often enough.
const CHECK_EVERY: Duration = Duration::from_secs(30);

struct Files {
    certificates: PathBuf,
    key: PathBuf,
    alpn: Vec<Vec<u8>>,
    current: RwLock<Current>,
}

/// What the files said when they were last good, and what they looked like last.
struct Current {
    server: Arc<ServerConfig>,
    validity: Option<Validity>,
    stamps: Stamps,
}

/// Of the certificates and of the key.
type Stamps = [Stamp; 2];

impl TlsConfig {
    /// Reads a certificate chain, the server's own first, and its private key, both PEM; `alpn`
    /// are the protocols on offer, the preferred first (RFC 7301), for instance `h2` and
    /// `http/1.1`. None means that ALPN is not used.
    ///
    /// An expired certificate is used, with a warning: the client decides. It reads two files,
    /// and so blocks for a moment.
    ///
    /// # Errors
    /// [`LoadTlsError`], which names the file and what to do.
    pub fn load(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        alpn: &[&str],
    ) -> Result<TlsConfig, LoadTlsError> {
        let (certificates, key) = (certificates.into(), key.into());
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stamps = [Stamp::of(&certificates), Stamp::of(&key)];
        let (server, validity) = load(&certificates, &key, &alpn)?;
        let current = RwLock::new(Current { server, validity, stamps });
        let config = TlsConfig {
            files: Arc::new(Files { certificates, key, alpn, current }),
            check_every: CHECK_EVERY,
        };
        if let Some(complaint) = config.complaint() {
            tracing::warn!("{complaint}");
        }
        Ok(config)
    }

    /// How often the listener looks whether the files have changed. Default 30 s.
    #[must_use]
    pub fn check_every(mut self, interval: Duration) -> TlsConfig {
        self.check_every = interval;
        self
    }

    pub(crate) fn interval(&self) -> Duration {
        self.check_every
    }

    /// For the next handshake.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().server)
    }

    /// What is wrong with the certificate's dates, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        let complaint = self.current().validity?.complaint(SystemTime::now())?;
        let certificates = self.files.certificates.display();
        Some(format!("{certificates}: the certificate {complaint}; clients refuse it"))
    }

    /// Takes the files if they have changed since the last look, and says whether they had.
    /// Blocks while it reads them.
    ///
    /// The looks are compared first, so a file that changes while it is read is read again
    /// next time. Files that cannot be used leave everything as it is, and are not read again
    /// until they change.
    pub(crate) fn check(&self) -> Result<bool, LoadTlsError> {
        let Files { certificates, key, alpn, current } = &*self.files;
        let stamps = [Stamp::of(certificates), Stamp::of(key)];
        if self.current().stamps == stamps {
            return Ok(false);
        }
        let loaded = load(certificates, key, alpn);
        let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
        current.stamps = stamps;
        (current.server, current.validity) = loaded?;
        Ok(true)
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.files.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("certificates", &self.files.certificates)
            .field("key", &self.files.key)
            .finish_non_exhaustive()
    }
}

type Loaded = (Arc<ServerConfig>, Option<Validity>);

fn load(certificates: &Path, key: &Path, alpn: &[Vec<u8>]) -> Result<Loaded, LoadTlsError> {
    let chain = read_certificates(certificates)?;
    let validity = chain.first().and_then(|certificate| Validity::of(certificate));
    let private_key = read_key(key)?;
    let rejected = |source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            LoadTlsError::WrongKey { certificates: certificates.to_owned(), key: key.to_owned() }
        }
        source => LoadTlsError::Rejected { path: certificates.to_owned(), source },
    };
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(rejected)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(rejected)?;
    server.alpn_protocols = alpn.to_vec();
    Ok((Arc::new(server), validity))
}
