//! The end of a connection whose peer was told by an alert why there is no session.
//!
//! A client that has sent its part of the handshake goes on at once with what it wants: one of
//! HTTP/2 with its preface. Were the socket closed while the kernel has bytes that nobody has read,
//! it would be reset: the client could write no more, and would give up before it reads the alert
//! (RFC 9112, 9.6, says it of HTTP).

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};

use crate::tls::connection::Wire;

/// What a peer may still send, and how long, before its connection is closed: the first part of an
/// upload, and a few round trips.
const LINGER: (usize, Duration) = (256 << 10, Duration::from_secs(1));

/// Bytes that are read at a time to be forgotten.
const FORGOTTEN: usize = 8 << 10;

/// Says that no more will come, and reads what the peer still sends, until it closes or has had its
/// time. The time of the handshake goes on meanwhile.
///
/// # Cancel safety
/// Dropped, the alert may be lost.
pub(super) async fn linger(wire: &mut Wire) {
    if wire.shutdown_write().is_err() {
        return; // the peer has gone
    }
    let (mut left, time) = LINGER;
    let reads = poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; FORGOTTEN];
        while left > 0 {
            let mut buffer = ReadBuf::uninit(&mut room);
            let read = ready!(Pin::new(&mut *wire).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            left = left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    });
    let _ = timeout(time, reads).await; // either way nothing more is to be said
}
