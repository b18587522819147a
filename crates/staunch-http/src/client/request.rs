//! What is asked for.

use std::{fmt, panic::Location, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use staunch_pool::RequestBody;
use staunch_scope::{Canceller, Context};
use url::Url;

use super::{Client, answer::Answer, error::ClientError, origin};

/// A request of a [`Client`]. What is wrong with it is said when it is sent.
#[must_use = "a request that is not sent does nothing"]
pub struct ClientRequest {
    pub(super) client: Client,
    pub(super) born_at: &'static Location<'static>,
    pub(super) url: Result<Url, ClientError>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestBody,
    pub(super) timeout: Duration,
    pub(super) max_body: u64,
    /// Its answer has no end.
    pub(super) is_stream: bool,
    pub(super) context: Option<Context>,
}

impl ClientRequest {
    pub(super) fn new(
        client: Client,
        born_at: &'static Location<'static>,
        method: Method,
        url: &str,
    ) -> ClientRequest {
        ClientRequest {
            born_at,
            url: origin::parse(url),
            method,
            headers: HeaderMap::new(),
            body: RequestBody::default(),
            timeout: client.0.options.total_timeout,
            max_body: client.0.options.max_body,
            is_stream: false,
            context: None,
            client,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> ClientRequest {
        let name = name.as_ref();
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string());
        let value = HeaderValue::from_bytes(value.as_ref()).map_err(|error| error.to_string());
        match header.and_then(|header| Ok((header, value?))) {
            Ok((header, value)) => {
                self.headers.append(header, value);
            }
            Err(reason) => self.fails(ClientError::Header { name: name.to_owned(), reason }),
        }
        self
    }

    /// The body. One that is made while it is sent ([`SentBody::stream`](crate::SentBody::stream))
    /// is never sent again.
    pub fn body(mut self, body: impl Into<RequestBody>) -> ClientRequest {
        self.body = body.into();
        self
    }

    /// A body of JSON, with the header that says so.
    pub fn json(mut self, value: &impl serde::Serialize) -> ClientRequest {
        match serde_json::to_vec(value) {
            Ok(json) => {
                self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.body = json.into();
            }
            Err(error) => self.fails(ClientError::Json(Arc::new(error))),
        }
        self
    }

    /// Time for all of it, instead of [`total_timeout`](crate::ClientOptions::total_timeout).
    pub fn timeout(mut self, limit: Duration) -> ClientRequest {
        self.timeout = limit;
        self
    }

    /// Bytes of the answer's body that are read piece by piece, instead of
    /// [`max_body`](crate::ClientOptions::max_body).
    pub fn max_body(mut self, limit: u64) -> ClientRequest {
        self.max_body = limit;
        self
    }

    /// Whose work it is: it ends with it, and by its deadline. Default: the context of the task
    /// that sends it.
    pub fn context(mut self, context: &Context) -> ClientRequest {
        self.context = Some(context.clone());
        self
    }

    /// The request, and a handle that cancels it in whatever phase it is, its body included. The
    /// handle cancels when it is dropped, too: keep it as long as the answer.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: staunch_http::Client) {
    /// let (request, cancel) = client.get("http://upstream:8080/slow").cancellable();
    /// cancel.cancel();
    /// assert!(request.send().await.is_err());
    /// # }
    /// ```
    pub fn cancellable(mut self) -> (ClientRequest, Canceller) {
        let context = self.context.unwrap_or_else(Context::current);
        let (context, canceller) = context.with_cancel();
        self.context = Some(context);
        (self, canceller)
    }

    /// Sends it, and waits for the head of its answer; any status is an answer.
    ///
    /// # Errors
    /// [`ClientError`]
    ///
    /// # Cancel safety
    /// Dropped before its end, it is given up: an HTTP/1 connection is closed, an HTTP/2 stream
    /// reset. The server may have worked on it.
    pub async fn send(mut self) -> Result<Answer, ClientError> {
        let context = self.context.take().unwrap_or_else(Context::current);
        let context = context.with_timeout(self.timeout);
        // In memory of its own: it is large.
        Box::pin(super::exchange::run(self, context)).await
    }

    /// One whose answer has no end.
    pub(super) fn of_stream(
        client: &Client,
        born_at: &'static Location<'static>,
        url: &Url,
        headers: HeaderMap,
    ) -> ClientRequest {
        ClientRequest {
            client: client.clone(),
            born_at,
            url: Ok(url.clone()),
            method: Method::GET,
            headers,
            body: RequestBody::default(),
            timeout: Duration::MAX,
            max_body: u64::MAX,
            is_stream: true,
            context: None,
        }
    }

    /// The first thing that is wrong counts.
    fn fails(&mut self, error: ClientError) {
        if self.url.is_ok() {
            self.url = Err(error);
        }
    }
}

impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map(origin::shown);
        f.debug_struct("ClientRequest")
            .field("method", &self.method)
            .field("url", &url)
            .finish_non_exhaustive()
    }
}
