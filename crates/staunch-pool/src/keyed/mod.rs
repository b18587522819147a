//! A pool for each key, such as each upstream of a proxy, whose empty keys vanish.
//!
//! [`part`] is one key's pool; [`book`] finds it, or makes it, and removes it when it is empty.
//! What is counted for all keys together is counted twice. *Rights* ([`seat`]) count leases: who
//! acquires waits for one of its key's and then for one of all keys', in a line each, so that the
//! crowd of one key never holds what another could have. *Rooms* ([`rooms`]) count connections: whoever has
//! the right to a lease and finds no idle connection may make one, and if there is no room an idle
//! one of another key gives way. There is one, or one is on its way to being idle or ended: there
//! are no more rights than rooms, and each leased connection has a right.
//!
//! **Invariant.** A right is given back once: by its own lease, or by the end of its connection, for
//! a lease may be forgotten and revoked. So is a room, by the end of its connection, or by whoever
//! kills it under a lease that was forgotten while it was in use.
//!
//! **Invariant.** A key is removed only while the map's lock is held and nobody else has a handle
//! to it; who acquires has one from the call on. So a key that is being acquired from stays.

mod book;
mod error;
mod lease;
mod options;
mod part;
mod pool;
mod rooms;
mod seat;
mod status;
mod sub;

pub use self::{
    error::KeyedAcquireError,
    lease::{KeyedInUse, KeyedLease, KeyedOwnedInUse},
    options::{KeyedPoolOptions, KeyedPoolOptionsError},
    pool::{Key, KeyedPool},
    status::{KeyStatus, KeyedStatus},
};
