//! Whether a connection speaks HTTP/1 or HTTP/2: its first bytes say so (RFC 9113, 3.4).

use std::{future::poll_fn, task::ready};

use super::socket::{Socket, Transport};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear; what was read is read again. `None` when the client leaves, or is cut,
/// before it has said anything.
pub(super) async fn version(socket: &mut Socket<impl Transport>) -> Option<Version> {
    poll_fn(|cx| {
        loop {
            let said = socket.said();
            if !said.is_empty() && !PREFACE.starts_with(said) {
                return std::task::Poll::Ready(Some(Version::Http1));
            }
            if said.len() == PREFACE.len() {
                return std::task::Poll::Ready(Some(Version::Http2));
            }
            let said_nothing = said.is_empty();
            match ready!(socket.poll_hear(cx)) {
                Ok(0) | Err(_) if said_nothing => return std::task::Poll::Ready(None),
                // hyper is to say what it thinks of it.
                Ok(0) | Err(_) => return std::task::Poll::Ready(Some(Version::Http1)),
                Ok(_) => {}
            }
        }
    })
    .await
}
