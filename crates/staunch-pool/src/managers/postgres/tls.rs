//! A TLS session around a connection, by rustls.
//!
//! Channel binding (`tls-server-end-point`, RFC 5929) is not offered, so `channel_binding=require`
//! is refused by tokio-postgres: it would need the signature algorithm of the server's certificate,
//! which rustls does not tell.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use staunch_net::HandshakeError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::{Connect, TlsConnector, client};

/// Speaks TLS with one server, which must prove its name.
pub(super) struct Handshake<'b> {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    /// Set when the server has agreed to speak it.
    pub(super) began: &'b AtomicBool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Handshake<'_> {
    type Stream = Session<S>;
    type Error = HandshakeError;
    type Future = Shaking<S>;

    fn connect(self, stream: S) -> Shaking<S> {
        self.began.store(true, Ordering::Relaxed);
        Shaking(TlsConnector::from(self.config).connect(self.name, stream))
    }
}

/// A handshake on its way.
pub(super) struct Shaking<S>(Connect<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Shaking<S> {
    type Output = Result<Session<S>, HandshakeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|shaken| Ok(Session(shaken?)))
    }
}

/// A stream that is encrypted.
pub(super) struct Session<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Session<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Session<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Session<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
