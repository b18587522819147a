//! `[[listener]]`: what is served, and what each of its connections or peers may take.
//!
//! The protocol decides what else may be written: a stream listener has connections, which take
//! limits, socket options and TLS; a datagram listener has peers.

mod address;
mod ceiling;
mod datagram;
mod limits;
mod socket;
mod stream;
mod tls;

use toml::de::DeValue;

pub use self::address::StreamAddress;
pub(crate) use self::address::socket_address;
pub use self::datagram::{DatagramLimits, DatagramListener, DatagramProtocol};
pub use self::limits::StreamLimits;
pub use self::socket::{Linger, SocketOptions};
pub use self::stream::{StreamListener, StreamProtocol};
pub use self::tls::{Tls, TlsClientAuth, TlsClients};
use crate::overlap::Claims;
use crate::process::Memory;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, choice, text};

/// One thing that is served.
#[expect(clippy::large_enum_variant, reason = "a process has a handful, and none is moved often")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Over connections: TCP or a Unix socket.
    Stream(StreamListener),
    /// Over datagrams: UDP.
    Datagram(DatagramListener),
}

#[derive(Clone, Copy)]
enum Protocol {
    Stream(StreamProtocol),
    Datagram(DatagramProtocol),
}

const PROTOCOLS: [(&str, Protocol); 7] = [
    ("http", Protocol::Stream(StreamProtocol::Http)),
    ("tcp", Protocol::Stream(StreamProtocol::Tcp)),
    ("udp", Protocol::Datagram(DatagramProtocol::Udp)),
    ("echo", Protocol::Stream(StreamProtocol::Echo)),
    ("udp-echo", Protocol::Datagram(DatagramProtocol::Echo)),
    ("demo", Protocol::Stream(StreamProtocol::Demo)),
    ("bank", Protocol::Stream(StreamProtocol::Bank)),
];

/// Long enough for a word or two, short enough for a column of a table and a metric's label.
const NAME_CHARS_MAX: usize = 32;

impl Listener {
    /// What it is called in logs, metrics and the ledger.
    pub fn name(&self) -> &str {
        match self {
            Self::Stream(listener) => &listener.name,
            Self::Datagram(listener) => &listener.name,
        }
    }

    /// The service that what it takes goes to, unless routes say so, or it serves itself.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Stream(listener) => listener.service.as_deref(),
            Self::Datagram(listener) => listener.service.as_deref(),
        }
    }

    pub(crate) fn read(
        section: &mut Section<'_>,
        memory: &Memory,
        claims: &mut Claims,
    ) -> Option<Self> {
        let name = section.required("name", "\"echo\"", name);
        match section.required("protocol", "\"echo\"", choice(&PROTOCOLS)) {
            Some(Protocol::Stream(protocol)) => {
                let listener = StreamListener::read(section, name, protocol, memory, claims);
                listener.map(Self::Stream)
            }
            Some(Protocol::Datagram(protocol)) => {
                DatagramListener::read(section, name, protocol, claims).map(Self::Datagram)
            }
            None => {
                // Most listeners are streams: look at the values of what they share.
                section.forgive_unknown_keys();
                let (protocol, claims) = (StreamProtocol::Echo, &mut Claims::default());
                StreamListener::read(section, name, protocol, memory, claims).and(None)
            }
        }
    }
}

/// The name of a service.
fn service_name(value: &DeValue<'_>) -> Parsed<String> {
    text(value, "the name of a [[service]]").map(str::to_owned)
}

/// What listeners, routes and services are called.
pub(crate) fn name(value: &DeValue<'_>) -> Parsed<String> {
    let expected = format!("1 to {NAME_CHARS_MAX} of a-z, 0-9 and -");
    let name = text(value, &expected)?;
    Some(name)
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .ok_or_else(|| format!("must be {expected}"))
}

pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed)
}
