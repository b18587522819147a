//! PEM files: certificates and keys, with errors that name the file and what to do about it.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustls::{
    InconsistentKeys,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use staunch_kernel::read_file;

/// The TLS files could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadTlsError {
    /// There is no such file.
    #[error(
        "{path}: no such file; a path is relative to the working directory, in a configuration to its folder"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too large for what it should be.
    #[error("{path}: larger than {limit} bytes: is it the right file?")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file has no certificate in it.
    #[error(
        "{path}: no certificate in it; it needs a `-----BEGIN CERTIFICATE-----` (PEM, not DER)"
    )]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The file has no private key in it.
    #[error(
        "{path}: no private key in it; it needs a `-----BEGIN PRIVATE KEY-----` (PEM, not encrypted)"
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The file is no PEM.
    #[error("{path}: damaged: {reason}; `openssl x509 -in FILE -noout` shows the same")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where it went wrong.
        reason: String,
    },
    /// The key is not the key of the certificate.
    #[error(
        "{key}: not the key of the first certificate in {certificates}; the certificate of the server must come first in its file"
    )]
    WrongKey {
        /// The file of the certificates.
        certificates: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A certificate says for whom it is in an extension, and this one is of a version without.
    #[error(
        "{path}: a certificate of X.509 version 1, which many clients refuse; make it with extensions \
         (`openssl x509 -req ... -extfile`, with a subjectAltName)"
    )]
    NoExtensions {
        /// Which file.
        path: PathBuf,
    },
    /// rustls does not take what is in the file.
    #[error("{path}: cannot be used: {source}")]
    Rejected {
        /// Which file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// None of the usual places has the system's roots.
    #[error("no root certificates found; install `ca-certificates`, or name a file of them")]
    NoSystemRoots,
}

/// More than any bundle of root certificates.
const LIMIT: u64 = 4 << 20;

/// The bytes of a file that should be small.
fn read(path: &Path) -> Result<Vec<u8>, LoadTlsError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LoadTlsError::Missing { path: path.to_owned() },
        _ => LoadTlsError::Unreadable { path: path.to_owned(), source },
    };
    let bytes = read_file(path, LIMIT).map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        return Err(LoadTlsError::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    Ok(bytes)
}

/// All certificates in the file, in their order; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadTlsError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| damaged(path, &error))?;
    if certificates.is_empty() {
        return Err(LoadTlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The first private key in the file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadTlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => LoadTlsError::NoKey { path: path.to_owned() },
        error => damaged(path, &error),
    })
}

/// What rustls says of it is a peer's, and has no words for this.
fn is_without_extensions(error: &rustls::Error) -> bool {
    error.to_string().contains("UnsupportedCertVersion")
}

/// Why rustls does not take these.
pub(crate) fn rejected(source: rustls::Error, certificates: &Path, key: &Path) -> LoadTlsError {
    match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            LoadTlsError::WrongKey { certificates: certificates.to_owned(), key: key.to_owned() }
        }
        source if is_without_extensions(&source) => {
            LoadTlsError::NoExtensions { path: certificates.to_owned() }
        }
        source => LoadTlsError::Rejected { path: certificates.to_owned(), source },
    }
}

fn damaged(path: &Path, error: &pem::Error) -> LoadTlsError {
    LoadTlsError::Damaged { path: path.to_owned(), reason: error.to_string() }
}

/// What changes when a file is replaced or written to; `None` when there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Option<[i64; 4]>);

impl Stamp {
    pub(crate) fn of(path: &Path) -> Stamp {
        let parts = |file: std::fs::Metadata| {
            [file.ino().cast_signed(), file.size().cast_signed(), file.mtime(), file.mtime_nsec()]
        };
        Stamp(std::fs::metadata(path).ok().map(parts))
    }
}
