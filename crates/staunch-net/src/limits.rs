//! What a listener allows, and why the defaults are what they are.

use std::time::Duration;

use staunch_ledger::Obligation;

/// The limits of one listener. `None` where it stands means that the user wrote *unlimited*.
///
/// # Examples
/// ```
/// use staunch_net::Limits;
/// use std::time::Duration;
/// let limits = Limits { idle: Some(Duration::from_secs(10)), ..Limits::default() };
/// assert_eq!(limits.connections, Some(10_000));
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's backlog. Default 10 000: at
    /// 1 KiB an idle connection that is 10 MiB, and half of a common limit of 20 000 files.
    pub connections: Option<usize>,
    /// Connections at a time from one address, or from one /64 of IPv6; further ones are reset
    /// at once. Default 1 000: room for a NAT full of clients, but no single client can take the
    /// listener.
    pub connections_per_ip: Option<usize>,
    /// Time for a TLS handshake, and for a header of the PROXY protocol. Default 10 s: four round
    /// trips on the worst of mobile links.
    pub handshake: Duration,
    /// Time from accept to the first byte. Default 10 s: who connects has something to say.
    pub first_byte: Option<Duration>,
    /// Time without a byte between messages. Default 75 s, as nginx: browsers and pools give
    /// up an unused connection sooner.
    pub idle: Option<Duration>,
    /// Time without a byte in the middle of a message. Default 30 s: more than any
    /// retransmission that will still succeed.
    pub read_stall: Option<Duration>,
    /// Time for a whole message, from the moment its first part is here; a tenth of that while
    /// connections wait for a buffer. Default 60 s: twice a stall, so that a byte now and then
    /// does not keep a buffer for ever, and a listener whose buffers are all taken by such peers
    /// has them back in seconds. Not for HTTP, whose server takes none of these buffers and has
    /// limits of its own.
    pub message: Option<Duration>,
    /// Time without a byte after the peer has sent its last. Default 30 s, as a stall: what a
    /// handler still has to say it says, or the connection stays in `CLOSE_WAIT`.
    pub half_close: Option<Duration>,
    /// Time without the peer taking a byte of what waits for it. Default 30 s, as above.
    pub write_stall: Option<Duration>,
    /// Bytes a second a peer must take while data waits for it; 0 is off. Default 16: below
    /// any human's link, above a drip that holds a response for days. It is judged over ten seconds, or over
    /// `write_stall` if that is longer: a window opens in steps, and a pause of less than that is none.
    pub min_send_rate: u32,
    /// A connection's whole life. Default 24 h: so that connections rebalance, and none is for
    /// ever.
    pub lifetime: Option<Duration>,
    /// Bytes of one read, and the longest line. Default 16 KiB: one TLS record.
    pub buffer: usize,
    /// Bytes of all buffers of the listener together; a connection whose turn it is not waits.
    /// Default 64 MiB: 4 096 connections in the middle of a message.
    pub buffers: usize,
    /// Time for connections to end when the listener drains; then they are cut. Default 10 s:
    /// a third of the grace that Kubernetes gives a pod.
    pub drain: Duration,
}

/// What somebody who has just connected has, when a drain begins, to end a TLS handshake and to say
/// something: more than a round trip. A connection that was closed before would be reset under what
/// is on its way.
pub const FIRST_WORDS: Duration = Duration::from_millis(300);

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: Some(10_000),
            connections_per_ip: Some(1_000),
            handshake: Duration::from_secs(10),
            first_byte: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(75)),
            read_stall: Some(Duration::from_secs(30)),
            message: Some(Duration::from_mins(1)),
            half_close: Some(Duration::from_secs(30)),
            write_stall: Some(Duration::from_secs(30)),
            min_send_rate: 16,
            lifetime: Some(Duration::from_hours(24)),
            buffer: 16 << 10,
            buffers: 64 << 20,
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// No limit at all, for connections that nobody watches.
    pub(crate) fn none() -> Limits {
        Limits {
            connections: None,
            connections_per_ip: None,
            first_byte: None,
            idle: None,
            read_stall: None,
            message: None,
            half_close: None,
            write_stall: None,
            min_send_rate: 0,
            lifetime: None,
            ..Limits::default()
        }
    }

    /// What a connection promises. The watchdog cuts it at the limit of whatever it waits for; a
    /// promise broken means that it did not, or that the handler itself is stuck.
    pub(crate) fn obligation(&self) -> Obligation {
        const LATE: Duration = Duration::from_secs(5);
        let waits = [self.first_byte, self.idle, self.read_stall, self.write_stall];
        let longest =
            waits.into_iter().try_fold(Duration::ZERO, |most, wait| Some(most.max(wait?)));
        longest.map_or(Obligation::EndsWithParent, |longest| {
            Obligation::ProgressWithin(longest.saturating_add(LATE))
        })
    }

    /// Over how long the send rate is judged: no pause that `write_stall` allows is too slow.
    pub(crate) fn rate_window(&self) -> Duration {
        self.write_stall.unwrap_or_default().max(RATE_WINDOW)
    }

    /// The shortest of the times that the watchdog looks after.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        let rate = (self.min_send_rate > 0).then_some(RATE_WINDOW);
        let others = [self.message, self.half_close, self.lifetime, rate];
        [self.first_byte, self.idle, self.read_stall, self.write_stall]
            .into_iter()
            .chain(others)
            .flatten()
            .chain([self.handshake])
            .min()
    }
}

/// The send rate is judged over at least this long, so that a burst into the kernel's buffer
/// does not count as speed, nor its pause as a stall.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(10);
