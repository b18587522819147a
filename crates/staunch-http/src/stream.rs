//! Answers that take their time: bodies made piece by piece, events, and WebSockets.
//!
//! Each is admitted before anything of it exists ([`Streams::admit`]), is on the ledger as long as it
//! lives, sends a sign of life when there is nothing else to send, and ends: when it has made nothing
//! for too long, when its lifetime is over, when its client leaves, and when the server is to stop.
//!
//! | it is | the ledger shows it as |
//! | --- | --- |
//! | admitted, but not asked for anything | `open` |
//! | making something | `running` |
//! | waiting: for something to send, or until a sign of life is due | `sleep` |
//! | holding what its client has not taken | `write` |
//! | told to end | `stopping` |

mod admission;
mod body;
mod event;
mod events;
mod hub;
mod limits;
mod pace;
mod registry;
mod sender;
#[cfg(feature = "websocket")]
mod websocket;

#[cfg(all(feature = "fuzzing", feature = "websocket"))]
pub(crate) use self::websocket::fuzzing;
#[cfg(feature = "websocket")]
pub use self::websocket::{Message, NotWebSocketError, WebSocket, WebSocketError};
pub use self::{
    admission::{Admitted, StreamCounts, StreamRefused, Streams},
    body::{StreamBody, StreamError},
    event::{Event, EventError, last_event_id},
    events::EventSender,
    hub::{Hub, HubFullError, HubOptions, Received, SlowConsumer, Subscription},
    limits::StreamLimits,
    registry::{StreamsReport, streams},
    sender::{SendError, Sender},
};
