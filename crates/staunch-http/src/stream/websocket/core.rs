//! What a WebSocket does while somebody waits for it.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use staunch_ledger::State;
use staunch_scope::{BoxError, Cancelled, Piece};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self,
        error::{CapacityError, Error, ProtocolError},
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::{
    draining,
    server::upgrade::Upgraded,
    stream::{
        StreamLimits,
        admission::{Admitted, Ending, Held},
        pace::{Due, Pace},
    },
};

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Binary(Bytes),
}

/// A WebSocket cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// It was closed, its time is over, or the server is to stop: nothing more is sent.
    #[error("the WebSocket is closed")]
    Ended,
    /// The client does not answer pings.
    #[error("nothing came back within {limit:?} after a ping (`heartbeat`)")]
    Silent {
        /// The limit that was passed.
        limit: Duration,
    },
    /// A message is too large.
    #[error("a message of {bytes} bytes; at most {limit} are taken (`message`)")]
    Large {
        /// Its size, as far as it is known.
        bytes: usize,
        /// The limit that was passed.
        limit: usize,
    },
    /// The client does not keep to RFC 6455.
    #[error("the client breaks the protocol: {0}")]
    Protocol(Box<str>),
    /// A text is not UTF-8.
    #[error("the client sends text that is not UTF-8")]
    NotText,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
}

/// For the answer to a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// What a browser tells its page: why it was closed.
type Code = (u16, String);

/// The end is an ordinary one.
const NORMAL: u16 = 1000;
/// The server goes away.
const AWAY: u16 = 1001;

pub(super) struct Core {
    stream: WebSocketStream<Upgraded>,
    pace: Pace,
    heartbeat: Duration,
    /// Nothing has come since a ping was sent.
    is_silent: bool,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// It was closed by somebody, or cannot be any more.
    is_over: bool,
    piece: Piece,
    held: Held,
}

impl Core {
    pub(super) async fn new(mut admitted: Admitted, label: &str, upgraded: Upgraded) -> Core {
        let piece = admitted.begin();
        piece.account().label(label);
        let limits = admitted.held.limits();
        let config = config(limits);
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        let (pace, heartbeat) = (Pace::new(limits, true), limits.heartbeat);
        let stop = draining();
        let draining = Box::pin(async move { _ = stop.cancelled().await });
        let held = admitted.held;
        Core { stream, pace, heartbeat, is_silent: false, draining, is_over: false, piece, held }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Message>, WebSocketError> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            match event {
                Event::Said(message) => return Ok(Some(message)),
                Event::Closed => {
                    self.over(Ending::Left);
                    return Ok(None);
                }
                Event::Broke(error) => {
                    self.over(Ending::Failed);
                    return Err(error);
                }
                Event::Due(Due::Heartbeat) if self.is_silent => {
                    self.over(Ending::Left);
                    return Err(WebSocketError::Silent { limit: self.heartbeat });
                }
                Event::Due(Due::Heartbeat) => {
                    self.pace.beaten();
                    self.put(tungstenite::Message::Ping(Bytes::new())).await?;
                    self.is_silent = true;
                }
                Event::Due(Due::Idle) => self.close(NORMAL, Ending::Idle).await,
                Event::Due(Due::Lifetime) => self.close(AWAY, Ending::Lifetime).await,
                Event::Draining => self.close(AWAY, Ending::Draining).await,
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Poller<'_>) -> Poll<Event> {
        // Before it reads: of a client that keeps talking there is always something.
        if self.draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Draining);
        }
        if self.pace.is_over(Instant::now()) {
            return Poll::Ready(Event::Due(Due::Lifetime));
        }
        while let Poll::Ready(heard) = Pin::new(&mut self.stream).poll_next(cx) {
            self.is_silent = false;
            self.piece.account().touch();
            match heard {
                None => return Poll::Ready(Event::Closed),
                Some(Err(error)) => return Poll::Ready(broke(error)),
                Some(Ok(heard)) => {
                    if let Some(message) = message(heard) {
                        self.pace.made();
                        return Poll::Ready(Event::Said(message));
                    }
                }
            }
        }
        let due = self.pace.poll(cx);
        self.piece.account().set_state(State::Sleep);
        due.map(Event::Due)
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), WebSocketError> {
        let limit = self.held.limits().message;
        let bytes = message.bytes();
        if bytes > limit {
            return Err(WebSocketError::Large { bytes, limit });
        }
        if self.is_over {
            return Err(WebSocketError::Ended);
        }
        let is_draining =
            poll_fn(|cx| Poll::Ready(self.draining.as_mut().poll(cx).is_ready())).await;
        let within = self.pace.made();
        if is_draining || !within {
            let ending = if is_draining { Ending::Draining } else { Ending::Lifetime };
            self.close(AWAY, ending).await;
            return Err(WebSocketError::Ended);
        }
        self.put(message.into()).await
    }

    async fn put(&mut self, message: tungstenite::Message) -> Result<(), WebSocketError> {
        self.piece.account().set_state(State::Write);
        let mut message = Some(message);
        let put = poll_fn(|cx| {
            let mut stream = Pin::new(&mut self.stream);
            if message.is_some() {
                ready!(stream.as_mut().poll_ready(cx))?;
            }
            if let Some(message) = message.take() {
                stream.as_mut().start_send(message)?;
            }
            stream.poll_flush(cx)
        });
        match put.await {
            Ok(()) => {
                self.piece.account().touch();
                Ok(())
            }
            Err(error) => {
                self.over(Ending::Left);
                match broke(error) {
                    Event::Broke(error) => Err(error),
                    _ => Err(WebSocketError::Ended),
                }
            }
        }
    }

    /// Ends it with a close frame, of which it has the reason.
    async fn close(&mut self, code: u16, ending: Ending) {
        self.over(ending);
        self.say_goodbye(code, ending.reason().to_owned()).await;
    }

    fn over(&mut self, ending: Ending) {
        self.is_over = true;
        self.piece.account().set_state(State::Stopping);
        self.held.ends(ending);
    }

    /// Ends it, for good; with a close frame if there was none.
    pub(super) async fn end(mut self: Box<Self>, code: Option<Code>, ending: Ending) {
        let Some((code, reason)) = code else { return };
        if !self.is_over {
            self.over(ending);
        }
        self.say_goodbye(code, reason).await;
    }

    /// Sends a close frame, and waits for the client's. Once it was sent, or the connection broke, it
    /// does nothing.
    async fn say_goodbye(&mut self, code: u16, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(123)); // of a control frame's 125 (RFC 6455, 5.5)
        let close = CloseFrame { code: code.into(), reason: reason.into() };
        let goodbye = async {
            self.stream.close(Some(close)).await?;
            while let Some(heard) = poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)).await {
                heard?;
            }
            Ok::<_, Error>(())
        };
        if let Ok(Err(error)) = timeout(CLOSE_TIME, goodbye).await {
            tracing::trace!(%error, "a WebSocket is not closed in good order");
        }
    }
}

pub(super) fn config(limits: &StreamLimits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.buffer.max(limits.message).saturating_add(1 << 10))
        .max_message_size(Some(limits.message))
        .max_frame_size(Some(limits.message))
}

/// What happens to a WebSocket.
pub(super) enum Event {
    Said(Message),
    Closed,
    Broke(WebSocketError),
    Due(Due),
    Draining,
}

/// An error of the stream, which may be but its end.
pub(super) fn broke(error: Error) -> Event {
    Event::Broke(match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Event::Closed,
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            WebSocketError::Large { bytes: size, limit: max_size }
        }
        Error::Utf8(_) => WebSocketError::NotText,
        Error::Io(error) => WebSocketError::Io(error),
        other => WebSocketError::Protocol(other.to_string().into()),
    })
}

pub(super) fn message(heard: tungstenite::Message) -> Option<Message> {
    match heard {
        tungstenite::Message::Text(text) => Some(Message::Text(text.as_str().to_owned())),
        tungstenite::Message::Binary(bytes) => Some(Message::Binary(bytes)),
        _ => None, // pings and closes are answered below
    }
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }
}

impl From<Message> for tungstenite::Message {
    fn from(message: Message) -> tungstenite::Message {
        match message {
            Message::Text(text) => tungstenite::Message::Text(text.into()),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        }
    }
}

/// How it ends, after who spoke has come to an end: by itself, or since the server is to stop.
pub(super) fn ending_of(ended: Result<&(), &BoxError>) -> Ending {
    match ended.err().and_then(|error| error.downcast_ref()) {
        Some(Cancelled::Requested) if crate::draining().is_cancelled() => Ending::Draining,
        _ => Ending::Whole,
    }
}

/// The code of a close frame (RFC 6455, 7.4.1), after who spoke has come to an end.
pub(super) fn code_of(ended: Result<&(), &BoxError>) -> Option<Code> {
    if ending_of(ended) == Ending::Draining {
        return Some((AWAY, Ending::Draining.reason().to_owned()));
    }
    let Err(error) = ended else { return Some((NORMAL, String::new())) };
    let (code, reason) = match error.downcast_ref() {
        Some(WebSocketError::Ended | WebSocketError::Silent { .. } | WebSocketError::Io(_)) => {
            return None;
        }
        Some(WebSocketError::Large { .. }) => (1009, "too large"),
        Some(WebSocketError::Protocol(_)) => (1002, ""),
        Some(WebSocketError::NotText) => (1007, ""),
        None => (1011, ""),
    };
    Some((code, reason.to_owned()))
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("piece", &self.piece).finish_non_exhaustive()
    }
}
