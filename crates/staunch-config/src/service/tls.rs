//! `[service.tls]`: TLS to the servers of a service.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::reader::Section;
use crate::reader::kinds::{Parsed, path, text};
use crate::route::HostPattern;

/// Whom the servers of a service must prove to be, and to whom. The files are read at the start and
/// at each reload, not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTls {
    /// The file with the root certificates that are believed, in PEM. \[those of the system\]
    pub ca: Option<PathBuf>,
    /// Whom they must prove to be. \[what stands before the port of their address\]
    pub server_name: Option<String>,
    /// What they are shown if they ask who we are. \[nothing\]
    pub identity: Option<TlsIdentity>,
}

/// Who we are to servers that ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The file with the certificate chain, in PEM.
    pub certificate: PathBuf,
    /// The file with the private key, in PEM.
    pub key: PathBuf,
}

impl ServiceTls {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let source = section.source();
        let ca = section.written("ca", path(source));
        let server_name = section.written("server_name", server_name);
        let is_shown = section.has("certificate") || section.has("key");
        let identity = if is_shown {
            let certificate = section.required("certificate", "\"client.pem\"", path(source));
            let key = section.required("key", "\"client.key\"", path(source));
            Some(TlsIdentity { certificate: certificate?, key: key? })
        } else {
            None
        };
        Some(Self { ca, server_name, identity })
    }
}

fn server_name(value: &DeValue<'_>) -> Parsed<String> {
    let expected = "the name of a host, such as \"shop.internal\", or an IP address";
    let written = text(value, expected)?;
    let is_host = matches!(written.parse(), Ok(HostPattern::Exact(_)));
    if is_host { Ok(written.to_owned()) } else { Err(format!("must be {expected}")) }
}
