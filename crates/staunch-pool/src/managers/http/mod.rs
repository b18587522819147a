//! HTTP/1.1 and HTTP/2, by hyper.
//!
//! One lease is one request in flight. Over HTTP/1 that is a connection; over HTTP/2 a *slot* of
//! one ([`multiplex`]): `connect` hands out slots of the connections there are before it dials
//! another, and the last slot that goes takes its connection with it. So the pool counts requests
//! in flight, whatever is spoken, and needs to know nothing of multiplexing.
//!
//! The socket is dialled by `staunch-net`, so it is on the ledger; hyper's tasks are children of
//! the scope the manager was made in ([`life`]), and end with their connection; one that sends a body over
//! HTTP/2 ends with its answer ([`upload`]).
//!
//! [`send`](crate::Pool::send) is the way in: it leases, sends, and gives back a [`PooledBody`]
//! that has the lease until it is at its end.

mod body;
mod connection;
mod error;
mod life;
mod manager;
mod multiplex;
mod options;
mod request;
mod send;
mod upload;

pub use self::{
    body::PooledBody,
    connection::HttpConnection,
    error::{BodyError, ConnectHttpError, HttpError},
    manager::Http,
    options::{HttpOptions, HttpProtocol},
    request::RequestBody,
    send::{NotSent, Opened},
};
