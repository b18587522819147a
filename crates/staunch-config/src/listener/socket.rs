//! `[listener.socket]`: how the TCP socket of a connection is set up.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::reader::Section;
use crate::reader::kinds::{boolean, choice, duration, or_word, size};
use crate::size::ByteSize;

/// How the TCP sockets of a listener's connections are set up. `None` stands for the word
/// `"off"`: the kernel's own behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether small writes leave at once (`TCP_NODELAY`). \[true: an answer never waits for
    /// the acknowledgement of the one before\]
    pub nodelay: bool,
    /// After how long a silence the kernel asks whether the peer is there. \[60s: sooner than
    /// the minutes after which NATs forget a connection\]
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`). \[off: the stall limits
    /// end such a connection before\]
    pub user_timeout: Option<Duration>,
    /// What a close does with bytes that were not sent yet.
    pub linger: Linger,
    /// How many bytes the kernel takes in hand that are not yet sent (`TCP_NOTSENT_LOWAT`).
    /// \[128KiB: keeps a fast path full; without it a slow reader makes the kernel hold MiB\]
    pub notsent_lowat: Option<NonZeroU32>,
}

/// What a close does with bytes that were not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// The kernel goes on to send them, and the peer sees an orderly end. \[the default: what
    /// was answered arrives\]
    Off,
    /// They are dropped and the peer sees a reset (`SO_LINGER` of zero). No socket stays in
    /// `TIME_WAIT`.
    Reset,
}

const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
/// `TCP_KEEPIDLE` takes 32,767 seconds.
const KEEPALIVE_MAX: Duration = Duration::from_hours(9);
const USER_TIMEOUT_MIN: Duration = Duration::from_millis(1);
const USER_TIMEOUT_MAX: Duration = Duration::from_hours(24);
const LOWAT_MIN: ByteSize = ByteSize(1 << 10);
const LOWAT_MAX: ByteSize = ByteSize(1 << 30);

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_mins(1)),
            user_timeout: None,
            linger: Linger::Off,
            notsent_lowat: NonZeroU32::new(128 << 10),
        }
    }
}

impl SocketOptions {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let keepalive = or_word("off", duration(KEEPALIVE_MIN..=KEEPALIVE_MAX));
        let user_timeout = or_word("off", duration(USER_TIMEOUT_MIN..=USER_TIMEOUT_MAX));
        let linger = choice(&[("off", Linger::Off), ("0s", Linger::Reset)]);
        let lowat = or_word("off", size(LOWAT_MIN..=LOWAT_MAX));
        Self {
            nodelay: section.optional("nodelay", boolean, default.nodelay),
            keepalive: section.optional("keepalive", keepalive, default.keepalive),
            user_timeout: section.optional("user_timeout", user_timeout, default.user_timeout),
            linger: section.optional("linger", linger, default.linger),
            notsent_lowat: section.optional("notsent_lowat", lowat, default.notsent_lowat),
        }
    }
}
