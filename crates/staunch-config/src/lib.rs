//! The configuration of `staunch run`: one TOML file, read once, every mistake reported.
//!
//! There are two steps with a type each. What the user wrote is a TOML table with spans, and
//! stays inside this crate; what the program runs on is a [`Config`] of plain values, all of
//! them checked: a [`Config`] that exists can be run. What only the machine can tell (a port in
//! use, a missing certificate, a token file too short) is left to the start.
//!
//! - **All mistakes in one run**: syntax, unknown keys (with the nearest right name), wrong
//!   types and values, missing keys, duplicates, contradictions between keys. See
//!   [`ConfigErrors`].
//! - **No limit is infinite unless the file says so**: a limit that may be lifted takes the word
//!   `"unlimited"` and is an `Option` here, with `None` for that word. Every default is finite.
//! - **No key is silently without effect**: one that cannot act where it stands is refused.
//!
//! ```
//! use staunch_config::Config;
//!
//! let errors = Config::parse("t.toml", "
//!     [[listener]]
//!     name = \"echo\"
//!     protocol = \"echo\"
//!     lisen = \"127.0.0.1:9000\"
//! ").unwrap_err();
//! assert_eq!(
//!     errors.iter().last().map(ToString::to_string).as_deref(),
//!     Some("t.toml:5:5: unknown key `lisen` in [[listener]] \"echo\": did you mean `listen`?"),
//! );
//! ```

mod access_log;
mod admin;
mod config;
mod duration;
mod error;
mod file;
mod guard;
mod listener;
mod log;
mod overlap;
mod policy;
mod process;
mod reader;
mod reference;
mod route;
mod schema;
mod service;
mod size;
mod together;
mod traces;

pub use self::access_log::{AccessLog, AccessLogFormat, AccessLogTarget};
pub use self::admin::Admin;
pub use self::config::Config;
pub use self::duration::{HumanDuration, ParseDurationError};
pub use self::error::{ConfigError, ConfigErrors, Position};
pub use self::guard::{Guard, GuardMarks, GuardReaction, GuardReactions};
pub use self::listener::{
    DatagramLimits, DatagramListener, DatagramProtocol, Linger, Listener, SocketOptions,
    StreamAddress, StreamLimits, StreamListener, StreamProtocol, Tls, TlsClientAuth, TlsClients,
};
pub use self::log::{Log, LogFilter, LogFormat};
pub use self::policy::{
    ApiKey, ApiKeys, ApiVersion, ClaimHeader, ClaimMatch, ClientCertificate, Clients, Cors,
    ForwardAuth, HeaderEdits, IpRange, Jwt, JwtAlgorithm, JwtKeys, KeyHash, OriginPattern, Origins,
    ParseIpRangeError, ParseKeyHashError, ParseOriginError, Policy, Rate, RateBy, RedisUrl,
    SharedRate, WhenDown,
};
pub use self::process::{Drain, Memory, Patrol, Runtime};
pub use self::route::{
    HeaderMatch, HostPattern, ParseHostError, ParsePathError, PathPattern, Route, Segment,
};
pub use self::service::{
    ActiveHealth, Balance, ConsulDiscovery, Discovery, DiscoverySource, DnsDiscovery, DnsName,
    Endpoint, EndpointAddress, EtcdDiscovery, EtcdLogin, FileDiscovery, OnEmpty, Outliers,
    ParseEndpointError, ProxyProtocol, Retry, Service, ServiceTimeouts, ServiceTls, TlsIdentity,
    UpstreamPool, UpstreamProtocol,
};
pub use self::size::{ByteSize, ParseByteSizeError};
pub use self::traces::Traces;
