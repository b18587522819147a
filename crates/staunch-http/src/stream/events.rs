//! The answers that are streams.

use std::future::Future;

use bytes::Bytes;
use hyper::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
};
use staunch_scope::BoxError;

use super::{
    admission::{Admitted, Ending},
    body::{Made, Signs, StreamBody},
    event::Event,
    sender::{SendError, Sender, channel},
};

/// The end that makes events.
#[derive(Debug)]
pub struct EventSender(Sender);

impl EventSender {
    /// Sends `event` when there is room for it.
    ///
    /// # Errors
    /// [`SendError`]
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing of `event` is sent.
    pub async fn send(&mut self, event: &Event) -> Result<(), SendError> {
        self.0.send(event).await
    }

    /// Whether the stream has ended: nobody takes what is made.
    pub fn is_ended(&self) -> bool {
        self.0.is_ended()
    }
}

/// A comment, which clients pass over.
const HEARTBEAT: &[u8] = b":\n\n";

fn farewell(ending: Ending) -> Bytes {
    Bytes::from(format!("event: close\ndata: {}\n\n", ending.reason()))
}

impl Admitted {
    /// An answer whose body `make` makes piece by piece, while it is sent: of a large one there is
    /// never more than [`buffer`](crate::StreamLimits::buffer) at a time. `make` runs in the request's
    /// task, as long as the client is there: it is polled when the client takes something, and
    /// dropped when the client leaves.
    ///
    /// It ends well when `make` does and the [`Sender`] is gone; if that takes longer than the
    /// stream's `lifetime`, or nothing is made for its `idle`, or `make` fails, the connection breaks:
    /// the client must not take a part for all. When the server is to stop it is finished.
    ///
    /// # Examples
    /// ```
    /// use hyper::Response;
    /// use staunch_http::{StreamBody, Streams, peer};
    ///
    /// fn export(streams: &Streams) -> Response<StreamBody> {
    ///     match streams.admit(peer().map(|peer| peer.ip())) {
    ///         Err(refused) => refused.answer(),
    ///         Ok(admitted) => admitted.stream(|mut rows| async move {
    ///             for row in 0..1_000_000 {
    ///                 rows.send(format!("{row}\n")).await?;
    ///             }
    ///             Ok(())
    ///         }),
    ///     }
    /// }
    /// ```
    pub fn stream<F, Fut>(self, make: F) -> Response<StreamBody>
    where
        F: FnOnce(Sender) -> Fut,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Response::new(self.body(make, None))
    }

    /// Server-sent events (HTML, 9.2), which `make` makes while they are sent. Comments are its signs
    /// of life. It ends when `make` does; and with a last event, named `close`, whose data is
    /// `lifetime`, `idle` or `draining`, when that is its reason. A browser comes again then, and says
    /// which event it saw last ([`last_event_id`](crate::last_event_id)).
    pub fn events<F, Fut>(self, make: F) -> Response<StreamBody>
    where
        F: FnOnce(EventSender) -> Fut,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let signs = Signs { heartbeat: HEARTBEAT, farewell };
        let body = self.body(|sender| make(EventSender(sender)), Some(signs));
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would collect them.
        let buffering = HeaderName::from_static("x-accel-buffering");
        headers.insert(buffering, HeaderValue::from_static("no"));
        answer
    }

    fn body<F, Fut>(mut self, make: F, signs: Option<Signs>) -> StreamBody
    where
        F: FnOnce(Sender) -> Fut,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let piece = self.begin();
        let (sender, receiver) = channel(self.held.limits().buffer);
        let made: Made = Box::pin(make(sender));
        StreamBody::made(made, receiver, signs, piece, self.held)
    }
}
