//! What came back.

use bytes::{Buf, Bytes, BytesMut};
use hyper::{HeaderMap, StatusCode, Version, http::response::Parts};
use serde::de::DeserializeOwned;
use staunch_net::LineSplitter;
use url::Url;

use super::{body::AnswerBody, error::ReadAnswerError, origin::shown};

/// The answer of a request, whatever its status is. Its body is read to its end, or costs
/// ([`AnswerBody`]).
#[derive(Debug)]
#[must_use = "an answer whose body is not read may cost its connection"]
pub struct Answer {
    head: Parts,
    body: AnswerBody,
    url: Url,
}

/// An answer whose status is an error; its body is there to be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", shown(&answer.url), answer.head.status)]
pub struct StatusError {
    /// The answer.
    pub answer: Box<Answer>,
}

impl Answer {
    pub(super) fn new(head: Parts, body: AnswerBody, url: Url) -> Answer {
        Answer { head, body, url }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// What was spoken.
    pub fn version(&self) -> Version {
        self.head.version
    }

    pub(super) fn time_left(&self) -> Option<std::time::Duration> {
        self.body.time_left()
    }

    /// Where it came from, after redirects.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The answer, if its status is no error (400 and more).
    ///
    /// # Errors
    /// [`StatusError`], with the answer.
    pub fn success(self) -> Result<Answer, StatusError> {
        match self.head.status {
            status if status.is_client_error() || status.is_server_error() => {
                Err(StatusError { answer: Box::new(self) })
            }
            _ => Ok(self),
        }
    }

    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`ReadAnswerError`]
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read is lost, and the rest is dropped.
    pub async fn bytes(self, limit: u64) -> Result<Bytes, ReadAnswerError> {
        let mut body = self.body.limited(limit);
        body.check()?;
        let Some(first) = body.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = body.chunk().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(more) = body.chunk().await? {
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    /// The whole body, of at most `limit` bytes, as UTF-8.
    ///
    /// # Errors
    /// [`ReadAnswerError`]
    ///
    /// # Cancel safety
    /// As [`bytes`](Self::bytes).
    pub async fn text(self, limit: u64) -> Result<String, ReadAnswerError> {
        let url = self.body.url();
        let bytes = self.bytes(limit).await?;
        String::from_utf8(bytes.into()).map_err(|_| ReadAnswerError::NotText { url })
    }

    /// The whole body, of at most `limit` bytes, as JSON.
    ///
    /// # Errors
    /// [`ReadAnswerError`]
    ///
    /// # Cancel safety
    /// As [`bytes`](Self::bytes).
    pub async fn json<T: DeserializeOwned>(self, limit: u64) -> Result<T, ReadAnswerError> {
        let url = self.body.url();
        let bytes = self.bytes(limit).await?;
        serde_json::from_slice(&bytes).map_err(|source| ReadAnswerError::Json { url, source })
    }

    /// The body line by line, each of at most `max_line` bytes; all together are at most
    /// [`max_body`](crate::ClientOptions::max_body).
    pub fn lines(self, max_line: usize) -> AnswerLines {
        let (buffer, splitter) = (BytesMut::new(), LineSplitter::new());
        AnswerLines { body: self.body, buffer, splitter, max_line, is_over: false }
    }

    /// The body, to be read piece by piece ([`AnswerBody::chunk`]).
    pub fn into_body(self) -> AnswerBody {
        self.body
    }
}

/// The lines of an answer's body.
#[derive(Debug)]
#[must_use = "an answer whose body is not read may cost its connection"]
pub struct AnswerLines {
    body: AnswerBody,
    buffer: BytesMut,
    splitter: LineSplitter,
    max_line: usize,
    is_over: bool,
}

impl AnswerLines {
    /// The next line without its end; `None` after the last.
    ///
    /// # Errors
    /// [`ReadAnswerError`]
    ///
    /// # Cancel safety
    /// Cancel safe: no byte is lost.
    pub async fn next(&mut self) -> Result<Option<String>, ReadAnswerError> {
        loop {
            if let Some(found) = self.splitter.next_line(&self.buffer, self.is_over) {
                if found.length > self.max_line {
                    return Err(self.too_long());
                }
                let line = self.buffer[..found.length].to_vec();
                self.buffer.advance(found.used);
                let url = self.body.url();
                let line = String::from_utf8(line);
                return line.map(Some).map_err(|_| ReadAnswerError::NotText { url });
            }
            if self.is_over {
                return Ok(None);
            }
            if self.buffer.len() > self.max_line.saturating_add(1) {
                return Err(self.too_long());
            }
            match self.body.chunk().await? {
                Some(more) => self.buffer.extend_from_slice(&more),
                None => self.is_over = true,
            }
        }
    }
    /// The rest is not read.
    fn too_long(&mut self) -> ReadAnswerError {
        self.body.gives_up();
        ReadAnswerError::LineTooLong { url: self.body.url(), limit: self.max_line }
    }
}
