//! The stream that handlers of a TLS listener get.

use std::{
    fmt,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context as Poller, Poll},
};

use staunch_ledger::{Account, EntryId, State};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsStream;

use crate::{
    activity::Reading,
    connection::{Closer, Connection, ReadFor},
};

/// A [`Connection`] with a TLS session around it.
///
/// Bytes go through [`AsyncRead`] and [`AsyncWrite`]; to read and write at the same time, split
/// it with [`tokio::io::split`]. End it with [`shutdown`](AsyncWriteExt::shutdown): without the
/// goodbye that it sends, the peer cannot tell the end from an attack.
///
/// # Examples
/// ```
/// use staunch_net::{LineReader, ReadLineError, TlsConnection};
/// use tokio::io::AsyncWriteExt;
///
/// async fn echo(connection: TlsConnection) -> Result<(), ReadLineError> {
///     let (reader, mut writer) = tokio::io::split(connection);
///     let mut lines = LineReader::new(reader, 16 << 10);
///     while let Some(line) = lines.next().await? {
///         writer.write_all(&[b"Echo: ", line, b"\n"].concat()).await?;
///         writer.flush().await?;
///     }
///     writer.shutdown().await?;
///     Ok(())
/// }
/// ```
pub struct TlsConnection {
    stream: TlsStream<Wire>,
}

/// What carries the session: the connection, which during the handshake is in the state
/// `Handshake` whatever it waits for.
#[derive(Debug)]
pub(crate) struct Wire {
    connection: Connection,
    in_handshake: bool,
    /// The peer has said something.
    is_heard: bool,
}

impl Wire {
    /// For a handshake to come.
    pub(crate) fn new(connection: Connection) -> Wire {
        let wire = Wire { connection, in_handshake: true, is_heard: false };
        wire.say_handshake();
        wire
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Says that nothing more will come from this side.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.connection.shutdown_write()
    }

    fn say_handshake(&self) {
        if self.in_handshake {
            self.connection.account().set_state(State::Handshake);
        }
    }
}

impl TlsConnection {
    /// After the handshake.
    pub(crate) fn new(stream: impl Into<TlsStream<Wire>>, reading: Reading) -> TlsConnection {
        let mut stream = stream.into();
        let (wire, _) = stream.get_mut();
        wire.in_handshake = false;
        wire.connection.begin_session(reading);
        TlsConnection { stream }
    }

    fn connection(&self) -> &Connection {
        &self.stream.get_ref().0.connection
    }

    /// The protocol that both sides agreed on (ALPN, RFC 7301), for instance `h2`.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// The name that a client asked for (SNI, RFC 6066); `None` on a dialled connection.
    pub fn server_name(&self) -> Option<&str> {
        match &self.stream {
            TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            TlsStream::Client(_) => None,
        }
    }

    /// The names in the certificate that the peer has shown, which holds: DNS names and URIs of its
    /// `subjectAltName` (RFC 5280, 4.2.1.6). `None` if it has shown none.
    ///
    /// The subject's common name is none of them: it is text, and RFC 9525 no longer has it used.
    pub fn peer_names(&self) -> Option<Vec<String>> {
        let certificate = self.stream.get_ref().1.peer_certificates()?.first()?;
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        Some(names.map(str::to_owned).collect())
    }

    /// Its entry on the ledger; also its id in log lines.
    pub fn id(&self) -> EntryId {
        self.connection().id()
    }

    /// Its account, for labels and children.
    pub fn account(&self) -> &Account {
        self.connection().account()
    }

    /// The peer's address; for a Unix socket `None`.
    ///
    /// # Errors
    /// When the peer is gone (`ENOTCONN`).
    pub fn peer(&self) -> io::Result<Option<SocketAddr>> {
        self.connection().peer()
    }

    /// Our own address; for a Unix socket `None`.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local(&self) -> io::Result<Option<SocketAddr>> {
        self.connection().local()
    }

    /// The peer's IP address, as far as it is known.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.connection().peer_ip()
    }

    /// As [`Connection::closer`].
    pub fn closer(&self) -> Closer {
        self.connection().closer()
    }

    /// As [`Connection::reads_for`].
    pub fn reads_for(&self, what: ReadFor) {
        self.connection().reads_for(what);
    }

    /// As [`Connection::rests`].
    pub fn rests(&self, at_rest: bool) {
        self.connection().rests(at_rest);
    }

    /// As [`Connection::reset_on_close`].
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.connection().reset_on_close()
    }

    /// Writes all of `parts`, one after the other, in as few TLS records as they fit into, and
    /// flushes them.
    ///
    /// # Errors
    /// Those of the socket; [`Cut`](crate::Cut) inside `TimedOut` when the watchdog cut it.
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may have been written. A task that is asked to stop goes on
    /// writing until it is done or forced, so that no answer is cut in half.
    pub async fn write_all<const N: usize>(&mut self, parts: [&[u8]; N]) -> io::Result<()> {
        let mut slices = parts.map(IoSlice::new);
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0); // skips empty parts
        while !left.is_empty() {
            let count = self.stream.write_vectored(left).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, count);
        }
        self.stream.flush().await
    }
}

impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnection")
            .field("connection", self.connection())
            .field("alpn", &self.alpn().map(<[u8]>::escape_ascii))
            .finish()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection().heard(); // perhaps with the handshake, and not from the socket now
        } else if has_room && matches!(polled, Poll::Ready(Ok(()))) {
            self.connection().ended(); // by a `close_notify`
        }
        polled
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.connection).poll_read(cx, buffer);
        self.is_heard |= !buffer.filled().is_empty();
        self.say_handshake();
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.say_handshake();
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write_vectored(cx, parts);
        self.say_handshake();
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
