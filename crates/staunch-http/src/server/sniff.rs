//! Whether a connection speaks HTTP/1 or HTTP/2: its first bytes say so (RFC 9113, 3.4).

use std::future::poll_fn;

use super::socket::{Socket, Transport};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear; what was read is read again.
pub(super) async fn version(socket: &mut Socket<impl Transport>) -> Version {
    loop {
        let said = socket.said();
        if said.starts_with(PREFACE) {
            return Version::Http2;
        }
        if !PREFACE.starts_with(said) {
            return Version::Http1;
        }
        let heard = poll_fn(|cx| socket.poll_hear(cx)).await;
        if !heard.is_ok_and(|count| count > 0) {
            return Version::Http1; // hyper is to say what it thinks of what was said
        }
    }
}
