//! All of a reader, if it is not too much.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
};

use staunch_scope::{State, Wait};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limit::limit;

/// A reader could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadToEndError {
    /// It has more bytes than the limit allows.
    #[error("more than {limit} bytes: raise the limit, or read in chunks")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The reader failed, or the task was asked to stop.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads all of `reader`, or fails as soon as it is more than `most` bytes.
///
/// # Errors
/// [`ReadToEndError`]; [`Cancelled`](staunch_scope::Cancelled) inside `Io` as soon as the task
/// is asked to stop.
///
/// # Cancel safety
/// Not cancel safe: bytes that were read are lost.
///
/// # Examples
/// ```
/// use staunch_net::{ReadToEndError, read_to_end};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(read_to_end(&b"short"[..], 5).await?, b"short");
/// let error = read_to_end(&b"too long"[..], 5).await.unwrap_err();
/// assert!(matches!(error, ReadToEndError::TooLong { limit: 5 }));
/// # Ok::<_, ReadToEndError>(()) }).unwrap();
/// ```
pub async fn read_to_end<R>(reader: R, most: usize) -> Result<Vec<u8>, ReadToEndError>
where
    R: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    // One byte more than allowed tells the limit from the end.
    let mut reader = limit(reader, (most as u64).saturating_add(1));
    let mut read = pin!(reader.read_to_end(&mut bytes));
    let mut wait = Wait::new();
    poll_fn(|cx| wait.poll(cx, State::Read, |cx| read.as_mut().poll(cx)))
        .await
        .map_err(io::Error::other)??;
    if bytes.len() > most {
        return Err(ReadToEndError::TooLong { limit: most });
    }
    Ok(bytes)
}
