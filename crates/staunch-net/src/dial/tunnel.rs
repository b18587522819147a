//! Through a proxy: `CONNECT` (RFC 9110, section 9.3.6).
//!
//! The answer is read byte by byte, so that what comes after its head is still there for whoever
//! uses the tunnel: a head is short, and read once for a connection.

use std::{future::Future, io, panic::Location};

use rustls::pki_types::ServerName;
use staunch_scope::Context;
use tokio::io::AsyncReadExt;

use crate::{
    activity::Reading,
    connection::Connection,
    dial::{DialError, Dialer, HttpProxy, dialer::secure},
    tls::{TlsConnection, TlsTrust},
};

/// The longest answer to `CONNECT`, interim ones included. Proxies say some hundred bytes.
const HEAD_MAX: usize = 16 << 10;

impl Dialer {
    /// Dials `host:port` through a proxy. The name is resolved by the proxy.
    ///
    /// # Errors
    /// [`DialError`], one line that names the proxy and says what to do.
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    ///
    /// # Examples
    /// ```no_run
    /// use staunch_net::{DialOptions, Dialer, HttpProxy};
    /// use staunch_scope::Context;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let dialer = Dialer::unwatched(DialOptions::default());
    /// let proxy = HttpProxy::new("proxy.internal:3128");
    /// let connection = dialer.tcp_through(&Context::current(), &proxy, "example.com:25").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn tcp_through(
        &self,
        context: &Context,
        proxy: &HttpProxy,
        address: &str,
    ) -> impl Future<Output = Result<Connection, DialError>> + use<'_> {
        let (born_at, context) = (Location::caller(), context.clone());
        let (proxy, address) = (proxy.clone(), address.to_owned());
        async move {
            let target = target(&address, &proxy);
            self.bounded(&context, &target, self.tunnel(born_at, &proxy, &address)).await
        }
    }

    /// [`Dialer::tls`] through a proxy, on behalf of somebody else's line.
    ///
    /// # Errors
    /// As [`Dialer::tcp_through`] and [`Dialer::tls`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    pub async fn tls_through_at(
        &self,
        born_at: &'static Location<'static>,
        context: Context,
        proxy: &HttpProxy,
        address: &str,
        (server_name, trust): (String, TlsTrust),
    ) -> Result<TlsConnection, DialError> {
        let target = target(address, proxy);
        let secure = async {
            let name = ServerName::try_from(server_name.clone())
                .map_err(|_| DialError::ServerName { name: server_name })?;
            let connection = self.tunnel(born_at, proxy, address).await?;
            secure(connection, &target, name, &trust).await
        };
        self.bounded(&context, &target, secure).await
    }

    /// Dials a proxy itself, for requests that name their server in their first line, on behalf of
    /// somebody else's line.
    ///
    /// # Errors
    /// As [`Dialer::tcp`].
    ///
    /// # Cancel safety
    /// As [`Dialer::tcp`].
    pub async fn proxy_at(
        &self,
        born_at: &'static Location<'static>,
        context: Context,
        proxy: &HttpProxy,
    ) -> Result<Connection, DialError> {
        let target = proxy.to_string();
        self.bounded(&context, &target, self.connect(born_at, &target, proxy.address())).await
    }

    async fn tunnel(
        &self,
        born_at: &'static Location<'static>,
        proxy: &HttpProxy,
        address: &str,
    ) -> Result<Connection, DialError> {
        if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_graphic()) {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(DialError::Unresolved {
                address: address.escape_debug().to_string(),
                source,
            });
        }
        let mut connection = self.connect(born_at, &proxy.to_string(), proxy.address()).await?;
        let broken = |source| DialError::ProxyBroke { proxy: proxy.address().to_owned(), source };
        let request = request(address, proxy.authorization());
        connection.write_all([request.as_bytes()]).await.map_err(broken)?;
        let status = answer(&mut connection).await.map_err(broken)?;
        if !(200..300).contains(&status) {
            let (proxy, address) = (proxy.address().to_owned(), address.to_owned());
            return Err(DialError::ProxyRefused { proxy, address, status });
        }
        connection.begin_session(Reading::Unused); // of the tunnel nothing was used yet
        Ok(connection)
    }
}

/// What errors tell of where it leads.
fn target(address: &str, proxy: &HttpProxy) -> String {
    format!("{address} ({proxy})")
}

fn request(address: &str, authorization: Option<&str>) -> String {
    let authorization = authorization
        .map(|secret| format!("Proxy-Authorization: {secret}\r\n"))
        .unwrap_or_default();
    format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{authorization}\r\n")
}

/// The status of the answer, whose head has come to its end then.
async fn answer(connection: &mut Connection) -> io::Result<u16> {
    let mut left = HEAD_MAX;
    loop {
        let status = status_of(&line(connection, &mut left).await?)?;
        while !line(connection, &mut left).await?.is_empty() {}
        if !(100..200).contains(&status) {
            return Ok(status);
        }
    }
}

/// The next line without its end.
async fn line(connection: &mut Connection, left: &mut usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        if *left == 0 {
            return Err(io::Error::other(format!("its answer has more than {HEAD_MAX} bytes")));
        }
        *left -= 1;
        match connection.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// `HTTP/1.x SP status` (RFC 9112, section 4). The reason that follows is for humans who trust it.
fn status_of(line: &[u8]) -> io::Result<u16> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', rest @ ..] = line else {
        return Err(io::Error::other("its answer is not HTTP/1"));
    };
    let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let status = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 3);
    let status = status.and_then(|digits| digits.parse().ok());
    status
        .filter(|status| *status >= 100)
        .ok_or_else(|| io::Error::other("its answer has no status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_has_a_status() {
        let check = |line: &str, expected: Option<u16>| {
            assert_eq!(status_of(line.as_bytes()).ok(), expected, "{line:?}");
        };
        check("HTTP/1.1 200 Connection established", Some(200));
        check("HTTP/1.0 407 ", Some(407));
        check("HTTP/1.1 502", Some(502));
        for no in [
            "",
            "HTTP/1.1 ",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1 +20",
            "HTTP/1.1 099",
            "HTTP/2 200",
            "SSH-2.0-x",
        ] {
            check(no, None);
        }
    }

    #[test]
    fn a_request_names_its_target_twice() {
        let head = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n";
        assert_eq!(request("a:1", None), format!("{head}\r\n"));
        let told = format!("{head}Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n");
        let proxy = HttpProxy::new("p:1").basic("me", "secret");
        assert_eq!(request("a:1", proxy.authorization()), told);
    }
}
