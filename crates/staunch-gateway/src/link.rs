//! Connections to servers, over TLS or not.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
};

use staunch_config::{
    EndpointAddress, ProxyProtocol, Service, ServiceTls, TlsIdentity, UpstreamProtocol,
};
use staunch_net::{
    Closer, Connection, DialError, Dialer, LoadTlsError, ProxyHeader, ReadFor, TlsConnection,
    TlsTrust,
};
use staunch_scope::Context;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tcp::Ends;

/// Whom the servers of a service must prove to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinkTls {
    /// For requests.
    http: TlsTrust,
    /// For connections that are handed on as they are: what is spoken on them is the client's
    /// affair.
    bytes: TlsTrust,
    server_name: Option<String>,
}

/// What is sent on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Http,
    /// What comes from a client, and where it comes in; `None` if it is our own.
    Bytes(Ends),
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(Connection),
    Secure(Box<TlsConnection>),
}

impl LinkTls {
    /// What `service` says of it, with the files that it names; `None` if it says nothing.
    pub(crate) fn load(service: &Service) -> Result<Option<Arc<LinkTls>>, LoadTlsError> {
        let Some(tls) = &service.tls else { return Ok(None) };
        let alpn = match service.protocol {
            UpstreamProtocol::Http1 => "http/1.1",
            UpstreamProtocol::Http2 => "h2",
        };
        Ok(Some(Arc::new(LinkTls {
            http: trust(tls, &[alpn])?,
            bytes: trust(tls, &[])?,
            server_name: tls.server_name.clone(),
        })))
    }

    /// Whom a server at `address` must prove to be, and to whom.
    pub(crate) fn peer(&self, address: &str, carries: Carries) -> (String, TlsTrust) {
        let trust = match carries {
            Carries::Http => &self.http,
            Carries::Bytes(_) => &self.bytes,
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or(host);
        let is_bracket = |character| matches!(character, '[' | ']'); // around an IPv6 address
        (name.trim_matches(is_bracket).to_owned(), trust.clone())
    }
}

fn trust(tls: &ServiceTls, alpn: &[&str]) -> Result<TlsTrust, LoadTlsError> {
    let roots = match &tls.ca {
        Some(ca) => ca.clone(),
        None => TlsTrust::system_roots()?,
    };
    match &tls.identity {
        None => TlsTrust::load(roots, alpn),
        Some(TlsIdentity { certificate, key }) => TlsTrust::load_as(roots, alpn, certificate, key),
    }
}

fn header(version: ProxyProtocol, carries: Carries) -> Vec<u8> {
    let header = match carries {
        Carries::Bytes(Some((client, local))) => ProxyHeader::of(client, local),
        Carries::Bytes(None) | Carries::Http => ProxyHeader::local(),
    };
    match version {
        ProxyProtocol::V1 => header.to_v1(),
        ProxyProtocol::V2 => header.to_v2(),
    }
}

impl Link {
    /// A new one to a server, which is told for whom it is if it wants to be.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn dial(
        dialer: &Dialer,
        address: &EndpointAddress,
        tls: Option<&LinkTls>,
        (carries, told): (Carries, Option<ProxyProtocol>),
    ) -> Result<Link, DialError> {
        let (context, name) = (Context::current(), address.to_string());
        let tls = tls.map(|tls| tls.peer(&name, carries));
        if let (EndpointAddress::Tcp(address), Some((peer, trust)), None) = (address, &tls, told) {
            let secured = dialer.tls(&context, address.as_str(), peer, trust).await?;
            return Ok(Link::Secure(Box::new(secured)));
        }
        let connection = match address {
            EndpointAddress::Unix(path) => dialer.unix(&context, path).await?,
            EndpointAddress::Tcp(address) => dialer.tcp(&context, address.as_str()).await?,
        };
        if let Some(version) = told {
            // A handful of bytes, for which a new connection has room.
            let written = connection.write_all([&header(version, carries)]).await;
            written.map_err(|source| DialError::Io { address: name.clone(), source })?;
        }
        let Some((peer, trust)) = tls else { return Ok(Link::Plain(connection)) };
        let secured = dialer.secure(&context, connection, &name, &peer, &trust).await?;
        Ok(Link::Secure(Box::new(secured)))
    }

    /// A way to end it from elsewhere.
    pub(crate) fn closer(&self) -> Closer {
        match self {
            Link::Plain(connection) => connection.closer(),
            Link::Secure(connection) => connection.closer(),
        }
    }

    /// The connection itself, if nothing lies between what it carries and its socket.
    pub(crate) fn plain(&self) -> Option<&Connection> {
        match self {
            Link::Plain(connection) => Some(connection),
            Link::Secure(_) => None,
        }
    }

    /// What a read is for that has just been pending.
    pub(crate) fn reads_for(&self, what: ReadFor) {
        match self {
            Link::Plain(connection) => connection.reads_for(what),
            Link::Secure(connection) => connection.reads_for(what),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            Link::Secure(connection) => Pin::new(connection).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::Plain(connection) => Pin::new(connection).poll_write(cx, bytes),
            Link::Secure(connection) => Pin::new(connection).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::Plain(connection) => Pin::new(connection).poll_write_vectored(cx, parts),
            Link::Secure(connection) => Pin::new(connection).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(connection) => Pin::new(connection).poll_flush(cx),
            Link::Secure(connection) => Pin::new(connection).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::Plain(connection) => Pin::new(connection).poll_shutdown(cx),
            Link::Secure(connection) => Pin::new(connection).poll_shutdown(cx),
        }
    }
}
