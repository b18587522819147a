//! Who may ask the console.
//!
//! On loopback, whoever is on this machine. That is not yet enough: a web page from anywhere
//! can make a browser on this machine ask, under a name of its own that it lets resolve to
//! 127.0.0.1 (DNS rebinding), or blindly by a link or form. The first shows in the `Host`
//! header, the second in `Sec-Fetch-Site` and `Origin`; requests that show either are refused.
//! Beyond loopback, whoever has the token.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN},
};
use staunch_kernel::read_file;
use subtle::ConstantTimeEq;

/// Who may ask a console.
///
/// # Examples
/// ```
/// use staunch_console::Access;
/// let local = Access::new("127.0.0.1:6060".parse()?, None)?;
/// assert!(matches!(local, Access::Loopback));
/// let refused = Access::new("0.0.0.0:6060".parse()?, None).unwrap_err();
/// assert!(refused.to_string().contains("token"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum Access {
    /// Peers and host names of this machine.
    Loopback,
    /// Whoever sends `Authorization: Bearer` with the token.
    Token(Secret),
}

/// A console would be open to everybody.
#[derive(Debug, thiserror::Error)]
#[error(
    "{listen} is reachable beyond this machine: give the console a token, or let it listen on 127.0.0.1"
)]
pub struct OpenAccessError {
    listen: SocketAddr,
}

impl Access {
    /// For a console that listens on `listen`: by token where there is one, else loopback.
    ///
    /// # Errors
    /// [`OpenAccessError`], when there is no token and the address is not loopback.
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Result<Access, OpenAccessError> {
        match token {
            Some(token) => Ok(Access::Token(token)),
            None if is_loopback(listen.ip()) => Ok(Access::Loopback),
            None => Err(OpenAccessError { listen }),
        }
    }

    /// Whether a request with these headers, from this address, may be answered.
    pub(crate) fn check(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Denied> {
        match self {
            Access::Token(secret) => secret.check(headers),
            Access::Loopback => check_local(peer, headers),
        }
    }
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("This console wants its token: send `Authorization: Bearer TOKEN`.")]
    NoToken,
    #[error("The token is wrong.")]
    WrongToken,
    #[error("This console answers peers on this machine only; beyond it, give it a token.")]
    Peer,
    #[error(
        "The request is for the host `{0}`. Without a token, this console answers to localhost \
         and loopback addresses only, so that no web page can reach it under a name of its own."
    )]
    Host(String),
    #[error("The request comes from a web page of another origin.")]
    Origin,
}

fn check_local(peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Denied> {
    if peer.is_some_and(|peer| !is_loopback(peer)) {
        return Err(Denied::Peer);
    }
    let host = text(headers, &HOST).unwrap_or_default();
    if !is_local_host(host) {
        return Err(Denied::Host(host.to_owned()));
    }
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    let foreign_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let foreign_origin = text(headers, &ORIGIN)
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, from)| from != host));
    if foreign_site || foreign_origin { Err(Denied::Origin) } else { Ok(()) }
}

/// A header's text; what is not text is as good as empty.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Whether a `Host` header names this machine, whatever the port: it differs behind a tunnel.
fn is_local_host(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    without_port.eq_ignore_ascii_case("localhost")
        || bare.unwrap_or(without_port).parse().is_ok_and(is_loopback)
}

/// Also for IPv4 addresses in IPv6 clothes.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A token that is compared in constant time and never shown.
pub struct Secret(Box<[u8]>);

/// Shorter tokens can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Longer ones do not fit into a request head.
const SECRET_BYTES_MAX: usize = 1024;

/// A text is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Too short or too long.
    #[error(
        "the token has {bytes} bytes; it must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}: \
         make one with `openssl rand -hex 32`"
    )]
    Length {
        /// How many it has; what is read of a file that is too long.
        bytes: usize,
    },
    /// No client could send it.
    #[error(
        "the token has characters other than visible ASCII: make one with `openssl rand -hex 32`"
    )]
    Characters,
    /// Its file could not be read.
    #[error("cannot read the token from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Secret {
    /// A token; white space around it is no part of it.
    ///
    /// # Errors
    /// [`SecretError`], when it is too short, too long, or cannot be sent.
    pub fn new(text: &str) -> Result<Secret, SecretError> {
        let token = text.trim().as_bytes();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&token.len()) {
            return Err(SecretError::Length { bytes: token.len() });
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(SecretError::Characters);
        }
        Ok(Secret(token.into()))
    }

    /// The token in a file. Blocks.
    ///
    /// # Errors
    /// [`SecretError`], also when the file cannot be read.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let most = SECRET_BYTES_MAX as u64 * 2; // white space may surround it
        let bytes = read_file(path, most - 1)
            .map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        Secret::new(&String::from_utf8_lossy(&bytes))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let sent = headers.get(AUTHORIZATION).ok_or(Denied::NoToken)?;
        let (_, token) = sent
            .as_bytes()
            .split_at_checked("Bearer ".len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .ok_or(Denied::NoToken)?;
        if self.0.ct_eq(token.trim_ascii()).into() { Ok(()) } else { Err(Denied::WrongToken) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1:6060", "127.9.9.9", "[::1]:6060", "[::1]"]
        {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test:6060",
            "10.0.0.1",
            "[::2]:1",
            ":6060",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn web_pages_cannot_ask_through_a_browser() {
        fn check(pairs: &[(&'static str, &str)], expected: &Result<(), Denied>) {
            assert_eq!(&Access::Loopback.check(None, &headers(pairs)), expected, "{pairs:?}");
        }
        let host = ("host", "localhost:6060");
        check(&[host], &Ok(()));
        check(
            &[host, ("origin", "http://localhost:6060"), ("sec-fetch-site", "same-origin")],
            &Ok(()),
        );
        check(&[host, ("sec-fetch-site", "none")], &Ok(()));
        check(&[host, ("sec-fetch-site", "cross-site")], &Err(Denied::Origin));
        check(&[host, ("origin", "https://evil.test")], &Err(Denied::Origin));
        check(&[host, ("origin", "null")], &Err(Denied::Origin));
        check(&[("host", "evil.test")], &Err(Denied::Host("evil.test".to_owned())));
        check(&[], &Err(Denied::Host(String::new())));
    }

    #[test]
    fn without_a_token_only_local_peers_are_answered() {
        let local = headers(&[("host", "localhost")]);
        let check = |peer: &str| Access::Loopback.check(Some(peer.parse().unwrap()), &local);
        assert_eq!(check("127.0.0.1"), Ok(()));
        assert_eq!(check("::ffff:127.0.0.1"), Ok(()));
        assert_eq!(check("192.0.2.1"), Err(Denied::Peer));
    }

    #[test]
    fn the_token_and_nothing_else_opens() {
        let access = Access::Token(Secret::new(TOKEN).unwrap());
        let check = |value: &str| access.check(None, &headers(&[("authorization", value)]));
        assert_eq!(check(&format!("Bearer {TOKEN}")), Ok(()));
        assert_eq!(check(&format!("bearer {TOKEN}")), Ok(()));
        assert_eq!(check(&format!("Bearer {TOKEN}x")), Err(Denied::WrongToken));
        assert_eq!(check("Bearer "), Err(Denied::WrongToken));
        assert_eq!(check(&format!("Basic {TOKEN}")), Err(Denied::NoToken));
        assert_eq!(access.check(None, &HeaderMap::new()), Err(Denied::NoToken));
    }

    #[test]
    fn a_token_is_long_visible_and_never_shown() {
        assert!(matches!(Secret::new("short"), Err(SecretError::Length { bytes: 5 })));
        assert!(matches!(Secret::new("0123456789 abcdef"), Err(SecretError::Characters)));
        let secret = Secret::new(&format!(" {TOKEN}\n")).unwrap();
        assert_eq!(format!("{:?}", Access::Token(secret)), "Token(Secret(..))");
    }
}
