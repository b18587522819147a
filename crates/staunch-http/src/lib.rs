//! HTTP that cannot leak.
//!
//! A [`Server`] answers HTTP/1.1 and HTTP/2 on a [`Listener`](staunch_net::Listener) of ours, with
//! any [`tower_service::Service`]: an axum router, or a function ([`handler`]). The engine is
//! hyper; what hyper leaves open has an end here.
//!
//! A `Client` (feature `client`) asks others: given up in every phase, with a bound on whatever it
//! reads, and an account of the bodies that nobody read.
//!
//! # What holds
//! 1. A head or body that is too large or too slow, a peer that stops reading or says no more: all
//!    end in an error, never in a wait without end.
//! 2. A handler is dropped when its client leaves.
//! 3. A server that is asked to stop finishes the answers in the making, and no others, until the
//!    drain deadline of its listener.

#[cfg(feature = "client")]
mod client;
mod error;
mod limits;
#[cfg(feature = "files")]
mod saving;
mod server;
mod stream;

#[cfg(feature = "client")]
pub use crate::client::*;
pub use crate::{
    error::ServeHttpError,
    limits::{BodyLimits, HttpLimits},
    server::{
        Server,
        body::{CutShortError, MalformedBodyError, RequestBody, SlowBodyError, keep_until_sent},
        handler::{Handler, handler},
        link::{draining, peer, peer_names},
        refused::Refused,
        resting::{Heard, Resting, TakeTurns, take_turns},
        serve,
        socket::Transport,
        upgrade::{NotUpgradable, Upgraded, upgrade},
        wire,
    },
    stream::*,
};
/// What reads bytes, for `fuzz/` alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    #[cfg(feature = "client")]
    pub use crate::client::fuzzing::*;
    pub use crate::server::fuzzing::*;
    #[cfg(feature = "websocket")]
    pub use crate::stream::fuzzing::*;
}
#[cfg(feature = "files")]
pub use crate::{saving::Progress, server::files::SaveBodyError};
