//! The end of a connection whose peer is to read what it was told last.

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

/// What a peer may still send, and how long, before its connection is closed: the first part of an
/// upload, and a few round trips.
const LINGER: (usize, Duration) = (256 << 10, Duration::from_secs(1));

/// Bytes that are read at a time to be forgotten.
const FORGOTTEN: usize = 8 << 10;

/// Reads and forgets what a peer still sends, until it closes, has failed, or has had its time: a second,
/// or 256 KiB. Our own side of the connection is shut down before.
///
/// Were the socket closed while the kernel has bytes that nobody has read, it would be reset: the peer could
/// write no more, and might give up before it reads what it was told (RFC 9112, 9.6).
///
/// # Cancel safety
/// Dropped, what the peer was told last may be lost.
///
/// # Examples
/// ```
/// use tokio::io::AsyncWriteExt;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let (mut ours, mut theirs) = tokio::io::duplex(1024);
/// theirs.write_all(b"and more").await?;
/// ours.write_all(b"no").await?;
/// ours.shutdown().await?;
/// drop(theirs);
/// staunch_net::linger(&mut ours).await;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub async fn linger<R: AsyncRead + Unpin>(peer: &mut R) {
    let (mut left, time) = LINGER;
    let reads = poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; FORGOTTEN];
        while left > 0 {
            let mut buffer = ReadBuf::uninit(&mut room);
            let read = ready!(Pin::new(&mut *peer).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            left = left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    });
    let _ = timeout(time, reads).await; // either way nothing more is to be said
}
