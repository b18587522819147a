//! Real servers for tests and benches, and what tests of pools and of HTTP servers share.
//!
//! Each server is a child process on a free port of 127.0.0.1, with its files in a temporary
//! folder. It is ended by its pid when it is dropped, and its folder goes with it.

mod child;
mod consul;
mod dnsmasq;
mod etcd;
#[cfg(feature = "fixtures")]
pub mod fixture;
pub mod frames;
mod go;
mod haproxy;
mod heard;
#[cfg(feature = "http")]
mod http;
mod nginx;
#[cfg(feature = "pool")]
mod outage;
#[cfg(feature = "pool")]
mod pool;
mod port;
mod postgres;
mod raw;
mod redis;
mod swallow;
mod tinyproxy;

#[cfg(feature = "http")]
pub use crate::http::{http1, http2};
pub use crate::{
    consul::ConsulStandIn, dnsmasq::DnsmasqServer, etcd::EtcdServer, go::GoServer,
    haproxy::HaproxyServer, heard::has_heard, nginx::NginxServer, port::free_port,
    postgres::PostgresServer, raw::Raw, redis::RedisServer, swallow::Swallow,
    tinyproxy::TinyproxyServer,
};
#[cfg(feature = "pool")]
pub use crate::{
    outage::{Restart, outlives_a_kill, outlives_a_silence},
    pool::{destroyed, eventually, live, observed, poll_times, with_pool},
};
