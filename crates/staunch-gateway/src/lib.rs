//! The gateway: from listeners by routes to the servers of a service, with a bound on everything.
//!
//! A [`Gateway`] has a thread for each core, and each of them a share of every listener and its own
//! connections to the servers. What comes is matched with a route, sent to a server of the route's
//! service, and the answer handed back, without keeping more of either than what one side has given
//! and the other has not yet taken.
//!
//! # What holds
//! 1. When a client leaves, its request to the server is given up, and both are closed.
//! 2. A request is tried again only if the server has not seen it, or if sending it twice does what
//!    sending it once does; and only for a part of all requests.
//! 3. A new configuration changes nothing for what has begun; a listener that it does not name drains.
//! 4. What a route asks of a request is decided before any of its body is read ([`staunch_policy`]).
//! 5. Servers that come and go are taken up without touching what has not changed.
//! 6. A path is seen in one spelling by routes and servers, and nothing that could be read in two ways
//!    goes on.

mod access;
mod accounts;
mod balance;
mod checks;
mod children;
mod connect;
mod core;
mod counts;
mod discovery;
mod fast;
mod files;
mod forward;
mod gateway;
mod grpc;
mod held;
mod link;
mod listeners;
mod metrics;
mod pipes;
mod plan;
mod relay;
mod remote;
mod reports;
mod route;
mod scratch;
mod serving;
mod tcp;
mod traces;
mod tunnel;
mod udp;
mod upstream;

/// What reads bytes, for `fuzz/` alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use crate::fast::fuzzing;
pub use crate::{
    access::AccessLogError,
    core::guarded,
    files::{FileError, check_files},
    gateway::{Control, Done, Gateway, GatewayError, ReloadError, Setup},
    listeners::{ListenError, Listeners},
    plan::PlanError,
    traces::{TraceHeadersError, TracesError},
    udp::guarded_datagrams,
};
