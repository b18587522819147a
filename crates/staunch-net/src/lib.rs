//! Sockets that cannot leak.
//!
//! A [`Listener`] accepts within [`Limits`], runs a handler for each [`Connection`] as the
//! child of a scope, cuts peers that stall, and drains when its context is cancelled. Every
//! socket is on the ledger with the line of whoever called [`Listener::serve`], its peer, what
//! it waits for and when it last moved bytes.
//!
//! An idle connection holds its socket and its entry: buffers are taken when bytes arrive and
//! go back when they are used up.

mod activity;
mod admission;
mod bind_error;
mod buffer;
mod chunks;
mod connection;
mod control;
mod counts;
mod dial;
mod endpoint;
mod first_words;
mod handover;
mod limit;
mod limits;
mod line_reader;
mod lines;
mod linger;
mod listener;
mod listening;
mod observe;
mod options;
mod pipe;
mod proxied;
mod read_to_end;
mod resources;
mod socket;
mod splitter;
mod states;
mod tls;
mod udp;
mod watchdog;
mod wheel;
mod window;

pub use crate::{
    bind_error::BindError,
    chunks::{Chunks, chunks},
    connection::{Closer, Connection, ReadFor, WriteAll},
    control::Control,
    counts::{ListenerReport, Refused, listeners},
    dial::{
        DatagramError, DialError, DialOptions, Dialer, HttpProxy, UdpPeer, dial_tcp, dial_tls,
        dial_udp, dial_unix,
    },
    endpoint::{Endpoint, ParseEndpointError},
    handover::{InheritError, InheritedSockets, SharedSocket},
    limit::{Limited, limit},
    limits::{FIRST_WORDS, Limits},
    line_reader::LineReader,
    lines::{Lines, NextLine, ReadLineError},
    linger::linger,
    listener::{Listener, Served, UnattachedListener},
    options::SocketOptions,
    pipe::Pipe,
    proxied::{ParseProxyHeaderError, ProxyHeader},
    read_to_end::{ReadToEndError, read_to_end},
    splitter::{FoundLine, LineSplitter},
    states::{kept_by_the_kernel, socket_states},
    tls::{
        ClientAuth, HandshakeError, HandshakeFailure, LoadTlsError, TlsConfig, TlsConnection,
        TlsTrust,
    },
    udp::{Datagram, UdpCounts, UdpLimits, UdpOptions, UdpServed, UdpServer},
    watchdog::{Cut, CutReason},
};
