//! What a TLS listener presents.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::tls::{
    files::{LoadTlsError, Stamp, read_certificates, read_key, rejected},
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
    paths: Paths,
    current: RwLock<Current>,
}

/// What is read, and what for.
#[derive(Clone)]
struct Paths {
    certificates: PathBuf,
    key: PathBuf,
    alpn: Vec<Vec<u8>>,
    clients: Option<Clients>,
}

/// Whose certificates clients may show.
#[derive(Clone)]
struct Clients {
    authorities: PathBuf,
    auth: ClientAuth,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Without one there is no connection.
    Required,
    /// They may; [`TlsConnection::peer_names`](crate::TlsConnection::peer_names) says whether they
    /// have.
    Optional,
}

/// What the files said when they were last good, and what they looked like last.
struct Current {
    server: Arc<ServerConfig>,
    validity: Option<Validity>,
    stamps: Stamps,
}

/// Of the certificates, of the key, and of those who sign for clients.
type Stamps = [Stamp; 3];

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
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (certificates, key) = (certificates.into(), key.into());
        let paths = Paths { certificates, key, alpn, clients: None };
        let config = TlsConfig::of(paths, CHECK_EVERY)?;
        if let Some(complaint) = config.complaint() {
            tracing::warn!("{complaint}");
        }
        Ok(config)
    }

    fn of(paths: Paths, check_every: Duration) -> Result<TlsConfig, LoadTlsError> {
        let stamps = paths.stamps();
        let (server, validity) = load(&paths)?;
        let current = RwLock::new(Current { server, validity, stamps });
        Ok(TlsConfig { files: Arc::new(Files { paths, current }), check_every })
    }

    /// Asks clients for a certificate that one of those in this PEM file has signed, directly or
    /// through others that the client shows, too. One that does not hold ends the handshake. The
    /// file is looked after like the others; it is read now, which blocks for a moment. Lists of
    /// what has been revoked are not looked at: certificates should be short-lived.
    ///
    /// # Errors
    /// [`LoadTlsError`]
    pub fn client_auth(
        self,
        authorities: impl Into<PathBuf>,
        auth: ClientAuth,
    ) -> Result<TlsConfig, LoadTlsError> {
        let clients = Some(Clients { authorities: authorities.into(), auth });
        let paths = Paths { clients, ..self.files.paths.clone() };
        TlsConfig::of(paths, self.check_every)
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

    /// What is wrong with the certificate's dates, if anything: it is used all the same.
    pub fn complaint(&self) -> Option<String> {
        let complaint = self.current().validity?.complaint(SystemTime::now())?;
        let certificates = self.files.paths.certificates.display();
        Some(format!("{certificates}: the certificate {complaint}; clients refuse it"))
    }

    /// Takes the files if they have changed since the last look, and says whether they had.
    /// Blocks while it reads them.
    ///
    /// The looks are compared first, so a file that changes while it is read is read again
    /// next time. Files that cannot be used leave everything as it is, and are not read again
    /// until they change.
    pub(crate) fn check(&self) -> Result<bool, LoadTlsError> {
        let Files { paths, current } = &*self.files;
        let stamps = paths.stamps();
        if self.current().stamps == stamps {
            return Ok(false);
        }
        let loaded = load(paths);
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
            .field("certificates", &self.files.paths.certificates)
            .field("key", &self.files.paths.key)
            .finish_non_exhaustive()
    }
}

type Loaded = (Arc<ServerConfig>, Option<Validity>);

impl Paths {
    fn stamps(&self) -> Stamps {
        let authorities = self.clients.as_ref().map_or(&self.key, |clients| &clients.authorities);
        [&self.certificates, &self.key, authorities].map(|path| Stamp::of(path))
    }
}

impl Clients {
    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, LoadTlsError> {
        let path = &self.authorities;
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(read_certificates(path)?);
        let none = || LoadTlsError::NoCertificate { path: path.clone() };
        if taken == 0 {
            return Err(none());
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match self.auth {
            ClientAuth::Required => verifier,
            ClientAuth::Optional => verifier.allow_unauthenticated(),
        };
        verifier.build().map_err(|_| none())
    }
}

fn load(paths: &Paths) -> Result<Loaded, LoadTlsError> {
    let Paths { certificates, key, alpn, clients } = paths;
    let chain = read_certificates(certificates)?;
    let validity = chain.first().and_then(|certificate| Validity::of(certificate));
    let private_key = read_key(key)?;
    let rejected = |source| rejected(source, certificates, key);
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(rejected)?;
    let server = match clients {
        None => server.with_no_client_auth(),
        Some(clients) => server.with_client_cert_verifier(clients.verifier(provider)?),
    };
    let mut server = server.with_single_cert(chain, private_key).map_err(rejected)?;
    server.alpn_protocols.clone_from(alpn);
    Ok((Arc::new(server), validity))
}
