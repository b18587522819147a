//! WebSockets (RFC 6455), in the task of the connection that they were asked for on.

mod core;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handshake;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hyper::{Request, Response};
use staunch_scope::BoxError;

use self::core::{Core, code_of, ending_of};
pub use self::{
    core::{Message, WebSocketError},
    handshake::NotWebSocketError,
};
use super::{
    admission::{Admitted, Ending},
    body::StreamBody,
};
use crate::server::upgrade::{Upgraded, upgrade};

/// A WebSocket, on the server's side.
///
/// While [`next`](WebSocket::next) is awaited it answers pings, sends its own, and ends when nothing
/// comes back, when nothing is said for its `idle`, when its `lifetime` is over, and when the server is
/// to stop: with a close frame, for whose answer it waits for 5 s at most.
#[derive(Debug)]
pub struct WebSocket {
    /// There until it is dropped.
    core: Option<Box<Core>>,
    home: Home,
}

/// Where a WebSocket goes when it is dropped, to be closed in good order.
type Home = Arc<Mutex<Option<Box<Core>>>>;

impl Admitted {
    /// Answers `request` with a WebSocket, over which `speak` speaks: in the task of the connection,
    /// for as long as that is there. When `speak` ends, or drops it, it is closed: with 1000, or 1011 if
    /// it ended in an error; with 1001 if that is [`Cancelled::Requested`](staunch_scope::Cancelled), since
    /// the server is to stop.
    ///
    /// Browsers send requests for WebSockets from any page with the user's cookies: who trusts those
    /// must look at `Origin` before.
    ///
    /// # Errors
    /// [`NotWebSocketError`], with what to answer instead.
    ///
    /// # Examples
    /// ```
    /// use hyper::{Request, Response};
    /// use staunch_http::{RequestBody, StreamBody, Streams, peer};
    ///
    /// fn echo(streams: &Streams, mut request: Request<RequestBody>) -> Response<StreamBody> {
    ///     let admitted = match streams.admit(peer().map(|peer| peer.ip())) {
    ///         Err(refused) => return refused.answer(),
    ///         Ok(admitted) => admitted,
    ///     };
    ///     let answer = admitted.websocket(&mut request, |mut socket| async move {
    ///         while let Some(message) = socket.next().await? {
    ///             socket.send(message).await?;
    ///         }
    ///         Ok(())
    ///     });
    ///     answer.unwrap_or_else(|error| error.answer())
    /// }
    /// ```
    pub fn websocket<Q, F, Fut>(
        self,
        request: &mut Request<Q>,
        speak: F,
    ) -> Result<Response<StreamBody>, NotWebSocketError>
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let answer = handshake::answer(request)?;
        let label = format!("{} {}", request.method(), request.uri().path());
        let speaks = move |upgraded| serve(self, label, upgraded, speak);
        upgrade(request, answer, speaks).map_err(|_| NotWebSocketError::Version)
    }
}

async fn serve<F, Fut>(admitted: Admitted, label: String, upgraded: Upgraded, speak: F)
where
    F: FnOnce(WebSocket) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let home = Home::default();
    let core = Some(Box::new(Core::new(admitted, &label, upgraded).await));
    let ended = speak(WebSocket { core, home: Arc::clone(&home) }).await;
    let core = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(core) = core else { return }; // somebody else still has it
    if let Err(error) = &ended {
        tracing::debug!(%error, route = label, "a WebSocket ended in an error");
    }
    core.end(code_of(ended.as_ref()), ending_of(ended.as_ref())).await;
}

impl WebSocket {
    fn core(&mut self) -> &mut Core {
        self.core.as_mut().expect("it is there until it is dropped")
    }

    /// The next message; `None` when there will be none: the client or [`close`](Self::close) closed
    /// it, its time was over, or the server is to stop.
    ///
    /// # Errors
    /// [`WebSocketError`], after which there is no other message.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn next(&mut self) -> Result<Option<Message>, WebSocketError> {
        self.core().next().await
    }

    /// Sends a message; ready when the kernel has it, or the client takes so little that some of it
    /// waits within [`buffer`](crate::StreamLimits::buffer).
    ///
    /// # Errors
    /// [`WebSocketError`]; [`Ended`](WebSocketError::Ended) also when its time is over, or the
    /// server is to stop.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, all of the message is sent with the next one, or none of it ever.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), WebSocketError> {
        self.core().send(message.into()).await
    }

    /// Closes it, with a code (RFC 6455, 7.4) and a reason of at most 123 bytes. What the client
    /// still says is passed over.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may be half closed: the connection then ends.
    pub async fn close(mut self, code: u16, reason: &str) {
        if let Some(core) = self.core.take() {
            core.end(Some((code, reason.to_owned())), Ending::Whole).await;
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.core.take();
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Message {
        Message::Binary(bytes)
    }
}
