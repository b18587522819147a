//! `[listener.tls]`: the files and the protocols of a TLS listener.

use std::path::PathBuf;
use std::time::Duration;

use super::stream::StreamProtocol;
use crate::reader::Section;
use crate::reader::kinds::{choice, duration, path, texts};

/// What a TLS listener shows its clients. The files are read at the start, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The file with the certificate chain, in PEM.
    pub certificate: PathBuf,
    /// The file with the private key, in PEM.
    pub key: PathBuf,
    /// The protocols offered by ALPN, the best first. \[`h2` and `http/1.1` for HTTP, which are what
    /// is spoken: one connection does for many requests; nothing for others\]
    pub alpn: Vec<String>,
    /// How often the files are looked at for a new certificate. \[30s: a look costs two system
    /// calls, and nobody waits long after a renewal\]
    pub reload: Duration,
    /// Which clients are known by a certificate; `None` if they are not asked for one.
    pub clients: Option<TlsClients>,
}

/// Which clients are known by a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClients {
    /// The file with the certificates of those who sign for them, in PEM.
    pub authorities: PathBuf,
    /// Whether they must show one. \[`required`\]
    pub auth: TlsClientAuth,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsClientAuth {
    /// Without one there is no connection.
    Required,
    /// They may; routes say which requests need one.
    Optional,
}

const CLIENT_AUTHS: [(&str, TlsClientAuth); 2] =
    [("required", TlsClientAuth::Required), ("optional", TlsClientAuth::Optional)];
const RELOAD: Duration = Duration::from_secs(30);
const RELOAD_MIN: Duration = Duration::from_secs(1);
const RELOAD_MAX: Duration = Duration::from_hours(24);
/// The versions of HTTP that are spoken, as ALPN names them (RFC 7301; RFC 9113, 3.2).
const HTTP: [&str; 2] = ["h2", "http/1.1"];
/// What the length byte of TLS can say.
const ALPN_BYTES_MAX: usize = 255;

impl Tls {
    pub(super) fn read(section: &mut Section<'_>, protocol: StreamProtocol) -> Option<Self> {
        let source = section.source();
        let certificate = section.required("certificate", "\"cert.pem\"", path(source));
        let key = section.required("key", "\"key.pem\"", path(source));
        let is_http = protocol.is_http();
        let expected = if is_http {
            "a list of \"h2\" and \"http/1.1\", which are spoken"
        } else {
            "a list of names such as [\"echo/1\"]"
        };
        let alpn_kind = texts(expected, |name| {
            if is_http { HTTP.contains(&name) } else { (1..=ALPN_BYTES_MAX).contains(&name.len()) }
        });
        let alpn = section.optional("alpn", alpn_kind, default_alpn(protocol));
        let reload = section.optional("reload", duration(RELOAD_MIN..=RELOAD_MAX), RELOAD);
        let authorities = section.written("client_ca", path(section.source()));
        let auth = choice(&CLIENT_AUTHS);
        let auth = section.optional("client_auth", auth, TlsClientAuth::Required);
        if !section.has("client_ca") {
            section.refuse("client_auth", "there is no `client_ca`");
        } else if auth == TlsClientAuth::Optional && protocol != StreamProtocol::Http {
            section.wrong("client_auth", "must be \"required\": only routes can ask who has one");
        }
        let clients = authorities.map(|authorities| TlsClients { authorities, auth });
        Some(Self { certificate: certificate?, key: key?, alpn, reload, clients })
    }
}

fn default_alpn(protocol: StreamProtocol) -> Vec<String> {
    if protocol.is_http() { HTTP.map(str::to_owned).to_vec() } else { Vec::new() }
}
