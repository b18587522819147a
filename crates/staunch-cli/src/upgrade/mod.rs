//! From one program to the next, without a connection refused.
//!
//! At SIGUSR2 a process starts its successor: the program at its own path, with its own arguments.
//! It hands over its listening sockets and goes on serving; when the successor accepts, it drains.
//! If that does not come about, nothing has changed.
//!
//! The two speak over a pair of sockets, of which the successor has one end for its standard input.

mod channel;
mod notify;
mod predecessor;
mod successor;
mod tell;

pub(crate) use self::{
    notify::notify,
    predecessor::Predecessor,
    successor::{Asked, Successor},
    tell::upgrade,
};
