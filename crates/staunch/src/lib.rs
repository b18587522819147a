//! Services that do not leak.
//!
//! Every task, connection, buffer and lease has one owner, an end, and the line it was born on,
//! and is on a ledger that is always there to be read. When something is left all the same, the
//! ledger names the line.
//!
//! ```
//! use staunch::{BoxError, Context, Ledger, scope};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let sum = scope(&Context::background(), |s| async move {
//!     let left = s.fork(async { Ok(40) });
//!     let right = s.fork(async { Ok(2) });
//!     Ok::<_, BoxError>(left.join().await? + right.join().await?)
//! })
//! .await; // both children have ended, and their destructors have run
//!
//! assert_eq!(sum.unwrap(), 42);
//! assert_eq!(Ledger::global().live(), 0);
//! # });
//! ```
//!
//! # Where to start
//! | you want | use |
//! | --- | --- |
//! | tasks that cannot outlive their owner | [`scope`], [`Scope`], [`ScopeBuilder`] |
//! | a child that is started again when it fails | [`Scope::supervise`], [`Restart`] |
//! | deadlines, cancellation, trace ids | [`Context`], [`sleep()`], [`timeout`] |
//! | bounded channels, and to find waits that nobody can end | [`channel`] |
//! | sockets within limits, that stall nobody | [`net`], [`net::Listener`], [`net::UdpServer`] |
//! | connections to lease, and to know who has them | [`pool`], [`pool::Pool`] |
//! | to be found by those who look for servers | `registry::register` (feature `registry`) |
//! | to take on less before memory or fds run out | `guard::Guard` (feature `guard`) |
//! | to be told of a leak, with its line | [`patrol`](patrol()) |
//! | … and its cause and fix, by the rules of `staunch doctor` | `findings::watch` (feature `findings`) |
//! | to be told of a task that holds up its worker | [`WorkerWatch`] |
//! | to know what is live, and since when | [`Ledger`], [`ledger`] |
//! | tests that fail when anything is left | `#[staunch::test]`, `testing` (feature `testing`) |
//!
//! # Features
//! `http`: a server for HTTP/1.1 and HTTP/2, `http::Server`, on which an axum router runs; and a
//! manager for [`pool`]. `http-client`: `http::Client`. `websocket`: `http::WebSocket`. `findings`:
//! `findings::watch`. `guard`: `guard::Guard`, with `http` also `guard::Shed`; `jemalloc`: `guard::Jemalloc`. `postgres`, `redis`,
//! `tcp`: managers too. `registry`: `registry::register`. `testing`: the test helpers; switch it on in `[dev-dependencies]` only.

#[cfg(feature = "findings")]
pub use staunch_findings as findings;
#[cfg(feature = "guard")]
pub use staunch_guard as guard;
#[cfg(feature = "http")]
pub use staunch_http as http;
pub use staunch_ledger as ledger;
pub use staunch_net as net;
pub use staunch_pool as pool;
#[cfg(feature = "registry")]
pub use staunch_registry as registry;

pub use staunch_ledger::{Account, Kind, Ledger, Obligation};
pub use staunch_scope::{
    BoxError, Cancelled, Child, Context, Restart, Scope, ScopeBuilder, ScopeError, WorkerWatch,
    channel, detach, patrol, scope, shield, sleep, timeout,
};

#[cfg(feature = "testing")]
pub use staunch_macros::test;
#[cfg(feature = "testing")]
pub mod testing;

/// What most files of a service need: `use staunch::prelude::*`.
pub mod prelude {
    pub use staunch_ledger::{Kind, Ledger, Obligation};
    pub use staunch_scope::{BoxError, Cancelled, Context, Scope, ScopeError, scope};
}
