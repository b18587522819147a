//! Requests' bodies to files, and files as answers: of either, a piece at a time.

use std::{
    io::{self, SeekFrom},
    os::fd::AsRawFd,
    panic::Location,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Body,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
        LAST_MODIFIED,
    },
};
use staunch_ledger::{Kind, Ledger, Obligation};
use staunch_scope::{BoxError, current_task};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use super::{
    body::RequestBody,
    range::{Asked, Part, Version},
};
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
    /// disk. What is not whole is removed. Of two that save to one path at a time,
    /// the later one stays.
    ///
    /// A symbolic link is followed, and stays. What is there and is no regular file (a directory, a
    /// device, a pipe, a socket) is an error before anything is written: it would be replaced.
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
    saving.end().await.map_err(failed)
}

impl Admitted {
    /// An answer to `request` with the file at `path`, of which it holds so much at a time as
    /// [`buffer`](crate::StreamLimits::buffer) says.
    ///
    /// A `GET` that asks for a part of it (`Range`, a single one) gets that: 206, or 416 if the file is
    /// shorter; with an `If-Range`, only of the version that it names, by `ETag` or `Last-Modified`. A
    /// `HEAD` gets the headers alone, and the place is free at once. See RFC 9110, section 14.
    ///
    /// # Errors
    /// The file cannot be opened, or is a directory.
    ///
    /// # Cancel safety
    /// Cancel safe: the place is free again.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use hyper::{Request, Response};
    /// use staunch_http::{RequestBody, StreamBody, Streams, peer};
    ///
    /// async fn backup(streams: Streams, request: Request<RequestBody>) -> io::Result<Response<StreamBody>> {
    ///     match streams.admit(peer().map(|peer| peer.ip())) {
    ///         Err(refused) => Ok(refused.answer()),
    ///         Ok(admitted) => admitted.file(&request, "backups/latest").await,
    ///     }
    /// }
    /// ```
    pub fn file<Q, P: AsRef<Path>>(
        self,
        request: &Request<Q>,
        path: P,
    ) -> impl Future<Output = io::Result<Response<StreamBody>>> + Send + use<Q, P> {
        let (asked, path) = (Asked::of(request), path.as_ref().to_owned());
        self.part_of(asked, path)
    }

    async fn part_of(self, asked: Asked, path: PathBuf) -> io::Result<Response<StreamBody>> {
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let version = Version::of(&metadata);
        let (status, first, count) = match asked.part(&version, SystemTime::now()) {
            Part::Beyond => return Ok(beyond(&version)),
            Part::Whole => (StatusCode::OK, 0, version.length),
            Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        };
        let mut answer = if asked.is_head {
            Response::new(StreamBody::whole(Bytes::new()))
        } else {
            self.pieces(file, first, count).await?
        };
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        describe(headers, &version);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if status == StatusCode::PARTIAL_CONTENT {
            let last = first + count - 1;
            insert(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{}", version.length));
        }
        Ok(answer)
    }

    /// So many bytes of it, from `first` on.
    async fn pieces(
        self,
        mut file: File,
        first: u64,
        count: u64,
    ) -> io::Result<Response<StreamBody>> {
        let size = self.piece_bytes();
        file.set_max_buf_size(size);
        if first > 0 {
            file.seek(SeekFrom::Start(first)).await?;
        }
        let account = Ledger::current().open_at(
            self.born_at(),
            Kind::FILE,
            Obligation::EndsWithParent,
            current_task(),
        );
        account.set_fd(file.as_raw_fd());
        Ok(self.stream(|mut pieces| async move {
            let _open = account;
            let mut file = file.take(count); // it may grow
            loop {
                pieces.ready().await?;
                let mut piece = BytesMut::with_capacity(size);
                if file.read_buf(&mut piece).await? == 0 {
                    return Ok(());
                }
                pieces.send(piece).await?;
            }
        }))
    }
}

/// It has none of what was asked for.
fn beyond(version: &Version) -> Response<StreamBody> {
    let length = version.length;
    let mut answer = Response::new(StreamBody::whole(format!("There are {length} bytes.\n")));
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    describe(answer.headers_mut(), version);
    insert(answer.headers_mut(), CONTENT_RANGE, &format!("bytes */{length}"));
    answer
}

fn describe(headers: &mut HeaderMap, version: &Version) {
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(headers, ETAG, &version.etag);
    if let Some(date) = version.last_modified() {
        insert(headers, LAST_MODIFIED, &date);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value); // they are digits, and what we say ourselves
    }
}
