//! `[listener.limits]` of a listener for connections.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use toml::de::DeValue;

use super::ceiling::Ceiling;
use super::stream::StreamProtocol;
use crate::duration::HumanDuration;
use crate::process::Memory;
use crate::reader::Section;
use crate::reader::kinds::{Parsed, count, duration, or_word, size};
use crate::size::ByteSize;

/// What the connections of a listener may take. `None` stands for the word `"unlimited"`.
///
/// A limit below another (`connections_per_ip` below `connections`, every time below
/// `lifetime`) could never act if it were the greater. Written so, that is a mistake; the
/// default of the lower one gives way. A limit that cannot act on what is spoken is refused, and
/// has its default here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// The most connections at a time. \[10000: some ten MiB when all are idle; `Memory`
    /// bounds what the others take\]
    pub connections: Option<NonZeroUsize>,
    /// The most connections at a time from one IP address. \[1000: an office behind one address
    /// gets in, and takes ten to fill the listener\] Not for Unix sockets.
    pub connections_per_ip: Option<NonZeroUsize>,
    /// How long a TLS handshake may take, and a header of the PROXY protocol. \[10s: three lost
    /// packets, each sent again\] Only with one of them.
    pub handshake: Option<Duration>,
    /// How long the first byte may take to come. \[10s: who connects has something to say\]
    pub first_byte: Option<Duration>,
    /// How long a connection may rest between two messages. \[75s: longer than the 60 s after
    /// which most clients and load balancers close, so that the close is theirs\]
    pub idle: Option<Duration>,
    /// How long a connection may exist. \[24h: longer than any session, and an end for those
    /// that everybody forgot\]
    pub lifetime: Option<Duration>,
    /// How long a peer may pause in the middle of a message. \[30s: packets lost in a row come
    /// within it; a peer that is gone is noticed\]
    pub read_stall: Option<Duration>,
    /// How long a whole message may take, from when its first part is here; a tenth of that
    /// while connections wait for a buffer. \[1m: twice a stall; a byte now and then does not
    /// keep a buffer for ever\] Not for HTTP, which has limits of its own.
    pub message: Option<Duration>,
    /// How long nothing may move after the peer has sent its last byte. \[30s: as `read_stall`;
    /// then what is left is in `CLOSE_WAIT` for nothing\]
    pub half_close: Option<Duration>,
    /// How long a peer may read nothing while data waits for it. \[30s: as `read_stall`\]
    pub write_stall: Option<Duration>,
    /// The fewest bytes a second a peer must read while data waits for it; `None` is `"0B"`.
    /// \[16B: an honest TCP opens its window by a packet's worth, which `write_stall` makes 48 a
    /// second at least; fewer is a window of a few bytes, made to hold the connection\]
    pub min_send_rate: Option<NonZeroU64>,
    /// Bytes of a connection's buffer, which is also the longest line, or the longest head of an
    /// HTTP request. \[16KiB: a TLS record, and twice the headers that most HTTP servers take\]
    pub buffer: NonZeroUsize,
}

const COUNT_MAX: usize = 100_000_000;
const TIME_MIN: Duration = Duration::from_millis(1);
/// A year. Longer would be `"unlimited"`, and sums with the clock cannot overflow.
const TIME_MAX: Duration = Duration::from_hours(365 * 24);
const RATE_MAX: ByteSize = ByteSize(1 << 30);
const BUFFER_MIN: ByteSize = ByteSize(512);
/// Less does not hold the head of an HTTP request.
const HEAD_MIN: ByteSize = ByteSize(8 << 10);
const BUFFER_MAX: ByteSize = ByteSize(16 << 20);

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::new(10_000),
            connections_per_ip: NonZeroUsize::new(1_000),
            handshake: Some(Duration::from_secs(10)),
            first_byte: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(75)),
            lifetime: Some(Duration::from_hours(24)),
            read_stall: Some(Duration::from_secs(30)),
            message: Some(Duration::from_mins(1)),
            half_close: Some(Duration::from_secs(30)),
            write_stall: Some(Duration::from_secs(30)),
            min_send_rate: NonZeroU64::new(16),
            buffer: const { NonZeroUsize::new(16 << 10).unwrap() },
        }
    }
}

/// What a listener's connections carry: it decides which limits can act.
#[derive(Clone, Copy)]
pub(super) struct Spoken {
    pub(super) protocol: StreamProtocol,
    pub(super) has_handshake: bool,
    pub(super) unix: bool,
}

impl Spoken {
    /// Why a limit cannot act, if it cannot.
    fn refusal(self, key: &str) -> Option<&'static str> {
        match key {
            "handshake" if !self.has_handshake => {
                Some("there is none without [listener.tls] or `proxy_protocol_from`")
            }
            "message" if self.protocol.is_http() => {
                Some("HTTP has limits of its own for the head and the body of a request")
            }
            "message" if self.protocol == StreamProtocol::Tcp => {
                Some("where a message ends is not known to TCP")
            }
            "connections_per_ip" if self.unix => Some("who uses a Unix socket has no IP address"),
            _ => None,
        }
    }

    fn buffer_min(self) -> ByteSize {
        if self.protocol.is_http() { HEAD_MIN } else { BUFFER_MIN }
    }
}

impl StreamLimits {
    pub(super) fn read(section: &mut Section<'_>, memory: &Memory, spoken: Spoken) -> Self {
        let default = Self::default();
        let all = Ceiling::read(section, "connections", limit_count(), default.connections);
        let life = Ceiling::read(section, "lifetime", limit_time(), default.lifetime);
        let mut time = |key, default| {
            if let Some(why) = spoken.refusal(key) {
                section.refuse(key, why);
                return default;
            }
            let show = |time| HumanDuration(time).to_string();
            life.read_below(section, key, limit_time(), default, show)
        };
        let handshake = time("handshake", default.handshake);
        let first_byte = time("first_byte", default.first_byte);
        let idle = time("idle", default.idle);
        let read_stall = time("read_stall", default.read_stall);
        let message = time("message", default.message);
        let half_close = time("half_close", default.half_close);
        let write_stall = time("write_stall", default.write_stall);
        let key = "connections_per_ip";
        let connections_per_ip = if let Some(why) = spoken.refusal(key) {
            section.refuse(key, why);
            default.connections_per_ip
        } else {
            let (kind, default) = (limit_count(), default.connections_per_ip);
            all.read_below(section, key, kind, default, |count| count.to_string())
        };
        let rate = or_word("0B", size(ByteSize(1)..=RATE_MAX));
        Self {
            connections: all.value,
            connections_per_ip,
            handshake,
            first_byte,
            idle,
            lifetime: life.value,
            read_stall,
            message,
            half_close,
            write_stall,
            min_send_rate: section.optional("min_send_rate", rate, default.min_send_rate),
            buffer: read_buffer(section, memory, spoken, default.buffer),
        }
    }
}

/// The kind of a count that may be `"unlimited"`.
pub(super) fn limit_count() -> impl Fn(&DeValue<'_>) -> Parsed<Option<NonZeroUsize>> {
    or_word("unlimited", count(1..=COUNT_MAX))
}

/// The kind of a time that may be `"unlimited"`.
fn limit_time() -> impl Fn(&DeValue<'_>) -> Parsed<Option<Duration>> {
    or_word("unlimited", duration(TIME_MIN..=TIME_MAX))
}

fn read_buffer(
    section: &mut Section<'_>,
    memory: &Memory,
    spoken: Spoken,
    default: NonZeroUsize,
) -> NonZeroUsize {
    let range = spoken.buffer_min()..=BUFFER_MAX;
    let buffer = section.optional("buffer", size(range), default);
    if buffer > memory.buffers {
        let all = ByteSize(memory.buffers.get() as u64);
        section.wrong("buffer", &format!("must not exceed `buffers` in [memory], which is {all}"));
    }
    buffer
}
