//! Server-sent events, received (HTML, 9.2).
//!
//! [`source`] is the loop: ask, read, pause, ask again; [`parse`] is what is read, and [`pause`] how
//! long it waits. Streams have connections of their own, by origin: they hold them for long, and
//! leave the others to requests.

mod error;
mod options;
pub(super) mod parse;
mod pause;
mod source;

use std::{fmt, time::Duration};

use hyper::{
    HeaderMap,
    header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderValue},
};
use staunch_scope::{Canceller, Context};

pub use self::{
    error::{EventSourceError, EventsLost},
    options::EventsOptions,
    source::EventSource,
};
use super::{Client, error::ClientError, origin, request::ClientRequest};

/// A request for events, which [`open`](EventsRequest::open) makes into an [`EventSource`].
#[must_use = "events that are not opened do not come"]
pub struct EventsRequest {
    request: ClientRequest,
    options: EventsOptions,
    last_id: String,
}

impl Client {
    /// Asks for server-sent events. The caller's line is the one that they, their connections and
    /// their bodies are known by.
    ///
    /// The client's [`total_timeout`](crate::ClientOptions::total_timeout) is not theirs: it bounds
    /// each attempt, up to the head of its answer. Theirs is
    /// [`timeout`](EventsRequest::timeout), if they have one.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: staunch_http::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut prices = client.events("https://prices.internal/gold").open()?;
    /// while let Some(event) = prices.next().await? {
    ///     println!("{}: {}", event.name().unwrap_or("message"), event.text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn events(&self, url: impl AsRef<str>) -> EventsRequest {
        let mut request = self.get(url).timeout(Duration::MAX);
        let headers = &mut request.headers;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // What packs would collect them first.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        EventsRequest { request, options: EventsOptions::default(), last_id: String::new() }
    }
}

impl EventsRequest {
    /// Adds a header, to each attempt.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> EventsRequest {
        self.request = self.request.header(name, value);
        self
    }

    /// How they are received.
    pub fn options(mut self, options: EventsOptions) -> EventsRequest {
        self.options = options;
        self
    }

    /// Goes on after the event with this id, as after an interruption: for who has kept it
    /// ([`EventSource::last_id`]).
    pub fn after(mut self, last_id: impl Into<String>) -> EventsRequest {
        self.last_id = last_id.into();
        self
    }

    /// Time for all of it, however often it connects. Default: none; it ends with its context.
    pub fn timeout(mut self, limit: Duration) -> EventsRequest {
        self.request = self.request.timeout(limit);
        self
    }

    /// Whose work it is: it ends with it, and by its deadline. Default: the context of the task
    /// that opens it.
    pub fn context(mut self, context: &Context) -> EventsRequest {
        self.request = self.request.context(context);
        self
    }

    /// The request, and a handle that ends it, whatever it waits for. The handle ends it when it is
    /// dropped, too: keep it as long as the source.
    pub fn cancellable(mut self) -> (EventsRequest, Canceller) {
        let (request, canceller) = self.request.cancellable();
        self.request = request;
        (self, canceller)
    }

    /// The source of the events. Nothing is sent until the first is waited for.
    ///
    /// # Errors
    /// [`ClientError`], when the URL or a header is wrong.
    pub fn open(self) -> Result<EventSource, ClientError> {
        EventSource::open(self)
    }
}

impl fmt::Debug for EventsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.request.url.as_ref().map(origin::shown);
        f.debug_struct("EventsRequest").field("url", &url).finish_non_exhaustive()
    }
}

/// The headers of an attempt: `Last-Event-ID` says how far it has come.
fn headers(headers: &HeaderMap, last_id: &str) -> Result<HeaderMap, ClientError> {
    let mut headers = headers.clone();
    if !last_id.is_empty() {
        let id = HeaderValue::from_bytes(last_id.as_bytes()).map_err(|error| {
            ClientError::Header { name: "last-event-id".into(), reason: error.to_string() }
        })?;
        headers.insert("last-event-id", id);
    }
    Ok(headers)
}
