//! Requests' bodies to files, and files as answers: of either, a piece at a time.

use std::{
    io,
    os::fd::AsRawFd,
    panic::Location,
    path::{Path, PathBuf},
};

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::{
    Response,
    body::Body,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use staunch_ledger::{Kind, Ledger, Obligation};
use staunch_scope::{BoxError, current_task};
use tokio::{fs::File, io::AsyncReadExt};

use super::body::RequestBody;
use crate::{
    saving::{Progress, Saving},
    stream::{Admitted, StreamBody},
};

/// A request's body is not saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveBodyError {
    /// It was over a limit, or broke off.
    #[error("the body broke off: {0}")]
    Body(#[source] BoxError),
    /// The file cannot be written.
    #[error("`{}` cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RequestBody {
    /// Saves the body as `path`, piece by piece, and tells `progress` of each. How many bytes there
    /// were.
    ///
    /// It is written beside `path`, with `.part` at the end of its name, and takes its name when it
    /// is whole: whoever looks sees all of it or what was there before. It is not synced to the
    /// disk. What is not whole is removed. Two that save to one path at a time spoil each other.
    ///
    /// # Errors
    /// [`SaveBodyError`]
    ///
    /// # Cancel safety
    /// Dropped before its end, it removes what was written. A write that is on its way in the
    /// kernel then ends by itself.
    ///
    /// # Examples
    /// ```no_run
    /// use hyper::Request;
    /// use staunch_http::{RequestBody, SaveBodyError};
    ///
    /// async fn upload(request: Request<RequestBody>) -> Result<u64, SaveBodyError> {
    ///     request.into_body().save_to("uploads/7", |at| println!("{} bytes", at.bytes)).await
    /// }
    /// ```
    #[track_caller]
    pub fn save_to(
        self,
        path: impl AsRef<Path>,
        progress: impl FnMut(Progress),
    ) -> impl Future<Output = Result<u64, SaveBodyError>> {
        save(self, path, progress, Location::caller())
    }
}

async fn save(
    mut body: RequestBody,
    path: impl AsRef<Path>,
    mut progress: impl FnMut(Progress),
    born_at: &'static Location<'static>,
) -> Result<u64, SaveBodyError> {
    let path = path.as_ref();
    let failed = |source| SaveBodyError::File { path: path.to_owned(), source };
    let total = body.size_hint().exact();
    let saving = Saving::begin(path, total, born_at, Obligation::EndsWithParent);
    let mut saving = saving.map_err(failed)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(SaveBodyError::Body)?;
        if let Some(piece) = frame.data_ref() {
            progress(saving.write(piece).await.map_err(failed)?);
        }
    }
    saving.end(path).await.map_err(failed)
}

impl Admitted {
    /// An answer with all of the file at `path`, of which it holds so much at a time as
    /// [`buffer`](crate::StreamLimits::buffer) says.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn file(self, path: impl AsRef<Path>) -> io::Result<Response<StreamBody>> {
        let mut file = File::open(path).await?;
        let length = file.metadata().await?.len();
        let size = self.piece_bytes();
        file.set_max_buf_size(size);
        let account = Ledger::current().open_at(
            self.born_at(),
            Kind::FILE,
            Obligation::EndsWithParent,
            current_task(),
        );
        account.set_fd(file.as_raw_fd());
        let mut answer = self.stream(|mut pieces| async move {
            let _open = account;
            let mut file = file.take(length); // it may grow
            loop {
                pieces.ready().await?;
                let mut piece = BytesMut::with_capacity(size);
                if file.read_buf(&mut piece).await? == 0 {
                    return Ok(());
                }
                pieces.send(piece).await?;
            }
        });
        let headers = answer.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Ok(answer)
    }
}
