//! Whether a connection speaks HTTP/1 or HTTP/2: its first bytes say so (RFC 9113, 3.4).

use std::{future::poll_fn, task::Poll};

use staunch_scope::Wait;

use super::socket::{Socket, Transport};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear; what was read is read again. `None` when the client leaves or is cut, or
/// the task is asked to stop, before the client has said anything.
pub(super) async fn version(socket: &mut Socket<impl Transport>) -> Option<Version> {
    loop {
        let said = socket.said();
        if !said.is_empty() && !PREFACE.starts_with(said) {
            return Some(Version::Http1);
        }
        if said.len() == PREFACE.len() {
            return Some(Version::Http2);
        }
        let said_nothing = said.is_empty();
        if !hears(socket).await {
            // hyper is to say what it thinks of what was said.
            return (!said_nothing).then_some(Version::Http1);
        }
    }
}

/// Whether the client says something more, before it leaves or is cut. When it has said nothing, and
/// the task is asked to stop, it is not waited for.
pub(super) async fn hears(socket: &mut Socket<impl Transport>) -> bool {
    let mut wait = Wait::new();
    poll_fn(|cx| {
        if socket.said().is_empty() && wait.poll_cancelled(cx).is_ready() {
            return Poll::Ready(false);
        }
        let heard = socket.poll_hear(cx);
        if heard.is_pending() {
            socket.waits_for_message();
        }
        heard.map(|heard| heard.is_ok_and(|count| count > 0))
    })
    .await
}
